//! Loops of our own where libtorch's operations, each a pass over memory, take a large part of a step: on a processor,
//! in float32 and bfloat16. They run on libtorch's threads, compiled for the vector instructions that the processor has.
//!
//! Elsewhere (on a GPU, in float64) the same things are put together from libtorch's operations, and the tests hold the two
//! against each other. Every result is the same on any number of threads.

pub mod adamw;
pub mod attention;
pub mod dropout;
pub mod gelu;
pub mod norm;
mod product;

use std::ops::Range;

use tch::{Device, Kind, Tensor};

use crate::tensors::libtorch::parallel;

/// Rows that are worked on at a time: enough to be worth a thread's while, few enough to stay in its cache.
const BLOCK_ROWS: usize = 32;

/// Whether there is a kernel for tensors like `x`.
pub fn serve(x: &Tensor) -> bool {
    x.device() == Device::Cpu && matches!(x.kind(), Kind::Float | Kind::BFloat16)
}

/// Calls `work` with every block of 0..`num_rows`, and its number, on all threads.
fn for_each_block(num_rows: usize, work: impl Fn(usize, Range<usize>) + Sync) {
    parallel(num_rows.div_ceil(BLOCK_ROWS), 1, |blocks| {
        for block in blocks {
            work(block, block * BLOCK_ROWS..((block + 1) * BLOCK_ROWS).min(num_rows));
        }
    });
}

/// As [`for_each_block`], each with sums of its own, which are then added to `sums` in the order of the blocks.
fn column_sums<const N: usize>(
    num_rows: usize,
    sums: [&mut [f32]; N],
    work: impl Fn(Range<usize>, [&mut [f32]; N]) + Sync,
) {
    let width = sums[0].len();
    assert!(sums.iter().all(|sum| sum.len() == width));
    let mut of_blocks = vec![0.0; num_rows.div_ceil(BLOCK_ROWS) * N * width];
    let shared = Shared::new(&mut of_blocks);
    for_each_block(num_rows, |block, rows| {
        // SAFETY: a block has sums of its own, and each of them its own place.
        work(rows, std::array::from_fn(|n| unsafe { shared.slice((block * N + n) * width, width) }));
    });
    for (place, own) in of_blocks.chunks_exact(width.max(1)).enumerate() {
        sums[place % N].iter_mut().zip(own).for_each(|(sum, own)| *sum += own);
    }
}

/// e^x to about 1e-7 of it; 0 where that is below 1e-37. The polynomial is that of Cephes (Moshier, 1989).
#[inline(always)]
pub(crate) fn exp(x: f32) -> f32 {
    const SMALLEST: f32 = -86.0;
    const LARGEST: f32 = 88.0;
    const LN2_HIGH: f32 = 0.693_359_4;
    const LN2_LOW: f32 = -2.121_944_4e-4;
    // Added to a number, leaves its nearest integer in the lowest bits of the sum.
    const TO_INTEGER: f32 = 12_582_912.0;
    // Written so that what is not a number stays none.
    let within = if x < SMALLEST { SMALLEST } else { x };
    let within = if within > LARGEST { LARGEST } else { within };
    let shifted = within.mul_add(std::f32::consts::LOG2_E, TO_INTEGER);
    let twos = shifted - TO_INTEGER;
    let rest = twos.mul_add(-LN2_LOW, twos.mul_add(-LN2_HIGH, within));
    let mut series = 1.987_569_1e-4f32;
    for coefficient in [1.398_199_9e-3, 8.333_452e-3, 4.166_579_6e-2, 1.666_666_5e-1, 0.5] {
        series = series.mul_add(rest, coefficient);
    }
    let series = series.mul_add(rest * rest, rest + 1.0);
    let power = f32::from_bits((shifted.to_bits() << 23).wrapping_add(1.0f32.to_bits()));
    if x < SMALLEST { 0.0 } else { series * power }
}

/// Does `$work` with `$element` naming the type of a tensor's numbers, of one that the kernels [`serve`].
macro_rules! in_elements_of {
    ($tensor:expr, $element:ident => $work:expr) => {
        match $tensor.kind() {
            tch::Kind::BFloat16 => {
                type $element = $crate::ops::cpu::BFloat16;
                $work
            }
            _ => {
                type $element = f32;
                $work
            }
        }
    };
}
pub(crate) use in_elements_of;

/// A number as it lies in a tensor.
pub trait Number: Copy + Send + Sync {
    /// The number times `factor`.
    fn times(self, factor: f32) -> Self;
}

/// A number that kernels compute with in float32.
pub trait Element: Number {
    /// What is computed with.
    fn widen(self) -> f32;
    /// Rounds to the nearest, ties to even.
    fn narrow(number: f32) -> Self;
}

impl Number for f64 {
    #[inline(always)]
    fn times(self, factor: f32) -> Self {
        self * f64::from(factor)
    }
}

impl Number for f32 {
    #[inline(always)]
    fn times(self, factor: f32) -> Self {
        self * factor
    }
}

impl Number for BFloat16 {
    #[inline(always)]
    fn times(self, factor: f32) -> Self {
        Self::narrow(self.widen() * factor)
    }
}

impl Element for f32 {
    #[inline(always)]
    fn widen(self) -> f32 {
        self
    }

    #[inline(always)]
    fn narrow(number: f32) -> Self {
        number
    }
}

/// The bits of a bfloat16.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(transparent)]
pub struct BFloat16(u16);

impl Element for BFloat16 {
    #[inline(always)]
    fn widen(self) -> f32 {
        f32::from_bits(u32::from(self.0) << 16)
    }

    #[inline(always)]
    fn narrow(number: f32) -> Self {
        let bits = number.to_bits();
        let rounded = (bits.wrapping_add(0x7fff + ((bits >> 16) & 1)) >> 16) as u16;
        // Rounding must not carry a NaN on to an infinity or to zero.
        Self(if bits & 0x7fff_ffff > 0x7f80_0000 { (bits >> 16) as u16 | 0x40 } else { rounded })
    }
}

/// The numbers of a contiguous tensor on the CPU.
///
/// # Panics
/// If it is another tensor, or its elements have another size.
pub fn elements<T: Number>(x: &Tensor) -> &[T] {
    assert_holds::<T>(x);
    // SAFETY: a contiguous tensor's data pointer points to numel aligned elements, any bits of which make a number;
    // nobody writes to a tensor that is borrowed, and libtorch's threads are idle between its calls.
    unsafe { std::slice::from_raw_parts(x.data_ptr().cast(), x.numel()) }
}

/// The same, to write.
///
/// # Panics
/// As there.
pub fn elements_mut<T: Number>(x: &mut Tensor) -> &mut [T] {
    assert_holds::<T>(x);
    // SAFETY: as in `elements`; the exclusive borrow keeps this thread's other code from them.
    unsafe { std::slice::from_raw_parts_mut(x.data_ptr().cast(), x.numel()) }
}

fn assert_holds<T: Number>(x: &Tensor) {
    assert!(x.device() == Device::Cpu && x.is_contiguous(), "contiguous, on the CPU");
    assert_eq!(x.kind().elt_size_in_bytes(), size_of::<T>(), "of this size");
}

/// Numbers that several threads write to, each to places of its own.
#[derive(Clone, Copy)]
pub struct Shared<'a, T> {
    start: *mut T,
    len: usize,
    borrowed: std::marker::PhantomData<&'a mut [T]>,
}

// SAFETY: what is reached through it is plain numbers; who writes says that no other thread uses the place.
unsafe impl<T: Number> Sync for Shared<'_, T> {}
// SAFETY: likewise.
unsafe impl<T: Number> Send for Shared<'_, T> {}

impl<'a, T: Number> Shared<'a, T> {
    /// Shares `numbers` out.
    pub fn new(numbers: &'a mut [T]) -> Self {
        Self { start: numbers.as_mut_ptr(), len: numbers.len(), borrowed: std::marker::PhantomData }
    }

    /// `len` numbers from `first` on.
    ///
    /// # Safety
    /// No other thread uses them while the result lives, and no other such slice does.
    #[inline(always)]
    #[allow(clippy::mut_from_ref, reason = "each caller has other places")]
    pub unsafe fn slice(&self, first: usize, len: usize) -> &'a mut [T] {
        assert!(first + len <= self.len);
        // SAFETY: within the numbers; the caller says that nobody else uses these.
        unsafe { std::slice::from_raw_parts_mut(self.start.add(first), len) }
    }
}
