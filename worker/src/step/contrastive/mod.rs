//! The contrastive objective: queries against the passages of all ranks.
//!
//! Gradient caching (Gao et al., 2021, arXiv 2101.06983) with the score matrices as the cut: encode without graphs,
//! score, take the loss's gradient back to the representations, then encode again with graphs, sub-batch by sub-batch.
//! Activation memory is one sub-batch's, whatever the batch.
//!
//! Legend: Q local queries, P all ranks' passages.

pub mod known_answers;
pub mod loss;
pub mod passes;
pub mod targets;
pub mod two_way;

use tercet_cluster::{Collective, CollectiveError};
use tercet_configs::LossSection;
use tercet_sampler::Share;

use crate::machine::card::waiting;
use crate::machine::phase::{Phase, during};
use crate::model::representation::{Gradients, Heads, Representations, joined};
use crate::model::sub_batch::SubBatches;
use crate::scoring::{RingScoring, Rounding, Scores};
use crate::step::ahead::made_ahead;
use crate::step::contrastive::known_answers::KnownAnswers;
use crate::step::contrastive::loss::{Loss, loss};
use crate::step::contrastive::passes::{Next, Passes, encode_first_pass, encode_second_pass};
use crate::step::contrastive::targets::Targets;
use crate::step::contrastive::two_way::add_passage_to_query;
use crate::step::inspect::Inspect;
use crate::step::outcome::{Contrasted, Outcome, Told};
use crate::step::reduce::GradientReducer;
use crate::step::settings::Trainee;

/// Adds the gradient of this rank's share of the batch to the flat buffer, and lets `sum` start on what is final. The
/// outcome's loss is this rank's share. Every rank calls it.
///
/// # Errors
/// A collective that failed.
pub fn compute(
    of: &Trainee,
    settings: &LossSection,
    ranks: &dyn Collective,
    share: &Share,
    sum: &mut GradientReducer,
    see: &mut dyn Inspect,
) -> Result<Outcome, CollectiveError> {
    let (model, heads) = (of.model, Heads::of(settings.preset));
    let (seed, kept_graph_tokens) = (of.settings.seed, of.settings.kept_graph_tokens);
    let cut = || SubBatches::new(&share.texts, of.settings.sub_batch, model.framing(), heads);
    let sub_batches = &during(Phase::Input, cut);
    let passes = Passes { model, sub_batches, heads, kept_graph_tokens, seed, step: share.step, rank: ranks.rank() };
    let how = (settings, of.settings.rounding(model));
    let work = |next: &mut Next| through_passes(&passes, next, how, ranks, share, sum, see);
    made_ahead(model.options().1, &passes.order(), |i| sub_batches.stage(i), work)
}

/// As [`compute`], with sub-batches as `next` gives them.
fn through_passes(
    passes: &Passes,
    next: &mut Next,
    how: (&LossSection, Rounding),
    ranks: &dyn Collective,
    share: &Share,
    sum: &mut GradientReducer,
    see: &mut dyn Inspect,
) -> Result<Outcome, CollectiveError> {
    let early = !see.looks_at_gradients();
    let ready = |first| {
        if early {
            during(Phase::Reduce, || sum.final_from(first));
        }
    };
    let first = || encode_first_pass(passes, &share.texts, next);
    let (representations, kept) = during(Phase::Forward, first);
    see.representations(&representations);
    let scored = score(ranks, how, share, &representations, see)?;
    let second = || encode_second_pass(passes, kept, &scored.d_representations, next, see, ready);
    during(Phase::Backward, second);

    Ok(Outcome {
        loss: scored.loss.total,
        told: Told::Contrastive(Contrasted {
            terms: scored.loss.terms,
            scores: scored.scores,
            num_false_negatives: scored.num_false_negatives,
        }),
        num_tokens: passes.sub_batches.num_tokens(),
        device: passes.model.options().1,
    })
}

/// The result of scoring a share.
pub struct Scored {
    /// This rank's scores, not yet divided by the temperature, [Q, P] each.
    pub scores: Scores,
    /// This rank's share of the loss.
    pub loss: Loss,
    /// The gradients of this rank's queries' and passages' representations.
    pub d_representations: Gradients,
    /// Pairs that were left out of the loss.
    pub num_false_negatives: usize,
}

/// From representations to their gradients: scores on the ring, the loss, and back on the ring. Every rank calls it.
///
/// # Errors
/// A collective that failed.
pub fn score(
    ranks: &dyn Collective,
    (settings, rounding): (&LossSection, Rounding),
    share: &Share,
    representations: &Representations,
    see: &mut dyn Inspect,
) -> Result<Scored, CollectiveError> {
    let queries = representations.narrow(0, share.num_queries);
    let passages = rounding.of_passages(representations.narrow(share.num_queries, share.texts.len()));
    // On a GPU the host mostly waits here: for the encoder's pass, and for sizes that decide the next piece of work.
    let device = representations.dense.device();
    let begin = || RingScoring::new(ranks, &queries, &passages, rounding);
    let mut scoring = during(Phase::Scoring, || waiting(device, begin))?;
    let scores = during(Phase::Scoring, || waiting(device, || scoring.forward()))?; // [Q, P]
    see.scores(&scores);
    let first_passage = scoring.first_passage()[ranks.rank()];
    let contrast = || contrast(ranks, settings, share, &scores, first_passage);
    let (loss, num_false_negatives) = during(Phase::Loss, contrast)?;
    see.d_scores(&loss.d_scores);
    let backward = || scoring.backward(&loss.d_scores).map(|(queries, passages)| joined(&queries, &passages));
    let d_representations = during(Phase::Scoring, || waiting(device, backward))?;
    Ok(Scored { scores, loss, d_representations, num_false_negatives })
}

/// This rank's share of the loss, and the number of pairs that are left out of it; `first_passage` is the column of
/// this rank's first passage. Every rank calls it.
fn contrast(
    ranks: &dyn Collective,
    settings: &LossSection,
    share: &Share,
    scores: &Scores,
    first_passage: usize,
) -> Result<(Loss, usize), CollectiveError> {
    let distill = settings.distils_in(share.step);
    let known = match settings.mask_false_negatives {
        true => KnownAnswers::gather(ranks, &share.text_ids, share.group_size, share.negatives)?,
        false => KnownAnswers::default(),
    };
    let targets = Targets::of(share, first_passage, known.among_passages(), scores.dense.device());
    let mut own = loss(settings, scores, &targets, distill);
    if share.two_way {
        own = add_passage_to_query(ranks, settings, share, scores, known.among_queries(), own, distill)?;
    }
    Ok((own, targets.false_negatives.count()))
}
