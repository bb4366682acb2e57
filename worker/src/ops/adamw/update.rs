//! What one update of weights and moments goes by.

/// The constants of one update.
#[derive(Debug, Clone, Copy)]
pub struct Update {
    /// What weight decay leaves of a weight.
    pub kept: f64,
    /// β₁ and β₂: what the running means of gradients and of their squares keep.
    pub betas: [f64; 2],
    /// The learning rate over the first moment's bias correction.
    pub rate: f64,
    /// The root of the second moment's bias correction.
    pub root: f64,
    /// Keeps the quotient finite.
    pub epsilon: f64,
}
