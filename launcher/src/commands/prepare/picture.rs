//! How long a store's rows are, as a picture: a panel for each data set.

use tercet_pictures::{Bar, Panel};
use tercet_sampler::DatasetMeta;

use super::lengths::LengthCounts;

/// Draws the lengths of the rows' longest texts.
///
/// # Errors
/// As [`tercet_pictures::svg`].
pub fn svg(datasets: &[DatasetMeta]) -> anyhow::Result<String> {
    let panels: Vec<Panel> = datasets.iter().map(panel).collect();
    tercet_pictures::svg(&panels)
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
