//! What is shown: lines and a bar while ranks run ([`terminal`], [`progress`]), which of `mpirun`'s words are worth
//! showing ([`noise`]), and pictures ([`bars`]).

pub mod bars;
pub mod noise;
pub mod progress;
mod terminal;

pub use terminal::{Screen, check_output};
