//! The process's memory, libtorch's included: jemalloc, and what it has handed out.
//!
//! jemalloc keeps freed memory for the next request and backs it with huge pages. glibc returns large blocks to the system
//! at once, so that every large tensor's memory would be mapped and zeroed anew, page by page.

use std::ffi::{CStr, c_char};
use std::ptr::null_mut;

use tikv_jemallocator::Jemalloc;

/// Replaces `malloc` and its kin in the whole process, as the crate is built without a prefix for them.
#[global_allocator]
static ALLOCATOR: Jemalloc = Jemalloc;

/// Freed memory is never given back: the next step wants it again. A process stays as large as its largest step.
const SETTINGS: &[u8] = b"thp:always,oversize_threshold:0,dirty_decay_ms:-1,muzzy_decay_ms:-1\0";

/// Where jemalloc looks for its settings before `main`.
// SAFETY: the name is jemalloc's own, which declares it for this purpose and leaves its definition to the program.
#[unsafe(no_mangle)]
#[allow(non_upper_case_globals, missing_docs)]
// SAFETY: a text that ends with a zero and lives for ever is what the pointer is read as.
pub static malloc_conf: Option<&'static c_char> = Some(unsafe { &*SETTINGS.as_ptr().cast::<c_char>() });

/// From here on [`peak_growth_bytes`] counts.
pub fn begin_peak() {
    control::<u64>(c"thread.peak.reset", false);
}

/// The most that this thread's requests, less what it freed, have grown by since [`begin_peak`], in bytes. libtorch
/// requests a step's tensors on the thread that asks for them.
pub fn peak_growth_bytes() -> u64 {
    control(c"thread.peak.read", true).unwrap_or(0)
}

/// What this thread has requested and not freed, in bytes; negative where it frees what others requested.
pub fn held_bytes() -> i64 {
    let count = |name| control::<u64>(name, true).unwrap_or(0) as i64;
    count(c"thread.allocated") - count(c"thread.deallocated")
}

/// Gives what is free back to the system, so that what is resident is what is used.
pub fn give_back() {
    // 4096 stands for all arenas.
    control::<u64>(c"arena.4096.purge", false);
}

/// Reads the value of one of jemalloc's names, or, unless `reads`, triggers what it stands for.
fn control<T: Copy + Default>(name: &CStr, reads: bool) -> Option<T> {
    let (mut value, mut len) = (T::default(), size_of::<T>());
    let (to, to_len) = if reads { ((&raw mut value).cast(), &raw mut len) } else { (null_mut(), null_mut()) };
    // SAFETY: the name ends with a zero; what is read fits `value`, whose size jemalloc compares with its own.
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
