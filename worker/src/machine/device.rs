//! Decides on which device a rank computes: once, before anything computes, from what was asked for and from what
//! driver and libtorch see.
//!
//! A rank that should compute on a GPU and cannot is told apart from one that computes on the CPU: nothing here takes
//! the CPU instead. Whether such a rank ends, and with which message, is decided where all ranks' facts are known.

use std::env;
use std::path::Path;
use std::sync::OnceLock;

use tch::Device;
use tercet_cluster::Collective;
use tercet_configs::{Backend, DeviceChoice, NvidiaDriver, VisibleDevices};
use tercet_protocol::says::doctor::{CudaError, DeviceFacts};

use super::cuda;
use crate::tensors::libtorch::built_for_cuda;

/// The variable that hides GPUs from CUDA.
const VISIBLE: &str = "CUDA_VISIBLE_DEVICES";

/// What this process computes on.
static DECIDED: OnceLock<Decided> = OnceLock::new();

/// What a process computes on, and what it was decided by.
struct Decided {
    device: tercet_configs::Device,
    found: Found,
}

/// What a process has found out about its device.
#[derive(Debug, Clone)]
pub struct Found {
    /// What driver and libtorch see.
    pub facts: DeviceFacts,
    /// `CUDA_VISIBLE_DEVICES` as it was set when the process began.
    pub visible_devices: Option<String>,
}

/// What kind of device `device` is.
pub fn device_kind(device: Device) -> tercet_configs::Device {
    if device.is_cuda() { tercet_configs::Device::Cuda } else { tercet_configs::Device::Cpu }
}

/// The rank's device: its GPU, by its place among its host's ranks, or the CPU, as was [decided](decide). It is the CPU
/// where nobody has decided, as in tests, whose numbers are a CPU's.
pub fn device_of(ranks: &dyn Collective) -> Device {
    match DECIDED.get() {
        // That there is one was found before it was decided so.
        Some(Decided { device: tercet_configs::Device::Cuda, found }) => {
            Device::Cuda(ranks.local_rank() % found.facts.libtorch_gpus)
        }
        Some(_) | None => Device::Cpu,
    }
}

/// Whether this process computes on a GPU.
pub fn is_cuda() -> bool {
    DECIDED.get().is_some_and(|decided| decided.device == tercet_configs::Device::Cuda)
}

/// What was found out before it was decided; none where nobody has looked, as in tests.
pub fn found() -> Option<&'static Found> {
    DECIDED.get().map(|decided| &decided.found)
}

/// Decides for this process, once and for all: a GPU only if libtorch has found one.
pub fn decide(device: tercet_configs::Device, found: Found) {
    let device = if found.facts.libtorch_gpus == 0 { tercet_configs::Device::Cpu } else { device };
    DECIDED.get_or_init(|| Decided { device, found });
}

/// Hides all GPUs from this process's libraries: what counts GPUs on the way finds none, and none is touched.
///
/// # Safety
/// No other thread may read the environment meanwhile.
pub unsafe fn hide_gpus() {
    // SAFETY: as promised to this function.
    unsafe { env::set_var(VISIBLE, "") };
}

/// Looks at driver and libtorch, as far as `asked` lets it: for the CPU no library of CUDA's is asked anything.
pub fn look(asked: DeviceChoice, backend: Backend) -> Found {
    let visible_devices = env::var(VISIBLE).ok();
    let files = NvidiaDriver::look(Path::new("/"));
    let mut facts = DeviceFacts {
        asked,
        backend,
        has_driver: files.is_some(),
        libtorch_cuda: built_for_cuda(),
        ..DeviceFacts::default()
    };
    if let Some(files) = files {
        (facts.present_gpus, facts.open_gpus) = (files.gpus.len(), files.num_open());
        facts.driver = files.version;
    }
    if asked != DeviceChoice::Cpu {
        facts.libtorch_gpus = usize::try_from(tch::Cuda::device_count()).unwrap_or_default();
        let driver = cuda::driver();
        facts.driver_cuda = driver.map(|says| says.cuda).or_else(cuda::runtime_knows_of_driver);
        facts.driver_gpus = driver.and_then(|says| says.gpus.ok());
        if facts.libtorch_gpus == 0 {
            let of_driver = driver.and_then(|says| says.gpus.err());
            let of_driver = of_driver.map(|code| CudaError { code, words: "as its driver numbers it".into() });
            let error = cuda::runtime_error().or(of_driver);
            // Under WSL the driver has no files here.
            facts.has_driver |= facts.driver_gpus.is_some_and(|count| count > 0);
            facts.has_driver |= error.as_ref().is_some_and(|error| cuda::shows_a_driver(error, facts.driver_cuda));
            facts.error = error.filter(|_| facts.has_driver);
        }
    }
    facts.used = device_for(&facts, visible_devices.as_deref());
    Found { facts, visible_devices }
}

/// What a rank with these facts computes on; none if it cannot compute on what it should.
fn device_for(facts: &DeviceFacts, visible: Option<&str>) -> Option<tercet_configs::Device> {
    use tercet_configs::Device::{Cpu, Cuda};
    match facts.asked {
        DeviceChoice::Cpu => Some(Cpu),
        _ if facts.libtorch_gpus > 0 => Some(Cuda),
        DeviceChoice::Auto if !facts.has_driver || visible.is_some_and(VisibleDevices::hides_all) => Some(Cpu),
        DeviceChoice::Auto | DeviceChoice::Cuda => None,
    }
}

#[cfg(test)]
mod tests {
    use tercet_configs::Device::{Cpu, Cuda};

    use super::*;

    #[test]
    fn the_cpu_is_never_taken_in_place_of_a_gpu() {
        let device = |asked, has_driver, libtorch_gpus, visible| {
            device_for(&DeviceFacts { asked, has_driver, libtorch_gpus, ..DeviceFacts::default() }, visible)
        };
        use DeviceChoice as Asked;
        for (asked, has_driver, libtorch_gpus, visible, expected) in [
            (Asked::Auto, false, 0, None, Some(Cpu)),
            (Asked::Auto, true, 8, None, Some(Cuda)),
            (Asked::Auto, true, 0, None, None),
            (Asked::Auto, true, 0, Some(""), Some(Cpu)),
            (Asked::Auto, true, 0, Some("-1"), Some(Cpu)),
            (Asked::Auto, true, 0, Some("NoDevFiles"), None),
            (Asked::Auto, true, 0, Some("9"), None),
            // A libtorch that sees GPUs knows better than files do.
            (Asked::Auto, false, 2, None, Some(Cuda)),
            (Asked::Cuda, false, 2, Some(""), Some(Cuda)),
            (Asked::Cuda, false, 0, None, None),
            (Asked::Cuda, true, 0, Some(""), None),
            (Asked::Cpu, true, 0, None, Some(Cpu)),
            (Asked::Cpu, true, 8, None, Some(Cpu)),
        ] {
            let found = device(asked, has_driver, libtorch_gpus, visible);
            assert_eq!(found, expected, "{asked:?} {has_driver} {libtorch_gpus} {visible:?}");
        }
    }

    #[test]
    fn for_the_cpu_nothing_of_cuda_is_asked() {
        let facts = look(DeviceChoice::Cpu, Backend::Auto).facts;
        assert_eq!((facts.used, facts.libtorch_gpus, facts.driver_cuda), (Some(Cpu), 0, None));
        assert_eq!((facts.driver_gpus, facts.error), (None, None));
    }

    #[test]
    fn a_library_decides_nothing() {
        assert_eq!(device_of(&tercet_cluster::Solo::new()), Device::Cpu);
        assert!(!is_cuda());
    }
}
