//! `memory_budget`: how large sub-batches are and how many keep their graphs, found by trying.
//!
//! A step holds, besides what the run always holds: the texts and representations of its batch with all that scoring
//! needs, one sub-batch on its way through the encoder and back, and the graphs that are kept. The first is tried with
//! the longest batch that the plan can give, its representations made up (the encoder has no part in it); the second
//! and what one kept graph's token takes with one sub-batch of the longest texts. What is left of the budget is for
//! graphs.
//!
//! A graph that is kept changes no number, so ranks may keep differently many. How texts are cut into sub-batches
//! changes rounding, so all ranks cut alike; sizes are powers of two of a base, so that small differences of free
//! memory between two runs do not show.

use tch::{Device, Tensor};
use tercet_cluster::{Collective, ReduceOp, all_ranks};
use tercet_configs::{ExitCode, LossSection, MemoryBudget, Negatives, Recipe};
use tercet_sampler::{BATCHES_AHEAD, Cell, Plan, Share, SubBatchLimit, TextIds, TextInput};

use crate::machine::allocator;
use crate::machine::memory::{Taken, free_bytes, measure, used_bytes};
use crate::model::M3Model;
use crate::model::representation::{Representations, zero_gradients};
use crate::model::sub_batch::SubBatches;
use crate::record::fitted::Fitted;
use crate::step::contrastive::score;
use crate::step::inspect::Unseen;
use crate::step::settings::{Objective, StepSettings};

/// Of the memory that "auto" finds free.
const AUTO_SHARE: f64 = 0.9;
/// Of the memory that is free where the recipe says nothing of memory: others may need the rest.
const UNASKED_SHARE: f64 = 0.5;
/// Tokens of the sub-batches that are tried where nothing was asked for: little work even for a large model.
const SAMPLED_TOKENS: [usize; 2] = [256, 512];
/// Part of the budget that stays free: what the allocator loses between blocks.
const SLACK: f64 = 0.05;
/// Sub-batches larger than this gain nothing, those smaller than a text do not exist.
const SMALLEST_SUB_BATCH: usize = 512;

/// The budget cannot hold one step.
#[derive(Debug, thiserror::Error)]
#[error(
    "memory_budget: {budget_bytes} bytes are too few: the run holds {used_bytes} (weights, gradient, optimizer, program), \
     the longest batch's representations and scores take {scoring_bytes} and its longest text {text_bytes}: give at least \
     {} bytes, lower the batch of the longest length group, or use more ranks",
    ((used_bytes + scoring_bytes + text_bytes) as f64 / (1.0 - SLACK)).ceil()
)]
pub struct TooSmall {
    /// The budget.
    pub budget_bytes: u64,
    /// Held before the first step.
    pub used_bytes: u64,
    /// Representations, scores, gradients of the longest batch.
    pub scoring_bytes: u64,
    /// One text, forward and backward.
    pub text_bytes: u64,
}

impl TooSmall {
    /// The exit code of a process that ends with this error.
    pub fn exit_code(&self) -> ExitCode {
        ExitCode::Usage
    }
}

/// Finds and sets the sizes in `settings`: both, if the recipe has a budget; how many graphs are kept, if it says
/// nothing of memory and the device is a CPU. Every rank calls it, when all is allocated that the run holds between
/// steps.
///
/// # Errors
/// [`TooSmall`] of a budget that was asked for, or a collective that failed.
pub fn fit(
    model: &M3Model,
    ranks: &dyn Collective,
    plan: &Plan,
    recipe: &Recipe,
    settings: &mut StepSettings,
) -> anyhow::Result<Option<Fitted>> {
    let device = model.options().1;
    // A graph that is kept changes no number, so a run that asked for nothing computes what it always would.
    let says_nothing = recipe.memory_budget.is_none() && recipe.kept_graph_tokens.is_none();
    let unasked = says_nothing && all_ranks(ranks, device == Device::Cpu)?;
    let Some(budget) = recipe.memory_budget.or(unasked.then_some(MemoryBudget::Auto)) else { return Ok(None) };
    let shapes: Vec<Shape> = plan.cells().iter().map(|cell| Shape::longest(plan, cell, ranks.world_size())).collect();
    let longest = shapes.iter().map(|s| s.query_len.max(s.passage_len)).max().unwrap_or(2);
    if recipe.memory_budget.is_none() {
        return keep_what_fits(model, ranks, &shapes, longest, settings).map(Some);
    }
    let scoring = longest_scoring(model, ranks, settings, &shapes)?;
    // What the program itself takes shows only when it has done everything once: libraries' code, and what they
    // compile.
    try_sub_batch(model, settings, longest, SMALLEST_SUB_BATCH);
    let used = used_bytes(device);
    let budget_bytes = match budget {
        MemoryBudget::Bytes(bytes) => bytes,
        MemoryBudget::Auto => used + share_of_free(ranks, device, AUTO_SHARE)?,
    };
    let left = (budget_bytes as f64 * (1.0 - SLACK)) as u64;
    let left = left.saturating_sub(used);

    let (tokens, sub_batch) = largest_sub_batch(model, settings, longest, left.saturating_sub(scoring));
    let tokens = agree_on_least(ranks, tokens)?;
    let fits = scoring + sub_batch.peak <= left;
    if agree_on_least(ranks, usize::from(fits))? == 0 {
        let text_bytes = sub_batch.peak;
        return Err(TooSmall { budget_bytes, used_bytes: used, scoring_bytes: scoring, text_bytes }.into());
    }
    let left = left - scoring - sub_batch.peak;
    let kept = (left as f64 / (sub_batch.kept as f64 / tokens_of(longest, tokens) as f64)) as usize;
    settings.sub_batch.tokens = tokens;
    settings.kept_graph_tokens = kept;
    // What the trials took is free for the steps, and not counted as resident.
    allocator::give_back();
    Ok(Some(Fitted {
        budget_bytes,
        used_bytes: used,
        scoring_bytes: scoring,
        sub_batch_bytes: sub_batch.peak,
        sub_batch_tokens: tokens,
        kept_graph_tokens: agree_on_least(ranks, kept)?,
    }))
}

/// Keeps as many graphs as fit into a part of the free memory, whatever else the run takes. Every rank calls it.
fn keep_what_fits(
    model: &M3Model,
    ranks: &dyn Collective,
    shapes: &[Shape],
    longest: usize,
    settings: &mut StepSettings,
) -> anyhow::Result<Fitted> {
    let device = model.options().1;
    let scoring = longest_scoring(model, ranks, settings, shapes)?;
    let len = longest.min(SAMPLED_TOKENS[0]);
    let [small, large] =
        SAMPLED_TOKENS.map(|tokens| (tokens_of(len, tokens) as f64, try_sub_batch(model, settings, len, tokens)));
    // On a CPU a sub-batch takes something, and something for each token.
    let per_token = (large.1.peak.saturating_sub(small.1.peak)) as f64 / (large.0 - small.0).max(1.0);
    let tokens = tokens_of(longest, settings.sub_batch.tokens.max(longest)) as f64;
    let sub_batch = large.1.peak + (per_token * (tokens - large.0).max(0.0)) as u64;
    let used = used_bytes(device);
    let budget_bytes = used + share_of_free(ranks, device, UNASKED_SHARE)?;
    let left = (budget_bytes as f64 * (1.0 - SLACK)) as u64;
    let left = left.saturating_sub(used + scoring + sub_batch);
    settings.kept_graph_tokens = (left as f64 / (large.1.kept as f64 / large.0)) as usize;
    allocator::give_back();
    Ok(Fitted {
        budget_bytes,
        used_bytes: used,
        scoring_bytes: scoring,
        sub_batch_bytes: sub_batch,
        sub_batch_tokens: settings.sub_batch.tokens,
        kept_graph_tokens: agree_on_least(ranks, settings.kept_graph_tokens)?,
    })
}

/// What scoring takes for the batches with most tokens and with most pairs. Every rank calls it.
fn longest_scoring(
    model: &M3Model,
    ranks: &dyn Collective,
    settings: &StepSettings,
    shapes: &[Shape],
) -> anyhow::Result<u64> {
    let (largest, widest) = (shapes.iter().max_by_key(|s| s.tokens()), shapes.iter().max_by_key(|s| s.pairs()));
    let other = widest.filter(|widest| largest.is_some_and(|largest| !std::ptr::eq(*widest, largest)));
    let mut most = 0;
    for shape in largest.into_iter().chain(other) {
        most = most.max(try_scoring(model, ranks, settings, shape)?.peak);
    }
    Ok(most)
}

/// This rank's part of the given share of what is free. Every rank calls it.
fn share_of_free(ranks: &dyn Collective, device: Device, share: f64) -> anyhow::Result<u64> {
    // Nobody takes its share before everybody has looked.
    let free = free_bytes(device) / ranks.local_size() as u64;
    ranks.barrier()?;
    Ok((free as f64 * share) as u64)
}

/// The longest batch of one cell: all its texts as long as any of them can be.
struct Shape {
    num_queries: usize,
    num_global_queries: usize,
    group_size: usize,
    query_len: usize,
    passage_len: usize,
    negatives: Negatives,
    two_way: bool,
}

impl Shape {
    fn longest(plan: &Plan, cell: &Cell, world_size: usize) -> Self {
        let longest = cell.lens.1.min(plan.longest_text());
        let (policy, num_global_queries) = (&plan.source(cell).policy, cell.size.global_batch as usize);
        Self {
            num_queries: num_global_queries.div_ceil(world_size),
            num_global_queries,
            group_size: policy.group_size.for_batch(usize::MAX - 1),
            query_len: longest.min(plan.query_max_len()).max(2),
            passage_len: longest.min(plan.passage_max_len()).max(2),
            negatives: policy.negatives,
            two_way: policy.two_way,
        }
    }

    fn tokens(&self) -> usize {
        self.num_queries * (self.query_len + self.group_size * self.passage_len)
    }

    fn pairs(&self) -> usize {
        self.num_queries * self.num_global_queries * self.group_size
    }
}

/// Scores made-up representations of a batch of `shape`, forward and backward; its token ids count, and on a CPU those
/// of the batches that are read ahead. Every rank calls it.
fn try_scoring(
    model: &M3Model,
    ranks: &dyn Collective,
    settings: &StepSettings,
    shape: &Shape,
) -> anyhow::Result<Taken> {
    let text = |len: usize, salt: usize| made_up_text(model, len, salt);
    let queries = (0..shape.num_queries).map(|i| text(shape.query_len, i));
    let passages = (0..shape.num_queries * shape.group_size).map(|i| text(shape.passage_len, i + 1));
    let Objective::Contrastive(loss) = &settings.objective;
    // Made-up texts have no known answers.
    let loss = LossSection { mask_false_negatives: false, ..loss.clone() };
    let share = Share {
        step: loss.distill_start_step,
        num_queries: shape.num_queries,
        group_size: shape.group_size,
        num_global_queries: shape.num_queries * ranks.world_size(),
        text_ids: TextIds::default(),
        teacher_scores: None,
        negatives: shape.negatives,
        two_way: shape.two_way,
        texts: Vec::new(),
    };
    let heads = settings.objective.heads();
    let device = model.options().1;
    let (done, mut taken) = measure(device, || {
        let share = Share { texts: queries.chain(passages).collect(), ..share };
        let all = Representations::zeros(&share.texts, model.dims(), heads, model.options());
        let fill = |t: &Tensor| drop(tch::no_grad(|| t.shallow_clone().uniform_(-0.1, 0.1)));
        fill(&all.dense);
        all.lexical.iter().for_each(|lexical| fill(&lexical.weights));
        all.multi_vector.iter().for_each(|vectors| fill(&vectors.vectors));
        score(ranks, &loss, &share, &all, &mut Unseen).map(|_| ())
    });
    done?;
    if device == Device::Cpu {
        // Each text's ids, and its distinct ones once more.
        taken.peak += (BATCHES_AHEAD * shape.tokens() * 2 * size_of::<i64>()) as u64;
    }
    Ok(taken)
}

/// The largest sub-batch of texts of `longest` tokens that `bytes` hold, and what it takes.
fn largest_sub_batch(model: &M3Model, settings: &StepSettings, longest: usize, bytes: u64) -> (usize, Taken) {
    let most = settings.sub_batch.tokens;
    let mut tokens = SMALLEST_SUB_BATCH.max(longest).min(most);
    let mut taken = try_sub_batch(model, settings, longest, tokens);
    // Memory grows no faster than tokens: the next size is tried only if it must fit.
    while tokens < most && taken.peak + taken.peak * (most.min(2 * tokens) - tokens) as u64 / tokens as u64 <= bytes {
        tokens = most.min(2 * tokens);
        taken = try_sub_batch(model, settings, longest, tokens);
    }
    (tokens, taken)
}

/// One sub-batch through the encoder and back; what is kept is its graph.
fn try_sub_batch(model: &M3Model, settings: &StepSettings, longest: usize, tokens: usize) -> Taken {
    let heads = settings.objective.heads();
    let texts = vec![made_up_text(model, longest, 0); (tokens / longest).max(1)];
    let device = model.options().1;
    let limit = SubBatchLimit { tokens, texts: 0 };
    let sub_batch = &SubBatches::new(&texts, limit, model.framing(), heads).build(0);
    let all = Representations::zeros(&texts, model.dims(), heads, model.options());
    let gradients = zero_gradients(&all);
    let (graph, forward) = measure(device, || model.graph(sub_batch, heads, Some(0)));
    let (_, backward) = measure(device, || model.backward(graph, &gradients, sub_batch, Some(0), &mut |_| ()));
    Taken { peak: forward.peak.max(forward.kept + backward.peak), kept: forward.kept }
}

/// Tokens of a sub-batch that is allowed `tokens` and made of texts of `longest`.
fn tokens_of(longest: usize, tokens: usize) -> usize {
    (tokens / longest).max(1) * longest
}

/// A text of `len` tokens, framed as any other, nearly all of them distinct.
pub(crate) fn made_up_text(model: &M3Model, len: usize, salt: usize) -> TextInput {
    let vocabulary = model.config.vocab_size.max(2);
    let id =
        |t: usize| if t == 0 { i64::from(model.special.cls) } else { ((t * 7919 + salt * 31) % vocabulary) as i64 };
    TextInput::new((0..len).map(id).collect(), &model.special)
}

/// The smallest of all ranks' numbers. Every rank calls it.
fn agree_on_least(ranks: &dyn Collective, own: usize) -> anyhow::Result<usize> {
    let mut least = [own as i64];
    ranks.all_reduce(least.as_mut_slice().into(), ReduceOp::Min)?;
    Ok(least[0] as usize)
}
