//! The two passes of the encoder over a rank's sub-batches.
//!
//! They take sub-batches from whoever makes them ready, in the order of [`Passes::order`].

use tercet_sampler::TextInput;

use crate::machine::phase::{Phase, during};
use crate::model::representation::{Gradients, Heads, Representations};
use crate::model::sub_batch::{SubBatch, SubBatchParts, SubBatches};
use crate::model::{Graph, M3Model};
use crate::step::dropout_seed::dropout_seed;
use crate::step::inspect::Inspect;
use crate::tensors::upload::Staged;

/// Gives the next sub-batch that a pass comes to.
pub type Next<'a> = dyn FnMut() -> Staged<SubBatchParts> + 'a;

/// What both passes share.
pub struct Passes<'a> {
    /// The model.
    pub model: &'a M3Model,
    /// What it computes at a time.
    pub sub_batches: &'a SubBatches<'a>,
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

    /// Whether the first pass keeps the graph of each sub-batch: of the first ones, as far as the budget of kept tokens
    /// reaches.
    fn keeps(&self) -> Vec<bool> {
        let mut budget = self.kept_graph_tokens;
        let keeps = |i| {
            let left = budget.checked_sub(self.sub_batches.num_tokens_of(i));
            budget = left.unwrap_or(budget);
            left.is_some()
        };
        (0..self.sub_batches.len()).map(keeps).collect()
    }

    /// The sub-batches that the two passes come to, in their order: all, and again those whose graphs are not kept.
    pub fn order(&self) -> Vec<usize> {
        let keeps = self.keeps();
        let again = (0..keeps.len()).filter(|&i| !keeps[i]);
        (0..keeps.len()).chain(again).collect()
    }

    /// The graph of sub-batch `i`, computed again because it was not kept.
    fn again(&self, i: usize, next: &mut Next) -> Kept {
        let sub_batch = during(Phase::Input, || SubBatch::sent(next()));
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
    next: &mut Next,
) -> (Representations, Vec<Option<Kept>>) {
    let model = passes.model;
    let mut all = Representations::zeros(texts, model.dims(), passes.heads, model.options());
    let mut kept = Vec::with_capacity(passes.sub_batches.len());
    for (i, keeps) in passes.keeps().into_iter().enumerate() {
        let sub_batch = during(Phase::Input, || SubBatch::sent(next()));
        let (own, graph) = model.represent(&sub_batch, passes.heads, passes.seed(i), keeps);
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
    kept: Vec<Option<Kept>>,
    d_representations: &Gradients,
    next: &mut Next,
    see: &mut dyn Inspect,
    mut ready: impl FnMut(i64),
) {
    let num = kept.len();
    for (i, kept) in kept.into_iter().enumerate() {
        let last = i + 1 == num;
        let Kept { sub_batch, graph } = kept.unwrap_or_else(|| passes.again(i, next));
        let mut ready = |first| {
            if last {
                ready(first)
            }
        };
        passes.model.backward(graph, d_representations, &sub_batch, passes.seed(i), &mut ready);
        see.gradient_of(&sub_batch);
    }
}
