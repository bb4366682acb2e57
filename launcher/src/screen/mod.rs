//! What is shown: lines and a bar while ranks run ([`terminal`], [`progress`]), what of `mpirun`'s words is worth
//! showing ([`noise`]), and pictures ([`bars`]).

pub mod bars;
pub mod noise;
pub mod progress;
mod terminal;

pub use terminal::{Screen, check_output};
