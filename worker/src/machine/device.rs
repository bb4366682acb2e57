//! Decides on which device a rank computes.

use tch::Device;
use tercet_cluster::Collective;

/// The rank's GPU, by its local rank; the CPU if there is no GPU.
pub fn device_of(ranks: &dyn Collective) -> Device {
    match tch::Cuda::device_count() as usize {
        0 => Device::Cpu,
        count => Device::Cuda(ranks.local_rank() % count),
    }
}
