//! Decides on which device a rank computes.

use tch::Device;
use tercet_cluster::Collective;

/// What kind of device `device` is.
pub fn device_kind(device: Device) -> tercet_configs::Device {
    if device.is_cuda() { tercet_configs::Device::Cuda } else { tercet_configs::Device::Cpu }
}

/// The rank's GPU, by its place among its host's ranks; the CPU where there is none.
pub fn device_of(ranks: &dyn Collective) -> Device {
    match tch::Cuda::device_count() as usize {
        0 => Device::Cpu,
        count => Device::Cuda(ranks.local_rank() % count),
    }
}
