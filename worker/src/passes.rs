//! The two passes of the encoder over a rank's sub-batches.

use tch::Tensor;

use crate::model::M3Model;
use crate::representation::{Gradients, Heads, Representations, SubBatchRepresentations, TextInput};
use crate::step::StepSettings;
use crate::sub_batch::SubBatch;
use crate::watch::Watch;

/// What both passes share.
pub struct Passes<'a> {
    /// The model.
    pub model: &'a M3Model,
    /// The heads that the loss trains.
    pub heads: Heads,
    /// Seed and budget of kept graphs.
    pub settings: &'a StepSettings,
    /// The optimizer step, which dropout's seed depends on.
    pub step: u64,
    /// This rank, likewise.
    pub rank: usize,
}

/// A sub-batch's representations with their graph, and the embeddings at its root.
pub type Graph = (SubBatchRepresentations, Tensor);

impl Passes<'_> {
    /// Encodes sub-batch `i`; both passes draw the same dropout masks.
    fn represent(&self, i: usize, sub_batch: &SubBatch) -> Graph {
        let mut hash = blake3::Hasher::new();
        for part in [self.settings.seed, self.step, self.rank as u64, i as u64] {
            hash.update(&part.to_le_bytes());
        }
        let bytes: [u8; 8] = std::array::from_fn(|b| hash.finalize().as_bytes()[b]);
        tch::manual_seed(i64::from_le_bytes(bytes));
        self.model.represent(sub_batch, self.heads, true)
    }
}

/// Representations of all `texts` without gradient; the graphs of the first sub-batches, as far as the budget of kept
/// tokens reaches, are kept for the second pass.
pub fn encode_first_pass(
    passes: &Passes,
    texts: &[TextInput],
    sub_batches: &[SubBatch],
) -> (Representations, Vec<Option<Graph>>) {
    let model = passes.model;
    let mut all = Representations::zeros(texts, &model.special_ids(), model.dims(), passes.heads, model.options());
    let mut budget = passes.settings.kept_graph_tokens;
    let mut kept = Vec::with_capacity(sub_batches.len());
    for (i, sub_batch) in sub_batches.iter().enumerate() {
        if let Some(left) = budget.checked_sub(sub_batch.num_padded_tokens()) {
            budget = left;
            let graph = passes.represent(i, sub_batch);
            all.scatter(sub_batch, &graph.0);
            kept.push(Some(graph));
        } else {
            let (own, _) = tch::no_grad(|| passes.represent(i, sub_batch));
            all.scatter(sub_batch, &own);
            kept.push(None);
        }
    }
    (all, kept)
}

/// Adds the parameters' gradients to the flat buffer: forward (unless kept) and backward of each sub-batch, the
/// gradient of its representations as the seed.
pub fn encode_second_pass(
    passes: &Passes,
    sub_batches: &[SubBatch],
    kept: Vec<Option<Graph>>,
    d_representations: &Gradients,
    watch: &mut dyn Watch,
) {
    for (i, (sub_batch, graph)) in sub_batches.iter().zip(kept).enumerate() {
        let (own, embeddings) = graph.unwrap_or_else(|| passes.represent(i, sub_batch));
        let surrogate = d_representations.surrogate(sub_batch, &own);
        passes.model.backward(&surrogate, sub_batch, &embeddings);
        watch.gradient_of(sub_batch);
    }
}
