//! What a rank needs to know of its GPU, and waiting for it.

use tch::{Device, Kind, Tensor};
use tercet_cluster::card;
use tercet_cluster::heartbeat::{self, Doing};

use super::cuda::compute_capability;

/// The first compute capability whose cards multiply in bfloat16 at full speed (Ampere); older ones emulate it.
const WITH_BF16: (i32, i32) = (8, 0);

/// From now on messages about failures name the GPU that `device` is; nothing for a CPU.
pub fn name_in_messages(device: Device) {
    if let Device::Cuda(index) = device {
        card::computes_on(name(index, std::env::var("CUDA_VISIBLE_DEVICES").ok().as_deref()));
    }
}

/// `GPU 3`; libtorch counts only those that are visible.
fn name(index: usize, visible: Option<&str>) -> String {
    match visible {
        Some(visible) => format!("GPU {index} of CUDA_VISIBLE_DEVICES={visible}"),
        None => format!("GPU {index}"),
    }
}

/// Whether `device` is a GPU that computes in bfloat16.
pub fn has_bf16(device: Device) -> bool {
    match device {
        Device::Cuda(index) => compute_capability(index).is_some_and(|found| found >= WITH_BF16),
        _ => false,
    }
}

/// Does `work`, which waits until `device` has done what it was asked for: on a GPU the rank's signs of life say so.
/// Such a wait uses a processor all the time, and would look like work.
pub fn waiting<T>(device: Device, work: impl FnOnce() -> T) -> T {
    match device {
        Device::Cuda(_) => heartbeat::during(Doing::WaitingForGpu, work),
        _ => work(),
    }
}

/// The value of a tensor of one element, once its device has computed it.
pub fn number(value: &Tensor) -> f64 {
    waiting(value.device(), || value.double_value(&[]))
}

/// The values of a one-dimensional tensor, once its device has computed them.
pub fn numbers(values: &Tensor) -> Vec<f64> {
    let read = || Vec::try_from(values.to_kind(Kind::Double)).expect("one-dimensional float64");
    waiting(values.device(), read)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_gpu_is_named_as_its_process_counts() {
        assert_eq!(name(3, None), "GPU 3");
        assert_eq!(name(0, Some("5,6")), "GPU 0 of CUDA_VISIBLE_DEVICES=5,6");
    }

    #[test]
    fn a_cpu_has_no_bf16_and_its_numbers_are_read_as_they_are() {
        assert!(!has_bf16(Device::Cpu));
        assert_eq!(number(&Tensor::from(1.5f32)), 1.5);
        assert_eq!(numbers(&Tensor::from_slice(&[1.5f32, -2.0])), [1.5, -2.0]);
    }
}
