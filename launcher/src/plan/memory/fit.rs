//! What a rank computes at a time, and of how much it keeps the graphs: what the recipe says, or what a card's memory
//! holds, as the worker finds it by trying (`worker/src/run/budget/mod.rs`).
//!
//! The worker tries the scoring of the longest batch that the plan can give and a sub-batch of its longest texts, and
//! keeps graphs in what is left of nine tenths of the free memory. Here the same is reckoned.

use serde::Serialize;
use tercet_configs::limits::{AUTO_SHARE, BUDGET_SLACK, SMALLEST_SUB_BATCH};
use tercet_configs::{Device, MemoryBudget, ModelShape, Purpose, Recipe};
use tercet_sampler::{Cell, Plan, ShareLens, SubBatchLimit};

use super::rank_in_step::{RankInStep, bytes_of};
use super::{contrastive, pretraining};
use crate::plan::predicted::Predicted;
use crate::plan::work::{Encoded, RankLoad};

/// Sizes of a rank's work.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Fit {
    /// Tokens of a sub-batch at most.
    pub sub_batch_tokens: usize,
    /// Tokens whose graphs are kept at most; none where all are, as in pre-training.
    pub kept_graph_tokens: Option<usize>,
}

impl Fit {
    /// Where nothing is known of the memory. Where the recipe says nothing, a CPU keeps what its memory holds, which is
    /// all of batches that fit a machine, and of a GPU nothing is counted on.
    pub fn unknown(recipe: &Recipe, device: Device) -> Self {
        let unsaid = (device == Device::Cuda).then_some(0);
        let kept_graph_tokens = match recipe.masks() {
            // In pre-training a sub-batch goes through once, and nothing is computed again.
            Some(_) => None,
            None => recipe.kept_graph_tokens.or(unsaid),
        };
        Self { sub_batch_tokens: recipe.sub_batch_tokens, kept_graph_tokens }
    }

    /// On a card with so much memory; as [`Fit::unknown`] where the recipe has the numbers.
    pub fn on_card(shape: &ModelShape, recipe: &Recipe, plan: &Plan, world_size: usize, memory_bytes: f64) -> Self {
        let said = Self::unknown(recipe, Device::Cuda);
        if recipe.memory_budget.is_none() && recipe.kept_graph_tokens.is_some() {
            return said;
        }
        let rank = Rank { shape, recipe, world_size };
        let longest: Vec<RankLoad> = plan.cells().iter().map(|cell| rank.longest(plan, cell)).collect();
        let longest_text = plan.longest_text().max(2);
        let used = rank.held_always(&longest);
        let budget = match recipe.memory_budget {
            Some(MemoryBudget::Bytes(bytes)) => bytes as f64,
            _ => used + AUTO_SHARE * (memory_bytes - used),
        };
        let left = budget * (1.0 - BUDGET_SLACK[Device::Cuda as usize]) - used - rank.scoring(&longest);
        let sizes = std::iter::successors(Some(said.sub_batch_tokens), |tokens| {
            let smaller = recipe.memory_budget.is_some() && *tokens > SMALLEST_SUB_BATCH.max(longest_text);
            smaller.then_some((tokens / 2).max(longest_text))
        });
        let taken = |tokens: usize| rank.sub_batch(longest_text, tokens.max(longest_text));
        let smallest = sizes.clone().last().unwrap_or(said.sub_batch_tokens);
        let sub_batch_tokens = sizes.into_iter().find(|&tokens| taken(tokens).0 <= left).unwrap_or(smallest);
        let (peak, per_token) = taken(sub_batch_tokens);
        // The graphs that are kept are gone when another is computed again: its room is theirs, if
        // they are two of its size.
        let beside = ((left - peak) / per_token).max(0.0) as usize;
        let most = sub_batch_tokens.max(longest_text);
        let instead = beside + most / longest_text * longest_text;
        let kept = if peak <= left && instead >= 2 * most { instead } else { beside };
        Self { sub_batch_tokens, kept_graph_tokens: recipe.masks().is_none().then_some(kept) }
    }
}

/// A rank of the run.
struct Rank<'a> {
    shape: &'a ModelShape,
    recipe: &'a Recipe,
    world_size: usize,
}

impl Rank<'_> {
    fn rank_in_step<'a>(&'a self, load: &'a RankLoad) -> RankInStep<'a> {
        RankInStep {
            shape: self.shape,
            device: Device::Cuda,
            world_size: self.world_size,
            load,
            num_global_passages: load.num_passages * self.world_size as f64,
            keeps_snapshot: false,
            distils: self.recipe.loss.distill,
            shards_state: self.recipe.optimizer.shard_state,
        }
    }

    /// The share of a batch of this cell whose texts are all as long as any of them can be; none is kept.
    fn longest(&self, plan: &Plan, cell: &Cell) -> RankLoad {
        let longest = cell.lens.1.min(plan.longest_text());
        let queries = (cell.size.global_batch as usize).div_ceil(self.world_size);
        let group_size = plan.source(cell).policy.group_size.for_batch(usize::MAX - 1);
        let share = ShareLens {
            queries: vec![longest.min(plan.query_max_len()).max(2); queries],
            passages: vec![longest.min(plan.passage_max_len()).max(2); queries * group_size],
            num_positives: queries,
        };
        let limit = SubBatchLimit { tokens: self.recipe.sub_batch_tokens, texts: 0 };
        let mut load = RankLoad::new(&share, limit, 0, |len| Predicted::of(self.recipe, len));
        // The tokens of made-up texts are all different.
        (load.query_pairs, load.passage_pairs) = (load.query_vectors, load.passage_vectors);
        load
    }

    /// What the run holds between steps.
    fn held_always(&self, longest: &[RankLoad]) -> f64 {
        let nothing = RankLoad::default();
        let own = self.rank_in_step(longest.first().unwrap_or(&nothing));
        own.between_steps()
    }

    /// What the longest batch takes to be scored.
    fn scoring(&self, longest: &[RankLoad]) -> f64 {
        if self.shape.purpose != Purpose::Retrieval {
            return 0.0;
        }
        let of = |load: &RankLoad| contrastive::scoring(&self.rank_in_step(load));
        longest.iter().map(of).fold(0.0, f64::max)
    }

    /// What a sub-batch of such texts takes, and a token's graph.
    fn sub_batch(&self, longest_text: usize, tokens: usize) -> (f64, f64) {
        let num_texts = (tokens / longest_text) as f64;
        let (len, predicted) = (longest_text as f64, Predicted::of(self.recipe, longest_text));
        let one = Encoded { num_texts: 1.0, tokens: len, squares: len * len, longest: len, predicted };
        let texts = one.share(num_texts);
        let load =
            RankLoad { encoded: texts, largest: texts, largest_recomputed: texts, last: texts, ..RankLoad::default() };
        let rank = self.rank_in_step(&load);
        let peak = match self.shape.purpose {
            Purpose::Retrieval => rank.graph(&texts) + rank.transient_backward(&texts),
            Purpose::Pretraining { decoder } => {
                pretraining::phases(&rank, decoder).iter().map(|(_, parts)| bytes_of(parts)).fold(0.0, f64::max)
            }
        };
        (peak, rank.graph(&one) / len)
    }
}
