//! The operations of the encoder, and the one door to the device.
//!
//! A file or folder is an operation, forward and backward, over tensors. It holds the operation as libtorch's
//! operations make it, on any device and in any type (the reference), and decides once what computes it (`Engine`);
//! nobody outside this room asks. Faster kernels lie in `cpu/` for a CPU and in `cuda/` for GPUs. Where there is none,
//! the reference serves. What a kernel must know of an operation (weights, masks, settings) has a file of its own in
//! the operation's folder, so that kernels import no operation.
//!
//! Not here: which operations make a layer, and where its weights lie (the model).

pub mod adamw;
pub mod attention;
mod cpu;
mod cuda;
pub mod dropout;
pub mod embed;
pub mod gelu;
pub mod generator;
pub mod inner_products;
pub mod layer_norm;
pub mod linear;
pub mod matmul;
pub mod norms;
pub mod sums;
#[cfg(test)]
mod tests;
pub mod vocabulary;

use tch::{Device, Kind, Tensor};

/// What computes an operation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Engine {
    /// libtorch's operations: the reference.
    Libtorch,
    /// The kernels in `cpu/`.
    Cpu,
    /// The kernels in `cuda/`, and libtorch's operations where these have none.
    Cuda,
}

/// The version of NVRTC, which compiles the kernels for GPUs; if there is none, libtorch's operations serve.
pub fn nvrtc_version() -> Option<String> {
    cuda::nvrtc_version()
}

impl Engine {
    /// The fastest engine for tensors like `x`.
    fn of(x: &Tensor) -> Self {
        match (x.device(), x.kind()) {
            (Device::Cpu, Kind::Float | Kind::BFloat16) => Self::Cpu,
            (device, Kind::Float | Kind::BFloat16) if cuda::serves(device) => Self::Cuda,
            _ => Self::Libtorch,
        }
    }

    /// As [`Engine::of`], for what is done to whole rows of this width.
    fn of_rows(x: &Tensor, width: i64) -> Self {
        match Self::of(x) {
            Self::Cuda if !cuda::Rows::fit(width) => Self::Libtorch,
            engine => engine,
        }
    }
}

/// A weight in two types, which may be the same; views of the flat buffers.
pub struct Weight {
    /// In the type that is computed in.
    pub compute: Tensor,
    /// As the optimizer has it and kernels read it: float32, or float64 where that is computed in.
    pub master: Tensor,
}

impl Weight {
    /// The weight in the type of `x`: the first norm is computed in the weights' own type.
    fn like(&self, x: &Tensor) -> &Tensor {
        if x.kind() == self.compute.kind() { &self.compute } else { &self.master }
    }
}
