//! A plan as a picture: tokens and time by length, and what memory is made of.

use std::path::Path;

use tercet_pictures::{Bar, Panel};

use super::report::{CellReport, Report, StepFigures};
use super::units::{percent, scaled};

/// Draws `report` to `path`.
///
/// # Errors
/// The file cannot be written.
pub fn draw(report: &Report, path: &Path) -> anyhow::Result<()> {
    let lengths = lengths(report);
    let by_length = |title: &str, unit: &str, figure: fn(&StepFigures) -> f64| {
        let sums: Vec<f64> = lengths.iter().map(|cells| sum(cells, figure)).collect();
        let all: f64 = sums.iter().sum();
        let bars = lengths.iter().zip(sums).map(|(cells, value)| Bar {
            name: format!("up to {} tokens", cells[0].up_to_tokens),
            value,
            label: format!("{} ({})", scaled(value, unit), percent(value / all.max(f64::MIN_POSITIVE))),
        });
        Panel { title: format!("{}: {title}", report.recipe), bars: bars.collect() }
    };
    let mut panels = vec![by_length("tokens of the run by longest text", "", |batch| batch.tokens)];
    panels.push(match report.rates {
        Some(_) => by_length("seconds of the run by longest text", "s", |b| b.secs.map_or(0.0, |secs| secs.total())),
        None => by_length("operations of a rank by longest text", "FLOP", |batch| batch.flops.total()),
    });
    panels.extend(report.memory.as_ref().map(|memory| {
        Panel {
            title: format!("{}: a rank's peak memory, {}", report.recipe, scaled(memory.total_bytes, "B")),
            bars: memory
                .parts
                .iter()
                .map(|part| Bar { name: part.name.into(), value: part.bytes, label: scaled(part.bytes, "B") })
                .collect(),
        }
    }));
    tercet_pictures::draw(&panels, path)
}

/// The run's cells by their longest text.
fn lengths(report: &Report) -> Vec<Vec<&CellReport>> {
    let mut cells: Vec<&CellReport> = report.cells.iter().filter(|cell| cell.steps > 0).collect();
    cells.sort_by_key(|cell| cell.up_to_tokens);
    cells.chunk_by(|a, b| a.up_to_tokens == b.up_to_tokens).map(<[&CellReport]>::to_vec).collect()
}

/// Over the run's steps.
fn sum(cells: &[&CellReport], figure: fn(&StepFigures) -> f64) -> f64 {
    cells.iter().map(|cell| cell.steps as f64 * cell.batch.as_ref().map_or(0.0, figure)).sum()
}
