//! A fingerprint of a plan's steps, computed without going through them.

use super::Plan;
use crate::DatasetMeta;

impl Plan {
    /// A fingerprint of everything that the first `steps` steps depend on: ranks, or a run and its continuation, with
    /// different ones must not train together. What begins later is not part of it.
    pub fn checksum(&self, steps: u64) -> u64 {
        // The debug output of plain values is complete, and the same in every process of one build.
        let mut hasher = blake3::Hasher::new();
        let manifest = self.store.manifest();
        let lens = (self.query_max_len, self.passage_max_len, self.shuffle_ratio);
        hasher.update(format!("{} {lens:?} {:?}", self.seed, manifest.special).as_bytes());
        for phase in self.phases().iter().filter(|phase| phase.first_step < steps.max(1)) {
            hasher.update(format!("from {}", phase.first_step).as_bytes());
            for (cell, &batches) in self.cells.iter().zip(&phase.batches_per_round).filter(|(_, batches)| **batches > 0)
            {
                let source = self.source(cell);
                // Sources count by name and data sets by content, because their places in lists may change.
                let rows: Vec<_> =
                    source.datasets.iter().map(|&dataset| content(self.store.dataset(dataset))).collect();
                let parts = (&source.name, &source.policy, source.has_scores, cell.lens, cell.size, rows, batches);
                hasher.update(format!("{parts:?}").as_bytes());
            }
        }
        let [a, b, c, d, e, f, g, h, ..] = *hasher.finalize().as_bytes();
        u64::from_le_bytes([a, b, c, d, e, f, g, h])
    }
}

/// A data set's content: its name and type, and the checksums of the files that have a checksum and the shape of every
/// row.
fn content(dataset: &DatasetMeta) -> (&str, Option<&str>, &str, &str) {
    (&dataset.name, dataset.kind.as_deref(), &dataset.by_length.blake3, &dataset.shapes.blake3)
}
