//! One training step: the phases of docs/know/architecture.md in order, with nothing else on the screen.
//!
//! Gradient caching (Gao et al., 2021) with the score matrices as the cut: encode without graphs, score, take the loss's
//! gradient back to the representations, then encode again sub-batch by sub-batch with graphs. Activation memory is one
//! sub-batch's, whatever the batch.
//!
//! Legend: Q local queries, G group size, P all ranks' passages.

pub mod contrastive;
pub mod inspect;
pub mod optimizer;
pub mod reduce;

use tch::Tensor;
use tercet_cluster::{Collective, CollectiveError};
use tercet_configs::{LossSection, Negatives, Recipe};
use tercet_sampler::{Batch, SubBatchLimit, TextIds};

use crate::machine::phase::{Phase, begin, during};
use crate::model::M3Model;
use crate::model::representation::{Gradients, Heads, Representations, TextInput};
use crate::model::sub_batch::Cut;
use crate::scoring::{RingScoring, Scores};
use crate::step::contrastive::known_answers::{FalseNegatives, KnownAnswers};
use crate::step::contrastive::loss::{Loss, Targets, Terms, loss};
use crate::step::contrastive::passes::{Passes, encode_first_pass, encode_second_pass};
use crate::step::contrastive::two_way::add_passage_to_query;
use crate::step::inspect::{Unwatched, Watch};
use crate::step::reduce::GradientReducer;

/// This rank's part of a global batch.
#[derive(Debug, Clone)]
pub struct StepBatch {
    /// The optimizer step, from 0.
    pub step: u64,
    /// Q queries, then their Q·G passages.
    pub texts: Vec<TextInput>,
    /// Which of them are the same.
    pub text_ids: TextIds,
    /// Q.
    pub num_queries: usize,
    /// G.
    pub group_size: usize,
    /// Queries on all ranks together.
    pub num_global_queries: usize,
    /// Teacher scores, [Q·G].
    pub teacher_scores: Option<Vec<f32>>,
    /// Which passages a query is contrasted with.
    pub negatives: Negatives,
    /// Also contrast each positive with all queries.
    pub two_way: bool,
}

impl From<Batch> for StepBatch {
    fn from(batch: Batch) -> Self {
        Self {
            step: batch.step,
            num_queries: batch.queries.len(),
            texts: batch.queries.into_iter().chain(batch.passages).map(TextInput::new).collect(),
            text_ids: batch.text_ids,
            group_size: batch.group_size,
            num_global_queries: batch.num_global_queries,
            teacher_scores: batch.teacher_scores,
            negatives: batch.negatives,
            two_way: batch.two_way,
        }
    }
}

/// What a step computes with, besides the model.
#[derive(Debug, Clone)]
pub struct StepSettings {
    /// The objective.
    pub loss: LossSection,
    /// How much goes through the encoder at a time.
    pub sub_batch: SubBatchLimit,
    /// Padded tokens whose graphs the first pass keeps.
    pub kept_graph_tokens: usize,
    /// Seeds dropout.
    pub seed: u64,
    /// Each rank needs the summed gradient of its parts only.
    pub shard_state: bool,
}

impl StepSettings {
    /// As the recipe says.
    pub fn of(recipe: &Recipe) -> Self {
        Self {
            loss: recipe.loss.clone(),
            sub_batch: SubBatchLimit { tokens: recipe.sub_batch_tokens, texts: recipe.sub_batch_texts },
            kept_graph_tokens: recipe.kept_graph_tokens.unwrap_or(0),
            seed: recipe.seed,
            shard_state: recipe.optimizer.shard_state,
        }
    }
}

/// What a step found. The summed gradient, or this rank's parts of it, is in the model's flat buffer.
#[derive(Debug)]
pub struct StepOutcome {
    /// The global batch's loss: the same on every rank.
    pub loss: f64,
    /// Its parts.
    pub terms: Terms,
    /// This rank's scores, undivided, [Q, P] each.
    pub scores: Scores,
    /// Pairs of this rank's queries and passages that were left out of the loss.
    pub num_false_negatives: usize,
    /// Real tokens that this rank encoded.
    pub num_tokens: usize,
    /// Tokens that it encoded, padding included.
    pub num_padded_tokens: usize,
}

/// Computes loss and gradient of one global batch. Every rank calls it with its part.
///
/// # Errors
/// A collective that failed.
pub fn compute_gradients(
    model: &M3Model,
    ranks: &dyn Collective,
    settings: &StepSettings,
    batch: &StepBatch,
) -> Result<StepOutcome, CollectiveError> {
    compute_watched(model, ranks, settings, batch, &mut Unwatched)
}

/// As [`compute_gradients`], under the eyes of `watch`.
///
/// # Errors
/// As there.
pub fn compute_watched(
    model: &M3Model,
    ranks: &dyn Collective,
    settings: &StepSettings,
    batch: &StepBatch,
    watch: &mut dyn Watch,
) -> Result<StepOutcome, CollectiveError> {
    let heads = Heads::of(settings.loss.preset);
    let _ = model.parameters.flat_grad().zero_();
    model.parameters.refresh();

    begin(Phase::Input);
    let sub_batches = Cut::new(&batch.texts, settings.sub_batch, model, heads);
    begin(Phase::Forward);
    let passes = Passes { model, heads, settings, step: batch.step, rank: ranks.rank() };
    let (representations, kept) = encode_first_pass(&passes, &batch.texts, &sub_batches);
    watch.representations(&representations);

    let Scored { scores, loss: own, d_representations, num_false_negatives } =
        score(ranks, settings, batch, &representations, watch)?;

    begin(Phase::Backward);
    let mut reducer = GradientReducer::new(ranks, &model.parameters, settings.shard_state);
    let mut reduced = Ok(());
    let early = !watch.looks_at_gradients();
    encode_second_pass(&passes, &sub_batches, kept, &d_representations, watch, |first| {
        if early && reduced.is_ok() {
            reduced = during(Phase::Reduce, || reducer.final_from(first));
        }
    });
    reduced?;

    begin(Phase::Reduce);
    reducer.finish()?;
    let (loss, terms) = sum_losses(ranks, &own)?;
    begin(Phase::Other);
    Ok(StepOutcome {
        loss,
        terms,
        scores,
        num_false_negatives,
        num_tokens: sub_batches.num_tokens(),
        num_padded_tokens: sub_batches.num_padded_tokens(),
    })
}

/// What scoring a batch gives.
pub struct Scored {
    /// This rank's scores, undivided, [Q, P] each.
    pub scores: Scores,
    /// This rank's share of the loss.
    pub loss: Loss,
    /// The gradients of this rank's queries' and passages' representations.
    pub d_representations: Gradients,
    /// Pairs that were left out of the loss.
    pub num_false_negatives: usize,
}

/// From representations to their gradients: scores, loss, and back. Every rank calls it.
///
/// # Errors
/// A collective that failed.
pub fn score(
    ranks: &dyn Collective,
    settings: &StepSettings,
    batch: &StepBatch,
    representations: &Representations,
    watch: &mut dyn Watch,
) -> Result<Scored, CollectiveError> {
    let queries = representations.narrow(0, batch.num_queries);
    let passages = representations.narrow(batch.num_queries, batch.texts.len());
    begin(Phase::Scoring);
    let mut scoring = RingScoring::new(ranks, &queries, &passages)?;
    let scores = scoring.forward()?; // [Q, P]
    watch.scores(&scores);

    begin(Phase::Loss);
    let distill = settings.loss.distill && batch.step >= settings.loss.distill_start_step;
    let known = match settings.loss.mask_false_negatives {
        true => KnownAnswers::gather(ranks, batch)?,
        false => KnownAnswers::default(),
    };
    let targets = targets(batch, scoring.first_passage()[ranks.rank()], &scores, known.among_passages());
    let mut own = loss(&settings.loss, &scores, &targets, distill);
    if batch.two_way {
        own = add_passage_to_query(ranks, settings, batch, &scores, known.among_queries(), own, distill)?;
    }

    watch.d_scores(&own.d_scores);
    begin(Phase::Scoring);
    let (d_queries, d_passages) = scoring.backward(&own.d_scores)?;
    let d_representations = d_queries.followed_by(&d_passages);
    Ok(Scored { scores, loss: own, d_representations, num_false_negatives: targets.false_negatives.count() })
}

/// Which columns of the score matrix are each query's positive and group; `first` is this rank's first passage.
fn targets(batch: &StepBatch, first: usize, scores: &Scores, false_negatives: FalseNegatives) -> Targets {
    let (q, g) = (batch.num_queries as i64, batch.group_size as i64);
    let options = (tch::Kind::Int64, scores.dense.device());
    let group = (Tensor::arange(q * g, options) + first as i64).view([q, g]); // [Q, G]
    let teacher = batch.teacher_scores.clone().map(|mut teacher| {
        false_negatives.leave_out_of_groups(&mut teacher, first, batch.group_size);
        Tensor::from_slice(&teacher).to_device(options.1).view([q, g]) // [Q, G]
    });
    Targets {
        positive: group.select(1, 0),
        group,
        false_negatives,
        teacher,
        negatives: batch.negatives,
        num_global_queries: batch.num_global_queries,
    }
}

/// The global loss and its parts from every rank's shares. Every rank calls it.
fn sum_losses(ranks: &dyn Collective, own: &Loss) -> Result<(f64, Terms), CollectiveError> {
    let parts = own.terms.values();
    let mut sums: Vec<f64> = parts.iter().map(|part| part.unwrap_or(0.0)).chain([own.total]).collect();
    ranks.all_reduce(sums.as_mut_slice().into(), tercet_cluster::ReduceOp::Sum)?;
    let terms = Terms::from_values(std::array::from_fn(|i| parts[i].map(|_| sums[i])));
    Ok((sums[parts.len()], terms))
}
