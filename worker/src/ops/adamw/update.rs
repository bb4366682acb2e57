//! The constants of one update of weights and moments.

/// One update's constants.
#[derive(Debug, Clone, Copy)]
pub struct Update {
    /// What the gradient is multiplied by: 1, or less where its norm is clipped.
    pub clip: f64,
    /// The factor that weight decay multiplies weights by.
    pub kept: f64,
    /// β₁ and β₂, the decay rates of the running means of gradients and of their squares.
    pub betas: [f64; 2],
    /// The learning rate over the first moment's bias correction.
    pub rate: f64,
    /// The root of the second moment's bias correction.
    pub root: f64,
    /// Keeps the quotient finite.
    pub epsilon: f64,
}
