//! A chart in figures.

use super::document::{Cell, Chart, Table};

/// How many parts a run is cut into.
pub const PARTS: usize = 10;

/// A row for each run: the means over the tenths of its steps.
pub fn table(chart: &Chart) -> Table {
    let head = (1..=PARTS).map(|part| format!("to {} %", 100 * part / PARTS));
    let row = |curve: &super::document::NamedCurve| {
        let figures = curve.tenths.iter().map(|value| value.map_or_else(Cell::none, |v| chart.unit.write(v).into()));
        std::iter::once(Cell::from(curve.name.as_str())).chain(figures).collect()
    };
    Table {
        head: std::iter::once("of the steps".to_owned()).chain(head).collect(),
        rows: chart.curves.iter().map(row).collect(),
    }
}
