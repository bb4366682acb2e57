//! What a rank computes at a time, and of how much it keeps the graphs: what the recipe says, or what a card's memory
//! holds, as the worker finds it by trying (`worker/src/run/budget/mod.rs`).
//!
//! The worker tries the scoring of the longest batch that the plan can give and a sub-batch of its longest texts, and
//! keeps graphs in what is left of the free memory. Here the same is reckoned.

use serde::Serialize;
use tercet_configs::limits::{AUTO_SHARE, BUDGET_SLACK, SMALLEST_SUB_BATCH, UNASKED_SHARE};
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
        if recipe.memory_budget.is_none() && recipe.kept_graph_tokens.is_some() {
            return Self::unknown(recipe, Device::Cuda);
        }
        let rank = Rank { shape, recipe, world_size };
        let longest: Vec<RankLoad> = plan.cells().iter().map(|cell| rank.longest(plan, cell)).collect();
        rank.fit(&longest, plan.longest_text().max(2), memory_bytes)
    }
}

/// A rank of the run.
struct Rank<'a> {
    shape: &'a ModelShape,
    recipe: &'a Recipe,
    world_size: usize,
}

impl Rank<'_> {
    /// What fits beside the `longest` batches, one of each cell, with texts of at most `longest_text` tokens.
    fn fit(&self, longest: &[RankLoad], longest_text: usize, memory_bytes: f64) -> Fit {
        let recipe = self.recipe;
        let used = self.held_always(longest);
        let of_free = |share: [f64; 2]| used + share[Device::Cuda as usize] * (memory_bytes - used);
        let budget = match recipe.memory_budget {
            Some(MemoryBudget::Bytes(bytes)) => bytes as f64,
            Some(MemoryBudget::Auto) => of_free(AUTO_SHARE),
            None => of_free(UNASKED_SHARE),
        };
        let left = budget * (1.0 - BUDGET_SLACK[Device::Cuda as usize]) - used - self.scoring(longest);
        let sizes = std::iter::successors(Some(recipe.sub_batch_tokens), |tokens| {
            let smaller = recipe.memory_budget.is_some() && *tokens > SMALLEST_SUB_BATCH.max(longest_text);
            smaller.then_some((tokens / 2).max(longest_text))
        });
        let taken = |tokens: usize| self.sub_batch(longest_text, tokens.max(longest_text));
        let smallest = sizes.clone().last().unwrap_or(recipe.sub_batch_tokens);
        let sub_batch_tokens = sizes.into_iter().find(|&tokens| taken(tokens).0 <= left).unwrap_or(smallest);
        let (peak, per_token) = taken(sub_batch_tokens);
        // The graphs that are kept are gone when another is computed again: its room is theirs, if
        // they are two of its size.
        let beside = ((left - peak) / per_token).max(0.0) as usize;
        let most = sub_batch_tokens.max(longest_text);
        let instead = beside + most / longest_text * longest_text;
        let kept = if peak <= left && instead >= 2 * most { instead } else { beside };
        Fit { sub_batch_tokens, kept_graph_tokens: recipe.masks().is_none().then_some(kept) }
    }

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
        let lens = [plan.query_max_len(), plan.passage_max_len()].map(|most| longest.min(most).max(2));
        self.made_up(queries, group_size, lens)
    }

    /// Texts whose lengths are `lens`, of queries and of passages.
    fn made_up(&self, queries: usize, group_size: usize, lens: [usize; 2]) -> RankLoad {
        let share = ShareLens {
            queries: vec![lens[0]; queries],
            passages: vec![lens[1]; queries * group_size],
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

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use tercet_configs::{GpuKind, LengthGroup};

    use super::*;
    use crate::plan::time::Card;

    const WORLD: usize = 96;

    /// Tokens whose graphs stage 2's recipe keeps on 96 cards with so much memory.
    fn kept_in_stage_2(memory_bytes: f64, budget: Option<MemoryBudget>) -> usize {
        let root = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("..");
        let mut recipe = Recipe::load(&root.join("configs/stage2.toml"), &["precision=bf16".to_owned()]).unwrap();
        assert_eq!(recipe.memory_budget, Some(MemoryBudget::Auto));
        recipe.memory_budget = budget;
        let shape = ModelShape::of(&recipe, Some(&root.join("pipelines/m3/config/m3-model.json"))).unwrap();
        let rank = Rank { shape: &shape, recipe: &recipe, world_size: WORLD };
        let most = [recipe.data.query_max_len, recipe.data.passage_max_len];
        let longest =
            |group: &LengthGroup| rank.made_up(group.global_batch / WORLD, 1, most.map(|most| most.min(group.max_len)));
        let longest: Vec<RankLoad> = recipe.data.length_groups.iter().map(longest).collect();
        rank.fit(&longest, most[1], memory_bytes).kept_graph_tokens.unwrap()
    }

    #[test]
    fn a_share_of_75_000_tokens_is_kept_whole_in_stage_2_on_80_gb() {
        let auto = Some(MemoryBudget::Auto);
        // In round numbers, and what CUDA reports of such cards.
        for memory_bytes in [80e9, Card::of(GpuKind::A100Of80).memory_bytes, Card::of(GpuKind::H100).memory_bytes] {
            let [kept, unasked] = [auto, None].map(|budget| kept_in_stage_2(memory_bytes, budget));
            assert!(kept >= 75_000 && unasked < kept, "{kept} tokens of {memory_bytes} bytes, {unasked} unasked");
        }
        assert!(kept_in_stage_2(Card::of(GpuKind::A100Of40).memory_bytes, auto) < 75_000, "of 40 GB it is a part");
    }
}
