//! The operations of the encoder.

pub mod cpu;
pub mod matmul;
