//! Dropout whose mask is a function of its place, not of a generator's state: the same in every pass over a sub-batch,
//! whatever was kept or computed before, and never stored.
//!
//! Masks are the same in every type, on a CPU and on a GPU that has kernels. On other GPUs libtorch's generator draws
//! them, seeded with the place.

mod mask;

use tch::{Device, Tensor};

pub use mask::Dropout;

use super::{cpu, cuda};
pub(in crate::ops) use mask::PLACE_STEP;
use mask::STEPS;

impl Dropout {
    /// Zeroes elements of `x` in place and scales the others; the gradient's elements likewise. `x` is contiguous.
    pub fn apply(self, x: &mut Tensor) {
        match x.device() {
            _ if !self.is_on() => {}
            Device::Cpu => cpu::dropout::apply(self, x),
            device if cuda::serves(device) => cuda::dropout::apply(&cuda::Gpu::of(x), self, x),
            _ => self.apply_by_libtorch(x),
        }
    }

    /// Whether masks on `device` are a hash of an element's place, as on a CPU.
    pub(super) fn is_by_place(device: Device) -> bool {
        device == Device::Cpu || cuda::serves(device)
    }

    fn apply_by_libtorch(self, x: &mut Tensor) {
        let kept = self.drawn_by_libtorch(|| x.empty_like().bernoulli_float_(1.0 - self.steps() / STEPS));
        let _ = x.g_mul_(&(kept * f64::from(self.scale())));
    }
}

#[cfg(test)]
mod tests {
    use tch::Kind;

    use super::*;

    fn ones(dropout: Dropout) -> Vec<f64> {
        let mut x = Tensor::ones([100, 1001], (Kind::Double, Device::Cpu));
        dropout.apply(&mut x);
        Vec::<f64>::try_from(x.flatten(0, 1)).unwrap()
    }

    #[test]
    fn as_many_are_dropped_as_asked_and_the_mean_stays() {
        let values = ones(Dropout::new(7, 0.1).at(3));
        let dropped = values.iter().filter(|&&x| x == 0.0).count() as f64 / values.len() as f64;
        let mean = values.iter().sum::<f64>() / values.len() as f64;
        // Four standard deviations of 100,100 draws.
        assert!((dropped - 0.1).abs() < 0.004 && (mean - 1.0).abs() < 0.005, "{dropped} dropped, mean {mean}");
    }

    #[test]
    fn masks_are_the_same_again_and_others_elsewhere() {
        let dropout = Dropout::new(7, 0.5);
        assert_eq!(ones(dropout.at(1)), ones(dropout.at(1)));
        let same = ones(dropout.at(1)).iter().zip(ones(dropout.at(2))).filter(|(a, b)| **a == *b).count();
        assert!((same as f64 / 100_100.0 - 0.5).abs() < 0.01, "{same} elements alike");
    }

    #[test]
    fn every_type_drops_the_same_and_rounds_as_libtorch() {
        let dropout = Dropout::new(9, 0.3).at(4);
        let x = Tensor::linspace(-3, 5, 10_001, (Kind::Double, Device::Cpu));
        let mut exact = x.copy();
        dropout.apply(&mut exact);
        for kind in [Kind::Float, Kind::BFloat16] {
            let mut found = x.to_kind(kind).copy();
            dropout.apply(&mut found);
            assert!(found.ne(0.0).logical_xor(&exact.ne(0.0)).sum(Kind::Int64).int64_value(&[]) <= 1, "{kind:?}");
            let kept = exact.ne(0.0);
            let scale = STEPS / (STEPS - (0.3 * STEPS).round());
            let expected = (x.to_kind(kind).to_kind(Kind::Float) * scale).to_kind(kind) * &kept;
            assert_eq!(found, expected, "{kind:?}");
        }
        let mut not_finite = Tensor::from_slice(&[f32::NAN, f32::INFINITY, -f32::NAN]).to_kind(Kind::BFloat16);
        Dropout::new(0, 1e-9).apply(&mut not_finite);
        assert_eq!(not_finite.isfinite().sum(Kind::Int64).int64_value(&[]), 0);
    }
}
