//! libtorch's random number generator, which all threads share.

use std::sync::{Mutex, PoisonError};

/// The result of `draw` with the generator seeded by `seed`. Other threads that draw through this function wait
/// meanwhile, so they do not change it.
pub fn seeded<T>(seed: u64, draw: impl FnOnce() -> T) -> T {
    static GENERATOR: Mutex<()> = Mutex::new(());
    // A thread that panicked leaves nothing to mend: every draw seeds the generator anew.
    let _own = GENERATOR.lock().unwrap_or_else(PoisonError::into_inner);
    tch::manual_seed(seed.cast_signed());
    draw()
}
