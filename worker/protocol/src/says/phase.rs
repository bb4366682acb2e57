//! What a rank's time goes to.

/// What a rank is doing. Its name is a key of `phase_secs`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// Waiting for the batch, drawing masks, building the sub-batches.
    Input,
    /// The encoder's first pass; in pre-training its only one.
    Forward,
    /// Forward passes recomputed for the backward pass.
    Recompute,
    /// The encoder's backward pass.
    Backward,
    /// The heads, forward and backward; in pre-training the one that predicts words.
    Heads,
    /// Pre-training's decoder, forward and backward.
    Decoder,
    /// Score matrices and their gradients, their communication included.
    Scoring,
    /// The loss, its gradient, and known answers.
    Loss,
    /// Waiting for the gradient's sum over ranks.
    Reduce,
    /// Clipping, updating, and zeroing the gradient.
    Optimizer,
    /// Everything else.
    Other,
}

impl Phase {
    /// All of them, in the order of their declaration.
    pub const ALL: [Self; 11] = [
        Self::Input,
        Self::Forward,
        Self::Recompute,
        Self::Backward,
        Self::Heads,
        Self::Decoder,
        Self::Scoring,
        Self::Loss,
        Self::Reduce,
        Self::Optimizer,
        Self::Other,
    ];

    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Input => "input",
            Self::Forward => "forward",
            Self::Recompute => "recompute",
            Self::Backward => "backward",
            Self::Heads => "heads",
            Self::Decoder => "decoder",
            Self::Scoring => "scoring",
            Self::Loss => "loss",
            Self::Reduce => "reduce",
            Self::Optimizer => "optimizer",
            Self::Other => "other",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn phases_stand_in_the_order_of_their_declaration() {
        for (number, phase) in Phase::ALL.into_iter().enumerate() {
            assert_eq!(phase as usize, number, "{}", phase.name());
        }
    }
}
