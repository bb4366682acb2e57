//! Measures the memory of the machine and of the rank's device, and the memory that a piece of work takes.

use std::fs;
use std::path::{Path, PathBuf};

use tch::Device;

use crate::machine::allocator;
use crate::machine::card::waiting;
use crate::tensors::libtorch::device::empty_cache;
use crate::tensors::libtorch::device_memory;

/// The memory that a piece of work took, in bytes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Taken {
    /// The largest amount while it ran.
    pub peak: u64,
    /// The amount that its result holds.
    pub kept: u64,
}

/// Does `work` and measures it: on a CPU by this thread's requests to the allocator, on a GPU by the memory of tensors.
pub fn measure<T>(device: Device, work: impl FnOnce() -> T) -> (T, Taken) {
    match device {
        Device::Cuda(index) => {
            let before = device_memory(index).held;
            let result = work();
            waiting(device, || tch::Cuda::synchronize(index as i64));
            let after = device_memory(index);
            let taken = Taken { peak: after.peak.saturating_sub(before), kept: after.held.saturating_sub(before) };
            (result, taken)
        }
        _ => {
            let before = allocator::held_bytes();
            allocator::begin_peak();
            let result = work();
            let kept = u64::try_from(allocator::held_bytes() - before).unwrap_or(0);
            (result, Taken { peak: allocator::peak_growth_bytes(), kept })
        }
    }
}

/// Returns free memory that an allocator keeps for later to the system, or to the GPU's driver: the next requests may
/// be of other sizes, and what is kept counts as used.
pub fn give_back(device: Device) {
    match device {
        Device::Cuda(_) => empty_cache(),
        _ => allocator::give_back(),
    }
}

/// The bytes of the device that this process uses now, after freed memory was returned: on a CPU its resident memory;
/// on a GPU all that the driver has given away, since a rank has its GPU to itself. That is more than tensors: CUDA's
/// context, the products' workspaces, NCCL's buffers.
pub fn used_bytes(device: Device) -> u64 {
    give_back(device);
    match device {
        Device::Cuda(index) => {
            let memory = device_memory(index);
            memory.total.saturating_sub(memory.free)
        }
        _ => resident_bytes()[0],
    }
}

/// The most bytes of `device` that tensors took at once since the last call, if it is a GPU.
pub fn device_peak_bytes(device: Device) -> Option<u64> {
    match device {
        Device::Cuda(index) => Some(device_memory(index).peak),
        _ => None,
    }
}

/// The free bytes of the device: on a CPU the least that the system and the process's control groups have left, and
/// [`u64::MAX`] if neither says.
pub fn free_bytes(device: Device) -> u64 {
    match device {
        Device::Cuda(index) => device_memory(index).free,
        _ => {
            let meminfo = fs::read_to_string("/proc/meminfo").unwrap_or_default();
            let available = field(&meminfo, "MemAvailable:").unwrap_or(u64::MAX);
            available.min(group_free_bytes().unwrap_or(u64::MAX))
        }
    }
}

/// The resident memory of this process in bytes, now and the largest so far; 0 if the system does not say.
pub fn resident_bytes() -> [u64; 2] {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    ["VmRSS:", "VmHWM:"].map(|name| field(&status, name).unwrap_or(0))
}

/// The number of a line `name  number kB`, in bytes.
fn field(text: &str, name: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(name))?;
    line.trim().trim_end_matches(" kB").parse::<u64>().ok().map(|kib| kib * 1024)
}

/// The machine's memory in bytes; 0 if the system does not say.
pub fn memory_bytes() -> u64 {
    field(&fs::read_to_string("/proc/meminfo").unwrap_or_default(), "MemTotal:").unwrap_or(0)
}

/// The smallest limit of the control group and of those above it, in bytes, if there is one. (This is cgroup v2; Slurm,
/// which limits the job and not the task, and containers set it.)
pub fn group_limit_bytes() -> Option<u64> {
    groups().iter().filter_map(|group| group_bytes(group, "memory.max")).min()
}

/// The memory that these limits leave.
fn group_free_bytes() -> Option<u64> {
    let free =
        |group: &PathBuf| Some(group_bytes(group, "memory.max")?.saturating_sub(group_bytes(group, "memory.current")?));
    groups().iter().filter_map(free).min()
}

/// The folders of the control group and of those above it.
fn groups() -> Vec<PathBuf> {
    let groups = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    let Some(own) = groups.lines().find_map(|line| line.strip_prefix("0::/")) else { return Vec::new() };
    Path::new(own).ancestors().map(|group| Path::new("/sys/fs/cgroup").join(group)).collect()
}

/// One of a control group's numbers; none if it is `max`.
fn group_bytes(group: &Path, name: &str) -> Option<u64> {
    fs::read_to_string(group.join(name)).ok()?.trim().parse::<u64>().ok()
}

#[cfg(test)]
mod tests {
    use tch::{Kind, Tensor};

    use super::*;

    #[test]
    fn what_work_takes_is_its_peak_and_its_result() {
        let (result, taken) = measure(Device::Cpu, || {
            drop(Tensor::zeros([3 << 20], (Kind::Float, Device::Cpu)));
            Tensor::zeros([1 << 20], (Kind::Float, Device::Cpu))
        });
        assert!((12 << 20..13 << 20).contains(&taken.peak) && (4 << 20..5 << 20).contains(&taken.kept), "{taken:?}");
        drop(result);
    }

    #[test]
    fn the_system_says_how_much_there_is() {
        let (used, free) = (used_bytes(Device::Cpu), free_bytes(Device::Cpu));
        assert!(used > 1 << 20 && free > 1 << 20 && free < 1 << 50, "{used} used, {free} free");
    }
}
