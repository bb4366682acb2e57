//! Looking at what a step makes on its way, where something has to be found: it is the same step, not a copy of it.

use crate::model::representation::Representations;
use crate::model::sub_batch::SubBatch;
use crate::scoring::Scores;

/// Sees a step's stages in their order. It must not change what it sees.
pub trait Inspect {
    /// This rank's texts have been encoded.
    fn representations(&mut self, _representations: &Representations) {}

    /// This rank's queries have been scored.
    fn scores(&mut self, _scores: &Scores) {}

    /// The loss's gradient with respect to the scores is known.
    fn d_scores(&mut self, _d_scores: &Scores) {}

    /// Whether [`Inspect::gradient_of`] is of interest: then nothing is summed over ranks before all sub-batches are
    /// done.
    fn looks_at_gradients(&self) -> bool {
        false
    }

    /// A sub-batch's gradient has been added to the flat buffer, which holds nothing of other ranks yet if it
    /// [is looked at](Inspect::looks_at_gradients).
    fn gradient_of(&mut self, _sub_batch: &SubBatch) {}
}

/// Looks at nothing.
pub struct Unseen;

impl Inspect for Unseen {}
