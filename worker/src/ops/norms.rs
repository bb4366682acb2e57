//! 2-norms of large tensors, of a gradient and its parts.
//!
//! libtorch adds up the squares of a CPU's 32-bit numbers in 32 bits, one after another: it is off by 3e-4 for ten
//! million of them, and otherwise so for parts of another length. On a GPU it adds them up as a tree.

use tch::{Kind, Tensor};

use super::{Engine, cpu};
use crate::tensors::libtorch;

/// The 2-norms of `tensors`, all on one device, of one type and contiguous. The host waits for the device once.
pub fn norms(tensors: &[Tensor]) -> Vec<f64> {
    match tensors.first().map(|first| (Engine::of(first), first.kind())) {
        Some((Engine::Cpu, Kind::Float)) => tensors.iter().map(cpu::norm::norm).collect(),
        _ => libtorch::norms(tensors),
    }
}

#[cfg(test)]
mod tests {
    use tch::Device;

    use super::*;

    #[test]
    fn ten_million_numbers_have_the_norm_of_their_parts() {
        let all = Tensor::linspace(-3, 2, 10_000_019, (Kind::Float, Device::Cpu)).sin();
        let exact = all.to_kind(Kind::Double).norm().double_value(&[]);
        let whole = norms(&[all.shallow_clone()])[0];
        assert!((whole / exact - 1.0).abs() < 1e-9, "{whole} {exact}");
        let parts: Vec<Tensor> = [(0, 1), (1, 7_000_000), (7_000_001, 0), (7_000_001, 17), (7_000_018, 3_000_001)]
            .map(|(start, len)| all.narrow(0, start, len))
            .into();
        let of_parts = norms(&parts).iter().map(|norm| norm * norm).sum::<f64>().sqrt();
        assert!((of_parts / whole - 1.0).abs() < 1e-14, "{of_parts} {whole}");
    }

    #[test]
    fn what_is_not_finite_stays_so() {
        for bad in [f64::NAN, f64::INFINITY] {
            let numbers = Tensor::ones([40_000], (Kind::Float, Device::Cpu));
            let _ = numbers.narrow(0, 39_999, 1).fill_(bad);
            assert!(!norms(&[numbers])[0].is_finite());
        }
    }
}
