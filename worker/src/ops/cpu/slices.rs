//! Tensors as slices of numbers, and slices that several threads write to.

use tch::{Device, Tensor};

use super::Number;

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

/// As [`elements`], for writing.
///
/// # Panics
/// As [`elements`].
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

// SAFETY: only plain numbers are reached through it, and callers of `slice` promise that no other thread uses theirs.
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
