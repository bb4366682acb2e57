//! The worker's tests, a module each, in one program: it is linked once.

#![allow(clippy::unwrap_used)]

mod checkpoint;
mod commands;
mod exactness;
mod false_negatives;
mod golden;
mod loss_weights;
mod pretraining;
mod scoring_property;
mod stand_in;

use std::sync::{Mutex, MutexGuard, PoisonError};

/// libtorch has one generator of random numbers for all threads: tests that draw take turns.
fn generator() -> MutexGuard<'static, ()> {
    static GENERATOR: Mutex<()> = Mutex::new(());
    GENERATOR.lock().unwrap_or_else(PoisonError::into_inner)
}
