//! Tensors over collectives and from the host to a device, and the calls into libtorch that `tch` does not bind.

pub mod checksum;
pub mod exchange;
pub mod libtorch;
pub mod upload;
