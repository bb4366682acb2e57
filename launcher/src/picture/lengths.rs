//! How long a store's rows are, as a picture: a panel for each data set.

use std::path::Path;

use tercet_sampler::DatasetMeta;

use super::bars::{self, Bar, Panel};
use crate::lengths::LengthCounts;

/// Draws the lengths of the rows' longest texts to `path`.
///
/// # Errors
/// The file cannot be written.
pub fn draw(datasets: &[DatasetMeta], path: &Path) -> anyhow::Result<()> {
    let panels: Vec<Panel> = datasets.iter().map(panel).collect();
    bars::draw(&panels, path)
}

fn panel(dataset: &DatasetMeta) -> Panel {
    let counts = LengthCounts::of([dataset]);
    let bar = |(range, rows): (String, u64)| Bar {
        name: format!("{range} tokens"),
        value: rows as f64,
        label: rows.to_string(),
    };
    Panel {
        title: format!("{}: rows by longest text, special tokens included", dataset.name),
        bars: counts.ranges().map(bar).collect(),
    }
}
