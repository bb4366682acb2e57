//! Gives one rank other weights for a test: nothing else in a run makes ranks differ when it is wanted.
//!
//! It is for tests only: with `TERCET_TEST_OTHER_WEIGHTS=STEP:RANK` the lowest bit of that rank's first weight changes
//! after `STEP` steps. Without the variable nothing happens.

use tch::{Kind, Tensor};

use super::error::SetupError;

/// It is set for all ranks, because `tercet` passes it on to other machines as well.
const VARIABLE: &str = "TERCET_TEST_OTHER_WEIGHTS";

/// The step and the rank, if there are any.
#[derive(Debug, Default)]
pub(super) struct OtherWeights(Option<(u64, usize)>);

impl OtherWeights {
    /// Reads the environment.
    ///
    /// # Errors
    /// The variable is set and has the wrong form.
    pub fn of_environment() -> Result<Self, SetupError> {
        std::env::var(VARIABLE).map_or(Ok(Self::default()), |value| Self::parse(&value))
    }

    fn parse(value: &str) -> Result<Self, SetupError> {
        let parts = value.split_once(':').and_then(|(step, rank)| Some((step.parse().ok()?, rank.parse().ok()?)));
        let error = || SetupError::TestVariable(format!("{VARIABLE}={value}: expected STEP:RANK"));
        parts.map(|parts| Self(Some(parts))).ok_or_else(error)
    }

    /// Changes `weights`, `[N]`, if it is `rank`'s turn after `step` steps.
    pub fn after(&self, step: u64, rank: usize, weights: &Tensor) {
        if self.0 == Some((step, rank)) {
            let mut bits = weights.view_dtype(Kind::Int).narrow(0, 0, 1);
            tch::no_grad(|| drop(bits.bitwise_xor_(1)));
        }
    }
}

#[cfg(test)]
mod tests {
    use tch::Device;

    use super::*;

    #[test]
    fn one_bit_changes_on_one_rank_after_one_step() {
        let other = OtherWeights::parse("3:1").unwrap();
        let weights = Tensor::ones([4], (Kind::Float, Device::Cpu));
        for (step, rank) in [(2, 1), (3, 0)] {
            other.after(step, rank, &weights);
        }
        assert_eq!(weights, weights.ones_like());
        other.after(3, 1, &weights);
        assert_eq!(Vec::<f32>::try_from(&weights).unwrap(), [1.0f32.next_up(), 1.0, 1.0, 1.0]);
        assert!(OtherWeights::parse("3").unwrap_err().to_string().contains("expected STEP:RANK"));
    }
}
