//! One rank or several, whatever the sub-batches and kept graphs: the same loss and the same gradients.
//!
//! The tolerances leave room for another order of summation in the given precision and for nothing else: temperature 0.02
//! makes scores up to 50, whose float32 rounding is some 1e-6 of a gradient.

#![allow(clippy::unwrap_used)]

use tercet_tests::exactness::{self, Backend};

#[test]
fn step_is_the_same_on_any_ranks() {
    exactness::step_is_the_same_on_any_ranks(&Backend::default());
}

#[test]
fn mpirun_by_hand_does_the_same() {
    exactness::mpirun_by_hand_does_the_same(&Backend::default());
}

#[test]
fn gradients_are_the_same_on_any_ranks() {
    exactness::gradients_are_the_same_on_any_ranks(&Backend::default());
}
