//! What ranks agree on before they compute: the encoder's arithmetic, who does a CPU's products, and that all of them
//! have the same weights.

pub mod matmul;
pub mod precision;
pub mod same_weights;

use tch::Kind;
use tercet_configs::Precision;

/// The libtorch type of weights, gradients, optimizer state, scores and loss.
pub fn kind_of(precision: Precision) -> Kind {
    match precision {
        Precision::Auto | Precision::Fp32 | Precision::Bf16 => Kind::Float,
        Precision::Fp64 => Kind::Double,
    }
}

/// The libtorch type that the encoder computes in.
///
/// # Panics
/// Nobody has decided yet ([`precision`]).
pub fn compute_kind_of(precision: Precision) -> Kind {
    match precision {
        Precision::Auto => unreachable!("decided when the ranks knew their devices"),
        Precision::Bf16 => Kind::BFloat16,
        Precision::Fp32 | Precision::Fp64 => kind_of(precision),
    }
}
