//! The allocator of the whole process, libtorch included: jemalloc, and counts of the memory that it has handed out.
//!
//! jemalloc keeps freed memory for the next request and backs it with huge pages. glibc returns large blocks to the
//! system at once, so every large tensor's memory would be mapped and zeroed anew, page by page.

use std::ffi::{CStr, c_char};
use std::ptr::null_mut;

use tikv_jemallocator::Jemalloc;

/// Replaces `malloc` and related functions in the whole process, because the crate is built without a prefix for them.
#[global_allocator]
static ALLOCATOR: Jemalloc = Jemalloc;

/// Freed memory is never returned to the system, because the next step needs it again. A process stays as large as its
/// largest step.
const SETTINGS: &[u8] = b"thp:always,oversize_threshold:0,dirty_decay_ms:-1,muzzy_decay_ms:-1\0";

/// jemalloc reads its settings from this variable before `main`.
// SAFETY: jemalloc declares this name for this purpose and leaves its definition to the program.
#[unsafe(no_mangle)]
#[allow(non_upper_case_globals, missing_docs)]
// SAFETY: jemalloc reads the pointer as a text that ends with NUL and lives for ever, which it is.
pub static malloc_conf: Option<&'static c_char> = Some(unsafe { &*SETTINGS.as_ptr().cast::<c_char>() });

/// Starts the count of [`peak_growth_bytes`].
pub fn begin_peak() {
    control::<u64>(c"thread.peak.reset", false);
}

/// The largest growth of this thread's requests, less what it freed, since [`begin_peak`], in bytes. libtorch requests
/// a step's tensors on the thread that asks for them.
pub fn peak_growth_bytes() -> u64 {
    control(c"thread.peak.read", true).unwrap_or(0)
}

/// The number of bytes that this thread has requested and not freed; negative if it frees what others requested.
pub fn held_bytes() -> i64 {
    let count = |name| control::<u64>(name, true).unwrap_or(0) as i64;
    count(c"thread.allocated") - count(c"thread.deallocated")
}

/// Returns free memory to the system, so that the resident memory is the used memory.
pub fn give_back() {
    // 4096 stands for all arenas.
    control::<u64>(c"arena.4096.purge", false);
}

/// Reads the value of one of jemalloc's names, or, without `reads`, triggers its action.
fn control<T: Copy + Default>(name: &CStr, reads: bool) -> Option<T> {
    let (mut value, mut len) = (T::default(), size_of::<T>());
    let (to, to_len) = if reads { ((&raw mut value).cast(), &raw mut len) } else { (null_mut(), null_mut()) };
    // SAFETY: the name ends with NUL. What is read fits `value`, whose size jemalloc compares with its own.
    let failed = unsafe { tikv_jemalloc_sys::mallctl(name.as_ptr(), to, to_len, null_mut(), 0) };
    (failed == 0).then_some(value)
}

#[cfg(test)]
mod tests {
    use tch::{Device, Kind, Tensor};

    use super::*;

    #[test]
    fn libtorchs_memory_is_counted() {
        let options = (Kind::Float, Device::Cpu);
        let before = held_bytes();
        begin_peak();
        let kept = Tensor::zeros([1 << 20], options);
        drop(Tensor::zeros([2 << 20], options));
        assert!((4 << 20..5 << 20).contains(&(held_bytes() - before)), "{}", held_bytes() - before);
        assert!((12 << 20..13 << 20).contains(&peak_growth_bytes()), "{}", peak_growth_bytes());
        drop(kept);
    }
}
