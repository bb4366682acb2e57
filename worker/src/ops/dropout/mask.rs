//! The masks of dropout: their place, which seeds them, and their probability.

use crate::ops::generator::seeded;

/// Probabilities are multiples of one over this, 2³².
pub(in crate::ops) const STEPS: f64 = 4_294_967_296.0;

/// What the hash of an element's place grows by from one element to the next, before it is mixed.
pub(in crate::ops) const PLACE_STEP: u32 = 0x9e37_79b1;

/// A place in the encoder where elements are dropped, and the probability of it.
#[derive(Debug, Clone, Copy)]
pub struct Dropout {
    pub(in crate::ops) seed: u64,
    probability: f64,
}

impl Dropout {
    /// Drops with `probability`; masks depend on `seed` alone.
    pub fn new(seed: u64, probability: f64) -> Self {
        // The constant keeps the hash of a seed of 0 from being 0.
        Self { seed: mix(seed.wrapping_add(0x9e37_79b9_7f4a_7c15)), probability }
    }

    /// The dropout of another place, whose masks are independent of this one's.
    pub fn at(self, place: u64) -> Self {
        Self { seed: mix(self.seed.wrapping_add(mix(place.wrapping_add(1)))), ..self }
    }

    /// The dropout whose first element is this one's element number `first`, where masks are a hash of the place.
    pub(in crate::ops) fn beginning_at(self, first: i64) -> Self {
        let low = (self.seed as u32).wrapping_add((first as u32).wrapping_mul(PLACE_STEP));
        Self { seed: (self.seed >> 32 << 32) | u64::from(low), ..self }
    }

    /// Whether anything is dropped at all.
    pub fn is_on(self) -> bool {
        self.probability > 0.0
    }

    /// The result of `draw`, whose libtorch kernels draw their masks for this place.
    pub(in crate::ops) fn drawn_by_libtorch<T>(self, draw: impl FnOnce() -> T) -> T {
        seeded(self.seed, draw)
    }

    /// The probability that was asked for.
    pub(in crate::ops) fn probability(self) -> f64 {
        self.probability
    }

    /// The probability in steps.
    #[inline(always)]
    pub(in crate::ops) fn steps(self) -> f64 {
        (self.probability * STEPS).round().min(STEPS - 1.0)
    }

    /// The factor of the elements that are kept.
    #[inline(always)]
    pub(in crate::ops) fn scale(self) -> f32 {
        (STEPS / (STEPS - self.steps())) as f32
    }
}

/// SplitMix64's finaliser (Steele, Lea and Flood, 2014).
fn mix(mut z: u64) -> u64 {
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}
