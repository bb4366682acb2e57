//! Calls about a GPU itself, through `device.cpp` beside this file: the cache of its allocator, moments in its work,
//! and streams beside the one that its work goes to.

use std::ffi::{c_char, c_void};
use std::ptr;

use tch::Tensor;

use super::{Handle, checked, handle};

unsafe extern "C" {
    fn tercet_empty_cache(error: *mut c_char, error_len: usize) -> bool;
    fn tercet_moment_new(out: *mut *mut c_void, error: *mut c_char, error_len: usize) -> bool;
    fn tercet_moment_free(moment: *mut c_void);
    fn tercet_moment_mark(moment: *mut c_void, index: i64, error: *mut c_char, error_len: usize) -> bool;
    fn tercet_moment_mark_in(moment: *mut c_void, stream: *const c_void, error: *mut c_char, error_len: usize) -> bool;
    fn tercet_moment_wait(moment: *const c_void, error: *mut c_char, error_len: usize) -> bool;
    fn tercet_stream_new(index: i64, out: *mut *mut c_void, error: *mut c_char, error_len: usize) -> bool;
    fn tercet_stream_free(stream: *mut c_void);
    fn tercet_stream_follow(stream: *const c_void, error: *mut c_char, error_len: usize) -> bool;
    fn tercet_stream_precede(stream: *const c_void, error: *mut c_char, error_len: usize) -> bool;
    fn tercet_stream_copy(
        stream: *const c_void,
        into: *mut Handle,
        from: *const Handle,
        error: *mut c_char,
        error_len: usize,
    ) -> bool;
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

    /// Marks it in a stream beside the current one.
    pub fn mark_in(&mut self, stream: &SideStream) {
        // SAFETY: both handles are live, and nothing else uses the moment meanwhile.
        checked(|error, len| unsafe { tercet_moment_mark_in(self.0, stream.0, error, len) });
    }

    /// Returns when the GPU has come to it.
    pub fn wait(&self) {
        // SAFETY: the handle is live.
        checked(|error, len| unsafe { tercet_moment_wait(self.0, error, len) });
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

/// A stream of a GPU beside the one that its work goes to. Any thread may ask it for something.
pub struct SideStream(*mut c_void);

// SAFETY: the handle names a stream, and CUDA takes work for a stream from any thread.
unsafe impl Send for SideStream {}

impl SideStream {
    /// One of GPU `index`.
    pub fn of(index: usize) -> Self {
        let mut out = ptr::null_mut();
        // SAFETY: the call writes one handle and gives it away.
        checked(|error, len| unsafe { tercet_stream_new(index as i64, &mut out, error, len) });
        Self(out)
    }

    /// What it is asked for from now on comes after what the GPU was asked for so far by the calling thread.
    pub fn follow(&self) {
        // SAFETY: the handle is live.
        checked(|error, len| unsafe { tercet_stream_follow(self.0, error, len) });
    }

    /// What the GPU is asked for from now on by the calling thread comes after what this stream was asked for so far;
    /// the host does not wait.
    pub fn precede(&self) {
        // SAFETY: the handle is live.
        checked(|error, len| unsafe { tercet_stream_precede(self.0, error, len) });
    }

    /// Copies `from`, on the GPU, into `into`, on the host, and does not wait. Nobody changes the one or looks at the
    /// other before the copy is over.
    pub fn copy(&self, into: &mut Tensor, from: &Tensor) {
        // SAFETY: all handles are live. What becomes of the numbers meanwhile is asked of the caller; their memory is
        // not given to others, the host's by libtorch, the GPU's because the caller keeps `from`.
        checked(|error, len| unsafe { tercet_stream_copy(self.0, into.as_mut_ptr().cast(), handle(from), error, len) });
    }
}

impl Drop for SideStream {
    fn drop(&mut self) {
        // SAFETY: this value owns the handle and does not use it again; the stream itself is libtorch's.
        unsafe { tercet_stream_free(self.0) }
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
