//! Dropout whose mask is a function of where it is, not of a generator's state: the same in every pass over a sub-batch,
//! whatever was kept or computed before, and never stored.
//!
//! On the CPU an element's fate is a hash of its place (MurmurHash3's finaliser, whose 32-bit steps a compiler turns into
//! vector instructions) and drawing is one pass over the tensor; libtorch's generator takes some twenty times as long.

use pulp::Arch;
use tch::{Device, Kind, Tensor};

use crate::ops::cpu::{Number, Shared, elements_mut, in_elements_of};
use crate::tensors::libtorch::parallel;

/// Numbers that a thread takes at a time.
const BLOCK: usize = 1 << 14;

/// A probability is a multiple of 1/2³².
const STEPS: f64 = 4_294_967_296.0;

/// Where an encoder drops, and with which probability.
#[derive(Debug, Clone, Copy)]
pub struct Dropout {
    seed: u64,
    probability: f64,
}

impl Dropout {
    /// Drops with `probability`; masks depend on `seed` alone.
    pub fn new(seed: u64, probability: f64) -> Self {
        // Of a seed of 0 too a hash that is not 0.
        Self { seed: mix(seed.wrapping_add(0x9e37_79b9_7f4a_7c15)), probability }
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

    /// Zeroes elements of `x` in place and scales the others; the gradient's elements likewise. `x` is contiguous.
    pub fn apply(self, x: &mut Tensor) {
        self.apply_from(0, x);
    }

    /// As [`Dropout::apply`], where the place of the first element is `first`.
    pub fn apply_from(self, first: usize, x: &mut Tensor) {
        if !self.is_on() {
            return;
        }
        if x.device() != Device::Cpu {
            tch::manual_seed(self.seed());
            let draw = Draw::new(self);
            let kept = x.empty_like().bernoulli_float_(1.0 - f64::from(draw.threshold) / STEPS);
            let _ = x.g_mul_(&(kept * f64::from(draw.scale)));
            return;
        }
        match x.kind() {
            Kind::Double => self.apply_to(first, elements_mut::<f64>(x)),
            _ => in_elements_of!(x, E => self.apply_to(first, elements_mut::<E>(x))),
        }
    }

    /// In one pass over memory, on all threads.
    fn apply_to<T: Number>(self, first: usize, x: &mut [T]) {
        let len = x.len();
        let x = Shared::new(x);
        parallel(len.div_ceil(BLOCK), 1, |blocks| {
            let (from, to) = (blocks.start * BLOCK, (blocks.end * BLOCK).min(len));
            // SAFETY: a block's numbers are its own.
            let x = unsafe { x.slice(from, to - from) };
            Arch::new().dispatch(
                #[inline(always)]
                || {
                    self.each(
                        first + from,
                        x,
                        #[inline(always)]
                        |x, factor, _| *x = x.times(factor),
                    )
                },
            )
        });
    }
}

/// For kernels, which have one row of float32 numbers in their hands at a time; `first` is the place of its first element.
impl Dropout {
    /// Calls `work` with every element of a row, what dropout multiplies it with, and its number in the row.
    #[inline(always)]
    pub fn each<T>(self, first: usize, row: &mut [T], mut work: impl FnMut(&mut T, f32, usize)) {
        // Loops and not `for_each`: a call that is not inlined runs without the vector instructions of its caller.
        if self.is_on() {
            let draw = Draw::new(self);
            for (i, x) in row.iter_mut().enumerate() {
                work(x, draw.factor((first + i) as u32), i);
            }
        } else {
            for (i, x) in row.iter_mut().enumerate() {
                work(x, 1.0, i);
            }
        }
    }

    /// As [`Dropout::apply`], for one row.
    #[inline(always)]
    pub fn apply_row(self, row: &mut [f32], first: usize) {
        if self.is_on() {
            self.each(
                first,
                row,
                #[inline(always)]
                |x, factor, _| *x *= factor,
            );
        }
    }

    /// From a row's probabilities `p` and the gradients `d` of what became of them after dropout, and their product with each
    /// other summed over the row: makes `p` what became of them, and `d` the gradients before softmax.
    #[inline(always)]
    pub fn differentiate_row(self, p: &mut [f32], d: &mut [f32], sum: f32, first: usize) {
        if self.is_on() {
            let draw = Draw::new(self);
            for (i, (p, d)) in p.iter_mut().zip(d).enumerate() {
                let factor = draw.factor(first as u32 + i as u32);
                *d = *p * (*d * factor - sum);
                *p *= factor;
            }
        } else {
            for (p, d) in p.iter().zip(d) {
                *d = *p * (*d - sum);
            }
        }
    }
}

/// What an element is multiplied with.
#[derive(Clone, Copy)]
struct Draw {
    seed: [u32; 2],
    threshold: u32,
    scale: f32,
}

impl Draw {
    #[inline(always)]
    fn new(dropout: Dropout) -> Self {
        let threshold = (dropout.probability * STEPS).round().min(STEPS - 1.0);
        let scale = (STEPS / (STEPS - threshold)) as f32;
        Self { seed: [dropout.seed as u32, (dropout.seed >> 32) as u32], threshold: threshold as u32, scale }
    }

    #[inline(always)]
    fn factor(self, place: u32) -> f32 {
        if hash(self.seed, place) >= self.threshold { self.scale } else { 0.0 }
    }
}

/// Of an element's place.
#[inline(always)]
fn hash([low, high]: [u32; 2], place: u32) -> u32 {
    let hash = place.wrapping_mul(0x9e37_79b1).wrapping_add(low);
    let hash = (hash ^ (hash >> 16)).wrapping_mul(0x85eb_ca6b) ^ high;
    let hash = (hash ^ (hash >> 13)).wrapping_mul(0xc2b2_ae35);
    hash ^ (hash >> 16)
}

/// SplitMix64's finaliser (Steele, Lea and Flood, 2014).
fn mix(mut z: u64) -> u64 {
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
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
