//! Which device a rank computes on.

use tch::Device;
use tercet_cluster::Collective;

/// The rank's GPU, by its place among its host's ranks; the CPU where there is none.
pub fn device_of(ranks: &dyn Collective) -> Device {
    match tch::Cuda::device_count() as usize {
        0 => Device::Cpu,
        count => Device::Cuda(ranks.local_rank() % count),
    }
}
