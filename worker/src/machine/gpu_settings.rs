//! How a process computes on GPUs. On a CPU nothing here changes anything.

use tch::Device;

use crate::tensors::libtorch::settle_cuda;

/// Environment variables that CUDA's libraries read when they start, for those that are not set already.
///
/// cuBLAS sums in another order from run to run if it chooses its scratch memory itself; libtorch refuses to multiply
/// without this choice while only deterministic operations are allowed. It is eight blocks of 4 MiB.
pub const ENVIRONMENT: [(&str, &str); 1] = [("CUBLAS_WORKSPACE_CONFIG", ":4096:8")];

/// How libtorch's allocator cuts up a GPU's memory: in segments that grow. Sub-batches have other sizes in every step,
/// and blocks of fixed segments would split until no large one is left. libtorch reads the second name first. If the
/// user has set one of them, neither is changed.
pub const SEGMENTS: [(&str, &str); 2] =
    [("PYTORCH_ALLOC_CONF", "expandable_segments:True"), ("PYTORCH_CUDA_ALLOC_CONF", "expandable_segments:True")];

/// Makes libtorch's settings, if the rank computes on a GPU. The rank calls it before it computes anything.
pub fn settle(device: Device, deterministic: bool) {
    if device.is_cuda() {
        settle_cuda(deterministic);
    }
}
