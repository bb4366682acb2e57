//! Tensors over collectives, and the calls into libtorch that `tch` does not bind.

pub mod checksum;
pub mod exchange;
pub mod libtorch;
