//! What a report says, before it is HTML or Markdown.

/// A page of sections.
#[derive(Debug)]
pub struct Document {
    /// Its heading.
    pub title: String,
    /// From above.
    pub sections: Vec<Section>,
}

/// Something under a heading of its own.
#[derive(Debug)]
pub struct Section {
    /// The heading.
    pub title: String,
    /// From above.
    pub blocks: Vec<Block>,
}

/// A part of a section. All texts are plain: each form escapes them by its own rules.
#[derive(Debug)]
pub enum Block {
    /// A smaller heading.
    Heading(String),
    /// A paragraph.
    Text(String),
    /// Points, one a line.
    List(Vec<String>),
    /// A table.
    Table(Table),
    /// Curves, one chart beside the other.
    Charts(Vec<Chart>),
}

/// Rows under a head; the first cell of a row says what it is, and the others are figures.
#[derive(Debug)]
pub struct Table {
    /// As many as a row has cells.
    pub head: Vec<String>,
    /// From above.
    pub rows: Vec<Vec<Cell>>,
}

/// A cell of a table.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Cell {
    /// What it says.
    pub text: String,
    /// What belongs to it, in small letters; empty for nothing.
    pub note: String,
    /// The note is what to look at.
    pub stands_out: bool,
}

/// Curves of one figure.
#[derive(Debug)]
pub struct Chart {
    /// The figure.
    pub title: String,
    /// One curve for each run that has any; the place is the run's among all runs.
    pub curves: Vec<NamedCurve>,
    /// How a value is written.
    pub unit: Unit,
}

/// The curve of one run.
#[derive(Debug)]
pub struct NamedCurve {
    /// The run.
    pub name: String,
    /// Its place among the report's runs, which chooses its colour.
    pub nth: usize,
    /// Steps and values.
    pub points: Vec<(f64, f64)>,
    /// The means over tenths of the run; none where a tenth has no value.
    pub tenths: Vec<Option<f64>>,
}

/// How a value is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Unit {
    /// Four digits.
    Plain,
    /// As a percentage.
    Share,
    /// In powers of ten.
    Small,
    /// With a prefix and this unit.
    Scaled(&'static str),
}

impl Unit {
    /// `value` in this unit.
    pub fn write(self, value: f64) -> String {
        match self {
            Self::Plain if value != 0.0 && (value.abs() >= 1e5 || value.abs() < 1e-3) => format!("{value:.3e}"),
            // Four digits in all.
            Self::Plain if value != 0.0 => {
                let decimals = (3 - value.abs().log10().floor() as i32).clamp(0, 4);
                format!("{value:.*}", decimals as usize)
            }
            Self::Plain => "0".into(),
            Self::Share => format!("{:.1} %", 100.0 * value),
            Self::Small => format!("{value:.2e}"),
            Self::Scaled(unit) => crate::plan::scaled(value, unit),
        }
    }

    /// `value` at an axis: as short as it is round.
    pub fn tick(self, value: f64) -> String {
        let text = self.write(value);
        match self {
            Self::Plain if text.contains('.') && !text.contains('e') => {
                text.trim_end_matches('0').trim_end_matches('.').to_owned()
            }
            _ => text,
        }
    }
}

impl<T: Into<String>> From<T> for Cell {
    fn from(text: T) -> Self {
        Self { text: text.into(), ..Self::default() }
    }
}

impl Cell {
    /// Nothing is known.
    pub fn none() -> Self {
        "–".into()
    }

    /// With a note.
    pub fn noted(text: impl Into<String>, note: impl Into<String>) -> Self {
        Self { text: text.into(), note: note.into(), stands_out: false }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_have_four_digits_or_their_unit() {
        let plain = [1.23456, 12.3456, 1234.56, 0.012345, -0.5, 0.0, 1e-5, 123_456.0].map(|v| Unit::Plain.write(v));
        assert_eq!(plain, ["1.235", "12.35", "1235", "0.0123", "-0.5000", "0", "1.000e-5", "1.235e5"]);
        assert_eq!([Unit::Share.write(0.0213), Unit::Small.write(4.2e-4)], ["2.1 %", "4.20e-4"]);
        assert_eq!([4.0, 0.5, 1e-5, 1000.0].map(|v| Unit::Plain.tick(v)), ["4", "0.5", "1.000e-5", "1000"]);
        assert_eq!(Unit::Scaled("B").write(1.2e9), "1.20 GB");
    }
}
