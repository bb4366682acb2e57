//! Calls about a GPU itself, through `device.cpp` beside this file: the cache of its allocator, and moments in its
//! work.

use std::ffi::{c_char, c_void};
use std::ptr;

use super::checked;

unsafe extern "C" {
    fn tercet_empty_cache(error: *mut c_char, error_len: usize) -> bool;
    fn tercet_moment_new(out: *mut *mut c_void, error: *mut c_char, error_len: usize) -> bool;
    fn tercet_moment_free(moment: *mut c_void);
    fn tercet_moment_mark(moment: *mut c_void, index: i64, error: *mut c_char, error_len: usize) -> bool;
    fn tercet_moment_is_over(moment: *const c_void, out: *mut bool, error: *mut c_char, error_len: usize) -> bool;
    fn tercet_moment_millis(
        from: *const c_void,
        to: *const c_void,
        out: *mut f64,
        error: *mut c_char,
        error_len: usize,
    ) -> bool;
}

/// Gives the memory that libtorch's allocator keeps for later tensors of GPUs back to the driver.
pub fn empty_cache() {
    // SAFETY: the call takes nothing of ours but room for a message.
    checked(|error, len| unsafe { tercet_empty_cache(error, len) });
}

/// A moment in the work of a GPU: the end of what its stream was asked to do before [`Moment::mark`].
pub struct Moment(*mut c_void);

impl Moment {
    /// A moment that is not marked yet.
    pub fn new() -> Self {
        let mut out = ptr::null_mut();
        // SAFETY: the call writes one handle and gives it away.
        checked(|error, len| unsafe { tercet_moment_new(&mut out, error, len) });
        Self(out)
    }

    /// Marks it in the current stream of GPU `index`; what was marked before is forgotten.
    pub fn mark(&mut self, index: usize) {
        // SAFETY: the handle is live, and nothing else uses it meanwhile.
        checked(|error, len| unsafe { tercet_moment_mark(self.0, index as i64, error, len) });
    }

    /// Whether the GPU has come to it; does not wait.
    pub fn is_over(&self) -> bool {
        let mut out = false;
        // SAFETY: the handle is live, and the call writes one truth value.
        checked(|error, len| unsafe { tercet_moment_is_over(self.0, &mut out, error, len) });
        out
    }

    /// The seconds that the GPU took from this moment to a `later` one. It must have come to both.
    pub fn secs_until(&self, later: &Self) -> f64 {
        let mut millis = 0.0;
        // SAFETY: both handles are live, and the call writes one number.
        checked(|error, len| unsafe { tercet_moment_millis(self.0, later.0, &mut millis, error, len) });
        millis / 1e3
    }
}

impl Default for Moment {
    fn default() -> Self {
        Self::new()
    }
}

impl Drop for Moment {
    fn drop(&mut self) {
        // SAFETY: this value owns the handle and does not use it again.
        unsafe { tercet_moment_free(self.0) }
    }
}
