//! Dropout whose mask is a function of where it is, not of a generator's state: the same in every pass over a sub-batch,
//! whatever was kept or computed before, and never stored.
//!
//! On the CPU a mask costs a fraction of what libtorch's generator takes for it.

use tch::{Device, Tensor};

/// A probability is a multiple of 1/2¹⁶.
const STEPS: f64 = 65536.0;
/// The odd increment of Weyl sequences in SplitMix64 (Steele, Lea and Flood, 2014).
const INCREMENT: u64 = 0x9e37_79b9_7f4a_7c15;

/// Where an encoder drops, and with which probability.
#[derive(Debug, Clone, Copy)]
pub struct Dropout {
    seed: u64,
    probability: f64,
}

impl Dropout {
    /// Drops with `probability`; masks depend on `seed` alone.
    pub fn new(seed: u64, probability: f64) -> Self {
        Self { seed, probability }
    }

    /// Another place's: its masks have nothing to do with this one's.
    pub fn at(self, place: u64) -> Self {
        Self { seed: mix(self.seed.wrapping_add(mix(place.wrapping_add(1)))), ..self }
    }

    /// Whether anything is dropped at all.
    pub fn is_on(self) -> bool {
        self.probability > 0.0
    }

    /// The probability.
    pub fn probability(self) -> f64 {
        self.probability
    }

    /// What libtorch's own generator is seeded with where its kernels draw.
    pub fn seed(self) -> i64 {
        self.seed as i64
    }

    /// Zeroes elements of `x` in place and scales the others; the gradient's elements likewise.
    pub fn apply(self, x: &mut Tensor) {
        if !self.is_on() {
            return;
        }
        let threshold = (self.probability * STEPS).round();
        let scale = STEPS / (STEPS - threshold);
        if x.device() != Device::Cpu {
            tch::manual_seed(self.seed());
            let kept = x.empty_like().bernoulli_float_(1.0 / scale);
            let _ = x.g_mul_(&(kept * scale));
            return;
        }
        let mut random = vec![0u64; x.numel().div_ceil(4)];
        for (i, word) in random.iter_mut().enumerate() {
            *word = mix(self.seed.wrapping_add((i as u64).wrapping_mul(INCREMENT)));
        }
        // Four 16-bit numbers from every word.
        let kept: Vec<u8> = random
            .iter()
            .flat_map(|word| [0, 16, 32, 48].map(|shift| (word >> shift) as u16))
            .map(|number| u8::from(f64::from(number) >= threshold))
            .collect();
        let kept = Tensor::from_slice(&kept[..x.numel()]).to_kind(x.kind()).view(x.size().as_slice());
        let _ = x.g_mul_(&(kept * scale));
    }
}

/// SplitMix64's finaliser.
fn mix(mut z: u64) -> u64 {
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
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
}
