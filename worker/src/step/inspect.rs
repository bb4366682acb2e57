//! A look at a step's intermediate results, for diagnosis. The step that is inspected is the ordinary one, not a copy.

use crate::model::representation::Representations;
use crate::model::sub_batch::SubBatch;
use crate::scoring::Scores;

/// Sees a step's stages in their order. It must not change what it sees. Pre-training has no scores, and shows its
/// gradients alone.
pub trait Inspect {
    /// This rank's texts have been encoded.
    fn representations(&mut self, _representations: &Representations) {}

    /// This rank's queries have been scored.
    fn scores(&mut self, _scores: &Scores) {}

    /// The loss's gradient with respect to the scores is known.
    fn d_scores(&mut self, _d_scores: &Scores) {}

    /// Whether [`Inspect::gradient_of`] is wanted. If so, nothing is summed over ranks before all sub-batches are done.
    fn looks_at_gradients(&self) -> bool {
        false
    }

    /// A sub-batch's gradient has been added to the flat buffer. The buffer holds this rank's gradients alone if they
    /// [are looked at](Inspect::looks_at_gradients).
    fn gradient_of(&mut self, _sub_batch: &SubBatch) {}
}

/// Inspects nothing.
pub struct Unseen;

impl Inspect for Unseen {}
