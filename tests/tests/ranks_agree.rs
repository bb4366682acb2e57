//! One rank or several, whatever the sub-batches and kept graphs: the same loss and the same gradients.
//!
//! The tolerances leave room for another order of summation in the given precision and for nothing else: temperature
//! 0.02 makes scores up to 50, whose float32 rounding is some 1e-6 of a gradient.

#![allow(clippy::unwrap_used)]

use tercet_tests::ranks_agree::{self, Backend};

#[test]
fn step_is_the_same_on_any_ranks() {
    ranks_agree::step_is_the_same_on_any_ranks(&Backend::default());
}

#[test]
fn mpirun_by_hand_does_the_same() {
    ranks_agree::mpirun_by_hand_does_the_same(&Backend::default());
}

#[test]
fn gradients_are_the_same_on_any_ranks() {
    ranks_agree::gradients_are_the_same_on_any_ranks(&Backend::default());
}

#[test]
fn passages_in_bfloat16_score_the_same_on_any_ranks() {
    ranks_agree::passages_in_bfloat16_score_the_same_on_any_ranks(&Backend::default());
}
