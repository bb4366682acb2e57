//! Dropout on a CPU: a hash of an element's place decides whether it is dropped (MurmurHash3's finaliser, whose 32-bit
//! steps a compiler turns into vector instructions). Drawing is one pass over the tensor. libtorch's generator takes
//! some twenty times as long.
//!
//! It serves float64, too, so that masks do not depend on the type.

use pulp::Arch;
use tch::{Kind, Tensor};

use super::{Number, Shared, elements_mut, in_elements_of};
use crate::ops::dropout::{Dropout, PLACE_STEP};
use crate::tensors::libtorch::parallel;

/// Elements that a thread takes at a time.
const BLOCK: usize = 1 << 14;

/// Zeroes elements of `x` and scales the others, in place.
pub fn apply(dropout: Dropout, x: &mut Tensor) {
    match x.kind() {
        Kind::Double => apply_to(dropout, elements_mut::<f64>(x)),
        _ => in_elements_of!(x, E => apply_to(dropout, elements_mut::<E>(x))),
    }
}

/// In one pass over memory, on all threads.
fn apply_to<T: Number>(dropout: Dropout, x: &mut [T]) {
    let len = x.len();
    let x = Shared::new(x);
    parallel(len.div_ceil(BLOCK), 1, |blocks| {
        let (from, to) = (blocks.start * BLOCK, (blocks.end * BLOCK).min(len));
        // SAFETY: blocks do not overlap, and one call works on each.
        let x = unsafe { x.slice(from, to - from) };
        Arch::new().dispatch(
            #[inline(always)]
            || {
                dropout.each(
                    from,
                    x,
                    #[inline(always)]
                    |x, factor, _| *x = x.times(factor),
                )
            },
        )
    });
}

/// For kernels, which work on one row of float32 numbers at a time; `first` is the place of its first element.
impl Dropout {
    /// Calls `work` with every element of a row, the factor that dropout multiplies it by, and its index in the row.
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

    /// As `apply`, for one row.
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

    /// The derivative of softmax and dropout for one row. `p` are the probabilities before dropout, and become those
    /// after it. `d` are the gradients of those after it, and become the gradients of softmax's input. `sum` is the
    /// product of probabilities and gradients after dropout, summed over the row.
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

/// Draws the factors that elements are multiplied by.
#[derive(Clone, Copy)]
struct Draw {
    seed: [u32; 2],
    threshold: u32,
    scale: f32,
}

impl Draw {
    #[inline(always)]
    fn new(dropout: Dropout) -> Self {
        let (seed, scale) = (dropout.seed, dropout.scale());
        Self { seed: [seed as u32, (seed >> 32) as u32], threshold: dropout.steps() as u32, scale }
    }

    #[inline(always)]
    fn factor(self, place: u32) -> f32 {
        if hash(self.seed, place) >= self.threshold { self.scale } else { 0.0 }
    }
}

/// The hash of an element's place.
#[inline(always)]
fn hash([low, high]: [u32; 2], place: u32) -> u32 {
    let hash = place.wrapping_mul(PLACE_STEP).wrapping_add(low);
    let hash = (hash ^ (hash >> 16)).wrapping_mul(0x85eb_ca6b) ^ high;
    let hash = (hash ^ (hash >> 13)).wrapping_mul(0xc2b2_ae35);
    hash ^ (hash >> 16)
}
