//! `memory_budget`: how large sub-batches are and how many keep their graphs, found by trying.
//!
//! A step holds, besides what the run always holds: the texts and representations of its batch with all that scoring
//! needs, one sub-batch on its way through the encoder and back, and the graphs that are kept. The first is tried with
//! the longest batch that the plan can give, its representations made up (the encoder has no part in it); the second
//! and what one kept graph's token takes with a sub-batch of the longest texts and one of as many texts as there can
//! be. What is left of the budget is for graphs.
//!
//! On a GPU all that is not tensors is made before the first look: CUDA's context and the products' workspaces by a
//! product, NCCL's buffers by the gradient's exchanges and by the ring. What is used is then what the driver says. The
//! largest sub-batch is tried first; where it does not fit, a smaller one is tried. A batch that cannot be scored ends
//! the run, because nothing smaller would do. The allocator's cache is emptied before each look and after the trials,
//! whose blocks would lie in the way of the steps'.
//!
//! A graph that is kept changes no number, so ranks may keep differently many. How texts are cut into sub-batches
//! changes rounding, so all ranks cut alike; sizes are powers of two of a base, so that small differences of free
//! memory between two runs do not show.

mod error;
mod trial;

use tch::Device;
use tercet_cluster::{Collective, ReduceOp};
use tercet_configs::limits::{AUTO_SHARE, BUDGET_SLACK, SMALLEST_SUB_BATCH, UNASKED_SHARE};
use tercet_configs::{MemoryBudget, Recipe};
use tercet_sampler::Plan;

use crate::machine::memory::{free_bytes, give_back, used_bytes};
use crate::model::M3Model;
use crate::record::fitted::Fitted;
use crate::step::settings::StepSettings;
pub use error::DoesNotFit;
pub(crate) use trial::{PretrainingTrial, made_up_text};
use trial::{
    Shape, Texts, Tried, extrapolated, largest_by_steps, largest_that_fits, longest_scoring, try_sub_batches, warm_up,
};

/// Finds and sets the sizes in `settings`: both, if the recipe has a budget; how many graphs are kept, if it says
/// nothing of memory. Every rank calls it, when all is allocated that the run holds between steps.
///
/// # Errors
/// [`DoesNotFit`]: a budget that was asked for is too small, or a GPU cannot score the longest batch; or a collective
/// that failed.
pub fn fit(
    model: &M3Model,
    ranks: &dyn Collective,
    plan: &Plan,
    recipe: &Recipe,
    settings: &mut StepSettings,
) -> anyhow::Result<Option<Fitted>> {
    let device = model.options().1;
    // A graph that is kept changes no number, so a run that asked for nothing computes what it always would.
    let unasked = recipe.memory_budget.is_none() && recipe.kept_graph_tokens.is_none();
    let Some(budget) = recipe.memory_budget.or(unasked.then_some(MemoryBudget::Auto)) else { return Ok(None) };
    let shapes: Vec<Shape> = plan.cells().iter().map(|cell| Shape::longest(plan, cell, ranks.world_size())).collect();
    let texts = Texts::of(&shapes);
    warm_up(model, ranks, settings.optimizer.shard_state)?;
    let scoring = longest_scoring(model, ranks, settings, &shapes)?;
    if unasked {
        return keep_what_fits(model, ranks, scoring, texts, settings).map(Some);
    }
    // What the program itself takes shows only when it has done everything once: libraries' code, and what they
    // compile. Where not even this fits, the trials below say so.
    let _ = try_sub_batches(model, settings, texts, SMALLEST_SUB_BATCH);
    let used = used_bytes(device);
    let budget_bytes = match budget {
        MemoryBudget::Bytes(bytes) => bytes,
        MemoryBudget::Auto => used + share_of_free(ranks, device, AUTO_SHARE)?,
    };
    let left = less_slack(budget_bytes, device).saturating_sub(used);
    let for_sub_batch = left.saturating_sub(scoring);
    let found = match device {
        Device::Cuda(_) => largest_that_fits(model, settings, texts, for_sub_batch),
        _ => largest_by_steps(model, settings, texts, for_sub_batch),
    };
    let tokens = agree_on_least(ranks, found.map_or(0, |found| found.0))?;
    let fits = found.is_some_and(|(_, sub_batch)| scoring + sub_batch.peak <= left);
    let all_fit = agree_on_least(ranks, usize::from(fits))? == 1;
    let Some((_, sub_batch)) = found.filter(|_| all_fit) else {
        let text_bytes = found.map_or(for_sub_batch, |found| found.1.peak);
        let slack = slack(device);
        return Err(
            DoesNotFit::Budget { budget_bytes, used_bytes: used, scoring_bytes: scoring, text_bytes, slack }.into()
        );
    };
    // A text longer than a sub-batch may be goes alone.
    let kept = Room { left: left - scoring, tried: sub_batch, most_tokens: tokens.max(texts.longest) }.num_kept();
    settings.sub_batch.tokens = tokens;
    settings.kept_graph_tokens = kept;
    // What the trials took is free for the steps, and not counted as used.
    give_back(device);
    Ok(Some(Fitted {
        budget_bytes,
        used_bytes: used,
        scoring_bytes: scoring,
        sub_batch_bytes: sub_batch.peak,
        sub_batch_tokens: tokens,
        kept_graph_tokens: agree_on_least(ranks, kept)?,
    }))
}

/// Keeps as many graphs as fit into a part of the free memory, whatever else the run takes; `scoring` is what scoring
/// takes. Every rank calls it.
fn keep_what_fits(
    model: &M3Model,
    ranks: &dyn Collective,
    scoring: u64,
    texts: Texts,
    settings: &mut StepSettings,
) -> anyhow::Result<Fitted> {
    let device = model.options().1;
    let whole = settings.sub_batch.tokens.max(texts.longest);
    let tried = match device {
        // A GPU tries in no time what a CPU would take minutes for.
        Device::Cuda(_) => try_sub_batches(model, settings, texts, whole),
        _ => extrapolated(model, settings, texts.longest, whole),
    };
    let used = used_bytes(device);
    let budget_bytes = used + share_of_free(ranks, device, UNASKED_SHARE)?;
    // Where the recipe's sub-batch itself does not fit, nothing is kept; the first step will say what is to be done.
    settings.kept_graph_tokens = tried.map_or(0, |tried| {
        let left = less_slack(budget_bytes, device).saturating_sub(used + scoring);
        Room { left, tried, most_tokens: whole }.num_kept()
    });
    give_back(device);
    Ok(Fitted {
        budget_bytes,
        used_bytes: used,
        scoring_bytes: scoring,
        sub_batch_bytes: tried.map_or(0, |tried| tried.peak),
        sub_batch_tokens: settings.sub_batch.tokens,
        kept_graph_tokens: agree_on_least(ranks, settings.kept_graph_tokens)?,
    })
}

/// The room for graphs.
struct Room {
    /// Bytes of the budget that are left for the encoder.
    left: u64,
    /// What a sub-batch takes on its way through the encoder and back.
    tried: Tried,
    /// The most tokens that a sub-batch can have.
    most_tokens: usize,
}

impl Room {
    /// Tokens whose graphs are kept; none where a step keeps no graph, or where the sub-batch does not fit.
    ///
    /// The graphs that are kept are walked back first, and are gone when another is computed again. So the graph of the
    /// sub-batch needs no room beside them, if they are two of the largest size or more: a later, smaller sub-batch may
    /// be kept as well, and is there while an earlier one is computed again.
    fn num_kept(&self) -> usize {
        let Tried { peak, without_graph, kept_per_token } = self.tried;
        if kept_per_token <= 0.0 || peak > self.left {
            return 0;
        }
        let kept = |beside: u64| ((self.left - beside) as f64 / kept_per_token) as usize;
        let instead = kept(without_graph);
        if instead >= 2 * self.most_tokens { instead } else { kept(peak) }
    }
}

/// The part of a budget of `bytes` that may be planned with.
fn less_slack(bytes: u64, device: Device) -> u64 {
    (bytes as f64 * (1.0 - slack(device))) as u64
}

fn slack(device: Device) -> f64 {
    BUDGET_SLACK[usize::from(device.is_cuda())]
}

/// This rank's part of the `share` of what is free on a CPU and on a GPU: ranks share a machine's memory, and no GPU.
/// Every rank calls it.
fn share_of_free(ranks: &dyn Collective, device: Device, share: [f64; 2]) -> anyhow::Result<u64> {
    // Nobody takes its share before everybody has looked.
    let sharing = if device.is_cuda() { 1 } else { ranks.local_size() as u64 };
    let free = free_bytes(device) / sharing;
    ranks.barrier()?;
    Ok((free as f64 * share[usize::from(device.is_cuda())]) as u64)
}

/// The smallest of all ranks' numbers. Every rank calls it.
fn agree_on_least(ranks: &dyn Collective, own: usize) -> anyhow::Result<usize> {
    let mut least = [own as i64];
    ranks.all_reduce(least.as_mut_slice().into(), ReduceOp::Min)?;
    Ok(least[0] as usize)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn graphs_that_are_kept_take_the_place_of_the_sub_batchs_own() {
        // A sub-batch of 100 tokens takes 1,300 bytes, of which its graph is 1,000.
        let tried = Tried { peak: 1_300, without_graph: 300, kept_per_token: 10.0 };
        let kept = |left: u64| Room { left, tried, most_tokens: 100 }.num_kept();
        // Two graphs of the sub-batch's size fit beside what is no graph; then it needs no room of its own.
        assert_eq!((kept(1_299), kept(1_300), kept(2_000), kept(2_299)), (0, 0, 70, 99));
        assert_eq!((kept(2_300), kept(5_300)), (200, 500));
        let tried = Tried { peak: 1, without_graph: 1, kept_per_token: 0.0 };
        assert_eq!(Room { left: 9, tried, most_tokens: 1 }.num_kept(), 0, "a step keeps no graph");
    }
}
