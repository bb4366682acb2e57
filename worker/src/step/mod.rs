//! One training step: the phases of docs/know/architecture.md from the batch in hand to the updated weights.
//!
//! The sampler chooses and reads the batch (phases 1 and 2), and the run records the step (phase 10). [`contrastive`]
//! and [`pretraining`] have an objective's part (phases 3 to 7): everything between the batch and the gradient's sum
//! over ranks.

mod ahead;
pub mod clip;
pub mod contrastive;
mod dropout_seed;
pub mod inspect;
pub mod outcome;
pub mod pretraining;
pub mod reduce;
pub mod schedule;
pub mod settings;
pub mod update;

use tercet_cluster::{Collective, CollectiveError, Counted, any_rank_each};
use tercet_sampler::Share;

use crate::machine::card::waiting;
use crate::machine::phase::{Phase, during};
use crate::step::clip::clip_grad_norm;
use crate::step::inspect::{Inspect, Unseen};
use crate::step::outcome::{Outcome, Stepped};
use crate::step::reduce::GradientReducer;
use crate::step::schedule::learning_rate;
use crate::step::settings::{Objective, Trainee};
use crate::step::update::AdamW;

/// One training step: computes the loss's gradient, clips it, agrees with the other ranks that all is finite, and then
/// updates the weights (phase 9), once `unread` has returned: nobody else reads them or the optimizer's state any more.
/// The same exchange agrees on stopping: `asks` says whether this rank was asked to stop. Every rank calls it with its
/// share of the batch.
///
/// # Errors
/// A collective that failed.
pub fn train_step(
    of: &Trainee,
    optimizer: &mut AdamW,
    ranks: &Counted,
    share: &Share,
    asks: impl FnOnce() -> bool,
    unread: impl FnOnce(),
) -> Result<Stepped, CollectiveError> {
    let (parameters, settings) = (&of.model.parameters, &of.settings.optimizer);
    ranks.take_traffic();
    let outcome = gradients(of, ranks, share, &mut Unseen)?;
    let traffic = ranks.take_traffic();
    let clip = || clip_grad_norm(ranks, parameters, settings);
    let clip = during(Phase::Optimizer, || waiting(parameters.flat.device(), clip))?;
    let rate = learning_rate(settings, share.step, of.settings.num_steps);
    // All ranks should have the same sums and the same norm, but a rank with faulty memory or a faulty device may not.
    // So they agree before any weight changes.
    let finite = outcome.loss.is_finite() && clip.norm.is_finite();
    let [faulty, stops] = any_rank_each(ranks, [!finite, asks()])?;
    if !faulty {
        unread();
        during(Phase::Optimizer, || optimizer.update(ranks, parameters, settings, rate, clip.factor))?;
    }
    Ok(Stepped { outcome, traffic, grad_norm: clip.norm, learning_rate: rate, is_updated: !faulty, stops })
}

/// The loss of one global batch (phases 3 to 8). Its gradient, summed over ranks, is left in the model's flat buffer;
/// with `shard_state` this rank's parts of it. Every rank calls it with its share of the batch.
///
/// # Errors
/// A collective that failed.
pub fn gradients(
    of: &Trainee,
    ranks: &dyn Collective,
    share: &Share,
    see: &mut dyn Inspect,
) -> Result<Outcome, CollectiveError> {
    during(Phase::Optimizer, || _ = of.model.parameters.flat_grad().zero_());
    let mut sum = GradientReducer::new(ranks, &of.model.parameters, of.settings.optimizer.shard_state);
    let own = match &of.settings.objective {
        Objective::Contrastive(loss) => contrastive::compute(of, loss, ranks, share, &mut sum, see)?,
        Objective::Pretraining(section, masks) => {
            pretraining::compute(of, section, masks, ranks, share, &mut sum, see)?
        }
    };
    during(Phase::Reduce, || {
        sum.finish()?;
        own.summed(ranks)
    })
}
