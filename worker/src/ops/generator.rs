//! libtorch's generator of random numbers, which is one for all threads.

use std::sync::{Mutex, PoisonError};

/// What `draw` draws from `seed` on, whatever other threads draw meanwhile through here.
pub fn seeded<T>(seed: u64, draw: impl FnOnce() -> T) -> T {
    static GENERATOR: Mutex<()> = Mutex::new(());
    // What a thread left that panicked is seeded anew.
    let _own = GENERATOR.lock().unwrap_or_else(PoisonError::into_inner);
    tch::manual_seed(seed.cast_signed());
    draw()
}
