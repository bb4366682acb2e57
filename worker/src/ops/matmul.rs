//! Which library does which product of a linear map.

use serde::{Deserialize, Serialize};
use tercet_configs::MatmulLibrary;

/// The library of each kind of product of a linear map.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Matmul {
    /// Inputs by weights.
    pub forward: MatmulLibrary,
    /// Outputs' gradients by weights.
    pub input_gradient: MatmulLibrary,
    /// Outputs' gradients by inputs.
    pub weight_gradient: MatmulLibrary,
}

/// A choice that was made by timing, and the processor's name: it holds on others of the same name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Measured {
    /// The processor's name, as the system gives it; empty for any.
    pub processor: String,
    /// The faster libraries.
    #[serde(flatten)]
    pub matmul: Matmul,
}
