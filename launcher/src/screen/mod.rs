//! What is shown: lines and a bar while ranks run ([`terminal`], [`progress`]), and which of `mpirun`'s words are
//! worth showing ([`noise`]).

pub mod noise;
pub mod progress;
mod terminal;

pub use terminal::{Screen, check_output};
