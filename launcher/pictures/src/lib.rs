//! Horizontal bars with a name before and a number behind each, in panels below one another; and curves for pages.

#![cfg_attr(test, allow(clippy::unwrap_used))]

mod curves;

use std::path::Path;

use anyhow::Context;
use plotters::coord::Shift;
use plotters::prelude::*;

pub use curves::{Curve, color, curves_svg};

const WIDTH: u32 = 900;
const TITLE_HEIGHT: u32 = 44;
const BAR_HEIGHT: u32 = 22;
/// Where bars begin and, at the longest, end.
const LEFT: i32 = 280;
const RIGHT: i32 = 760;
const COLOR: RGBColor = RGBColor(60, 110, 170);

/// Bars of one unit.
pub struct Panel {
    /// What they show.
    pub title: String,
    /// The bars, from above.
    pub bars: Vec<Bar>,
}

/// One bar.
pub struct Bar {
    /// Stands before it.
    pub name: String,
    /// Its length, next to the panel's others.
    pub value: f64,
    /// Stands behind it.
    pub label: String,
}

impl Panel {
    fn height(&self) -> u32 {
        TITLE_HEIGHT + BAR_HEIGHT * self.bars.len() as u32
    }
}

/// Draws `panels` to `path`.
///
/// # Errors
/// The file cannot be written.
pub fn draw(panels: &[Panel], path: &Path) -> anyhow::Result<()> {
    let svg = svg(panels)?;
    tercet_sampler::write_durably(path, svg.as_bytes()).with_context(|| format!("writing {}", path.display()))
}

/// Draws `panels`.
///
/// # Errors
/// The picture cannot be drawn.
pub fn svg(panels: &[Panel]) -> anyhow::Result<String> {
    let height = panels.iter().map(Panel::height).sum::<u32>() + BAR_HEIGHT;
    let mut svg = String::new();
    {
        let area = SVGBackend::with_string(&mut svg, (WIDTH, height)).into_drawing_area();
        let drawn = draw_all(panels, &area).and_then(|()| Ok(area.present()?));
        drawn.context("drawing the picture")?;
    }
    Ok(svg)
}

fn draw_all(panels: &[Panel], area: &DrawingArea<SVGBackend<'_>, Shift>) -> anyhow::Result<()> {
    area.fill(&WHITE)?;
    let mut top = 0;
    for panel in panels {
        draw_panel(panel, area, top)?;
        top += panel.height() as i32;
    }
    Ok(())
}

fn draw_panel(panel: &Panel, area: &DrawingArea<SVGBackend<'_>, Shift>, top: i32) -> anyhow::Result<()> {
    let text = |size: f64| ("sans-serif", size).into_font().color(&BLACK);
    area.draw(&Text::new(panel.title.as_str(), (20, top + 18), text(19.0)))?;
    let longest = panel.bars.iter().map(|bar| bar.value).fold(f64::MIN_POSITIVE, f64::max);
    let mut y = top + TITLE_HEIGHT as i32;
    for bar in &panel.bars {
        let end = LEFT + (f64::from(RIGHT - LEFT) * bar.value / longest).round() as i32;
        area.draw(&Rectangle::new([(LEFT, y + 3), (end, y + BAR_HEIGHT as i32 - 3)], COLOR.filled()))?;
        area.draw(&Text::new(bar.name.as_str(), (20, y + 5), text(15.0)))?;
        area.draw(&Text::new(bar.label.as_str(), (end + 8, y + 5), text(15.0)))?;
        y += BAR_HEIGHT as i32;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_labels_are_in_the_file_and_markup_is_escaped() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("bars.svg");
        let bar = |name: &str, value: f64| Bar { name: name.into(), value, label: format!("{value} units") };
        let panels = [Panel { title: "a < b".into(), bars: vec![bar("first", 2.0), bar("second", 1.0)] }];
        draw(&panels, &path).unwrap();
        let svg = std::fs::read_to_string(&path).unwrap();
        for text in ["a &lt; b", "first", "2 units", "second", "1 units"] {
            assert!(svg.contains(text), "{text}: {svg}");
        }
        // The longest takes all the room, the other half of it.
        assert!(svg.contains("width=\"480\"") && svg.contains("width=\"240\""), "{svg}");
        assert!(draw(&panels, &dir.path().join("absent/bars.svg")).is_err());
    }
}
