//! The two passes of the encoder over a rank's sub-batches.

use tercet_sampler::TextInput;

use crate::machine::phase::{Phase, during};
use crate::model::representation::{Gradients, Heads, Representations};
use crate::model::sub_batch::{SubBatch, SubBatches};
use crate::model::{Graph, M3Model};
use crate::step::dropout_seed::dropout_seed;
use crate::step::inspect::Inspect;

/// What both passes share.
pub struct Passes<'a> {
    /// The model.
    pub model: &'a M3Model,
    /// The heads that the loss trains.
    pub heads: Heads,
    /// The largest number of tokens whose graphs the first pass keeps.
    pub kept_graph_tokens: usize,
    /// The run's seed. Dropout's seed depends on it.
    pub seed: u64,
    /// The optimizer step. Dropout's seed depends on it.
    pub step: u64,
    /// This rank. Dropout's seed depends on it.
    pub rank: usize,
}

impl Passes<'_> {
    /// The seed of dropout's masks in sub-batch `i`, the same in both passes.
    fn seed(&self, i: usize) -> Option<u64> {
        dropout_seed(self.seed, self.step, self.rank, i)
    }

    /// The graph of sub-batch `i`, computed again because it was not kept.
    fn again(&self, i: usize, sub_batches: &SubBatches) -> Kept {
        let sub_batch = during(Phase::Input, || sub_batches.build(i));
        let graph = during(Phase::Recompute, || self.model.graph(&sub_batch, self.heads, self.seed(i)));
        Kept { sub_batch, graph }
    }
}

/// A sub-batch and the graph of its forward pass.
pub struct Kept {
    sub_batch: SubBatch,
    graph: Graph,
}

/// Representations of all `texts` without gradient; the graphs of the first sub-batches, as far as the budget of kept
/// tokens reaches, are kept for the second pass.
pub fn encode_first_pass(
    passes: &Passes,
    texts: &[TextInput],
    sub_batches: &SubBatches,
) -> (Representations, Vec<Option<Kept>>) {
    let model = passes.model;
    let mut all = Representations::zeros(texts, model.dims(), passes.heads, model.options());
    let mut budget = passes.kept_graph_tokens;
    let mut kept = Vec::with_capacity(sub_batches.len());
    for i in 0..sub_batches.len() {
        let sub_batch = during(Phase::Input, || sub_batches.build(i));
        let left = budget.checked_sub(sub_batch.num_tokens());
        budget = left.unwrap_or(budget);
        let (own, graph) = model.represent(&sub_batch, passes.heads, passes.seed(i), left.is_some());
        all.scatter(&sub_batch, &own);
        kept.push(graph.map(|graph| Kept { sub_batch, graph }));
    }
    (all, kept)
}

/// Adds the parameters' gradients to the flat buffer: forward (unless kept) and backward of each sub-batch, from the
/// gradients of all representations. Calls `ready(first)` once the gradients of all matrices from offset `first` on are
/// final.
pub fn encode_second_pass(
    passes: &Passes,
    sub_batches: &SubBatches,
    kept: Vec<Option<Kept>>,
    d_representations: &Gradients,
    see: &mut dyn Inspect,
    mut ready: impl FnMut(i64),
) {
    for (i, kept) in kept.into_iter().enumerate() {
        let last = i + 1 == sub_batches.len();
        let Kept { sub_batch, graph } = kept.unwrap_or_else(|| passes.again(i, sub_batches));
        let mut ready = |first| {
            if last {
                ready(first)
            }
        };
        passes.model.backward(graph, d_representations, &sub_batch, passes.seed(i), &mut ready);
        see.gradient_of(&sub_batch);
    }
}
