//! Judges what ranks compute on: a rank that cannot compute on what it should, ranks on different kinds of device, and
//! more ranks than GPUs. What the user must change is a mistake; what is a machine's fault makes it sick.

use std::collections::BTreeSet;

use tercet_configs::{Backend, Device, DeviceChoice, VisibleDevices, major_of};
use tercet_protocol::says::doctor::{DeviceFacts, Level, RankFacts};

use super::wording::{counted, range};

/// The oldest driver that runs programs for a major version of CUDA, and what `make TORCH=…` calls its libtorch. Within
/// a major version older drivers run newer minor versions.
const OLDEST_DRIVERS: [(u32, u32, &str); 2] = [(13, 580, "cu130"), (12, 525, "cu126")];

/// Errors of CUDA's runtime, which the driver numbers alike.
const STUB_LIBRARY: i32 = 34;
const INSUFFICIENT_DRIVER: i32 = 35;
const NO_DEVICE: i32 = 100;
const SYSTEM_NOT_READY: i32 = 802;
const DRIVER_MISMATCH: i32 = 803;
const COMPAT_NOT_SUPPORTED: i32 = 804;

/// What keeps ranks of a machine from computing as they should.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unfit {
    /// The machine.
    pub host: String,
    /// The ranks.
    pub ranks: Vec<usize>,
    /// A mistake, or a sick machine.
    pub level: Level,
    /// What it is, and what to do.
    pub text: String,
}

/// Everything that keeps ranks from computing together on what they should.
pub fn unfit_devices(facts: &[RankFacts]) -> Vec<Unfit> {
    let known: Vec<(&RankFacts, &DeviceFacts)> =
        facts.iter().filter_map(|rank| Some((rank, rank.device.as_ref()?))).collect();
    let driver_somewhere = known.iter().any(|(_, device)| device.has_driver);
    let cannot = known.iter().filter(|(_, device)| device.used.is_none());
    let unable = grouped(cannot.map(|(rank, device)| {
        let (level, text) = why_not(device, rank.visible_devices.as_deref(), driver_somewhere);
        (*rank, level, text)
    }));
    if !unable.is_empty() {
        return unable;
    }
    let mixed = different_kinds(&known);
    if mixed.is_empty() { shared_gpus(&known) } else { mixed }
}

/// One for all ranks of a machine of which the same is to be said.
fn grouped<'a>(all: impl Iterator<Item = (&'a RankFacts, Level, String)>) -> Vec<Unfit> {
    let mut found: Vec<Unfit> = Vec::new();
    for (rank, level, text) in all {
        match found.iter_mut().find(|known| known.host == rank.host && known.text == text) {
            Some(known) => known.ranks.push(rank.rank),
            None => found.push(Unfit { host: rank.host.clone(), ranks: vec![rank.rank], level, text }),
        }
    }
    found
}

/// Why a rank that should compute on a GPU cannot.
fn why_not(device: &DeviceFacts, visible: Option<&str>, driver_somewhere: bool) -> (Level, String) {
    let number = device.present_gpus.max(device.driver_gpus.unwrap_or_default());
    if !device.has_driver {
        let level = if driver_somewhere { Level::Sick } else { Level::Mistake };
        let text = "device is \"cuda\", and the machine has no NVIDIA driver (no /proc/driver/nvidia/version, no libcuda.so.1 \
                    that shows a GPU): start on machines with GPUs, or set device = \"cpu\"";
        return (level, text.into());
    }
    let sees_none = match number {
        0 => "the machine has NVIDIA's driver and libtorch sees no GPU".to_owned(),
        _ => format!("the machine has {} and libtorch sees none", counted(number, "GPU")),
    };
    let (level, why) = cause(device, visible);
    (level, format!("{sees_none}: {why}"))
}

fn cause(device: &DeviceFacts, visible: Option<&str>) -> (Level, String) {
    let Some(libtorch_cuda) = device.libtorch_cuda else {
        let text = "this libtorch was built for the CPU alone: make TORCH=cuda setup build, or set device = \"cpu\"";
        return (Level::Mistake, text.into());
    };
    let (code, words) = device.error.as_ref().map_or((0, ""), |error| (error.code, error.words.as_str()));
    let mistake = |text: String| (Level::Mistake, text);
    let sick = |text: String| (Level::Sick, text);
    match code {
        INSUFFICIENT_DRIVER => return mistake(too_old(device, libtorch_cuda)),
        STUB_LIBRARY => {
            return mistake("libcuda.so.1 is the CUDA toolkit's stub: take its folder out of LD_LIBRARY_PATH".into());
        }
        SYSTEM_NOT_READY => {
            return sick(format!(
                "its fabric manager, which connects the GPUs, is not running (CUDA's error {code}): systemctl start \
                 nvidia-fabricmanager there"
            ));
        }
        DRIVER_MISMATCH => {
            return sick(format!(
                "the driver in the kernel and libcuda.so.1 are of different versions (CUDA's error {code}): reboot the machine \
                 after an update of its driver; a container takes the machine's library, not its own"
            ));
        }
        COMPAT_NOT_SUPPORTED => {
            return mistake(format!(
                "libcuda.so.1 is the package cuda-compat's, and only data-centre cards run with that (CUDA's error {code}): \
                 take it out of LD_LIBRARY_PATH{}",
                or_other_flavour(device)
            ));
        }
        _ => {}
    }
    if let Some(why) = visible.and_then(|list| hidden(list, device.open_gpus)) {
        return mistake(why);
    }
    if device.present_gpus > 0 && device.open_gpus == 0 {
        return mistake(
            "this process may open none of them: ask for GPUs (sbatch --gpus-per-node, docker --gpus all, apptainer --nv), or \
             set device = \"cpu\""
                .into(),
        );
    }
    if code == NO_DEVICE && device.present_gpus == 0 {
        return sick("the driver lists none: one that has fallen off the bus is in `dmesg` (Xid)".into());
    }
    let said = if code == 0 { "CUDA gives no reason".into() } else { format!("CUDA's error {code}, {words}") };
    sick(format!("{said}: look at `nvidia-smi` and `dmesg` there; a reboot may help"))
}

/// `CUDA_VISIBLE_DEVICES`, where it hides all GPUs.
fn hidden(list: &str, open_gpus: usize) -> Option<String> {
    let visible = VisibleDevices::read(list, (open_gpus > 0).then_some(open_gpus));
    if visible.num > 0 {
        return None;
    }
    Some(match visible.remark {
        Some(remark) => format!("CUDA_VISIBLE_DEVICES, {list:?}, {remark}: correct or unset it"),
        None if VisibleDevices::hides_all(list) => {
            format!("CUDA_VISIBLE_DEVICES, {list:?}, hides them: unset it, or set device = \"cpu\"")
        }
        None => format!(
            "CUDA_VISIBLE_DEVICES, {list:?}, says that this job has none: ask Slurm for GPUs (--gpus-per-node), or set device = \
             \"cpu\""
        ),
    })
}

/// A driver, or its library, that is older than libtorch's CUDA.
fn too_old(device: &DeviceFacts, libtorch_cuda: u32) -> String {
    let cuda = |version: u32| format!("CUDA {}.{}", version / 1000, version % 1000 / 10);
    let wanted = if libtorch_cuda == 0 { "libtorch's CUDA".into() } else { cuda(libtorch_cuda) };
    let driver = device.driver.as_deref().and_then(major_of);
    let Some(speaks) = device.driver_cuda else {
        return "the driver is in the kernel, but its library libcuda.so.1 is not found: start a container with its GPUs \
                (docker --gpus all, apptainer --nv)"
            .into();
    };
    let oldest =
        OLDEST_DRIVERS.iter().find(|(major, _, _)| *major == libtorch_cuda / 1000).map(|(_, oldest, _)| *oldest);
    match (driver, oldest) {
        (Some(driver), Some(oldest)) if driver >= oldest => format!(
            "libcuda.so.1 speaks {} only, which is not driver {driver}'s, and libtorch was built for {wanted}: is an older \
             libcuda.so.1 in LD_LIBRARY_PATH?",
            cuda(speaks)
        ),
        (Some(driver), Some(oldest)) => {
            format!("driver {driver} is older than {wanted} needs ({oldest}): {}", remedy(driver))
        }
        _ => format!(
            "its driver speaks {} only, and libtorch was built for {wanted}{}",
            cuda(speaks),
            or_other_flavour(device)
        ),
    }
}

/// What helps against an old driver.
fn remedy(driver: u32) -> String {
    match flavour_for(driver) {
        Some(flavour) => format!("make TORCH={flavour} setup build"),
        None => {
            let oldest = OLDEST_DRIVERS.map(|(_, oldest, _)| oldest).into_iter().min().unwrap_or_default();
            format!("no libtorch of this version runs on it: install driver {oldest} or newer")
        }
    }
}

fn or_other_flavour(device: &DeviceFacts) -> String {
    let flavour = device.driver.as_deref().and_then(major_of).and_then(flavour_for);
    flavour.map_or(String::new(), |flavour| format!(": make TORCH={flavour} setup build"))
}

/// The newest libtorch that a driver runs.
fn flavour_for(driver: u32) -> Option<&'static str> {
    OLDEST_DRIVERS.iter().find(|(_, oldest, _)| driver >= *oldest).map(|(_, _, flavour)| *flavour)
}

/// Ranks that would compute on processors while others compute on GPUs.
fn different_kinds(known: &[(&RankFacts, &DeviceFacts)]) -> Vec<Unfit> {
    let of = |kind: Device| known.iter().filter(move |(_, device)| device.used == Some(kind));
    let on_gpus: Vec<usize> = of(Device::Cuda).map(|(rank, _)| rank.rank).collect();
    let hosts: BTreeSet<&str> = of(Device::Cuda).map(|(rank, _)| rank.host.as_str()).collect();
    if on_gpus.is_empty() {
        return Vec::new();
    }
    let hosts: Vec<&str> = hosts.into_iter().collect();
    let others = format!("{} ({}) on GPUs", range(&on_gpus), listed(&hosts));
    grouped(of(Device::Cpu).map(|(rank, device)| {
        let (level, why) = match &rank.visible_devices {
            _ if device.asked == DeviceChoice::Cpu => {
                (Level::Mistake, "device is \"cpu\" in its recipe: give all ranks the same recipe".to_owned())
            }
            Some(list) if device.has_driver => {
                (Level::Mistake, format!("CUDA_VISIBLE_DEVICES, {list:?}, hides its GPUs: unset it, or set it for all"))
            }
            _ => (
                Level::Sick,
                "the machine has no NVIDIA driver: load it, leave the machine out, or set device = \"cpu\"".to_owned(),
            ),
        };
        (*rank, level, format!("would compute on the CPU, and {others}: {why}"))
    }))
}

/// Ranks of a machine that are more than its GPUs, where each needs one of its own. Ranks that were given different
/// lists of GPUs are taken to know what they do: NCCL finds two on the same GPU.
fn shared_gpus(known: &[(&RankFacts, &DeviceFacts)]) -> Vec<Unfit> {
    let alone = |device: &DeviceFacts| matches!(device.backend, Backend::Auto | Backend::Nccl);
    let crowded = known.iter().filter(|(rank, device)| {
        let same = |other: &(&RankFacts, &DeviceFacts)| {
            other.0.host != rank.host || other.0.visible_devices == rank.visible_devices
        };
        let on_gpu = device.used == Some(Device::Cuda) && alone(device);
        on_gpu && device.num_local_ranks > device.libtorch_gpus && known.iter().all(same)
    });
    grouped(crowded.map(|(rank, device)| {
        let (ranks, seen, open) = (device.num_local_ranks, device.libtorch_gpus, device.open_gpus);
        if rank.visible_devices.is_none() && open >= ranks {
            let text = format!(
                "libtorch sees {seen} of the machine's {}: one has fallen off the bus (`dmesg`, Xid), or is cut up (MIG): \
                 reboot the machine, leave it out, or start {} there",
                counted(open, "GPU"),
                counted(seen, "rank")
            );
            return (*rank, Level::Sick, text);
        }
        let text = format!(
            "{} share {}, and NCCL wants one for each: start {seen} there (-n {seen}), or set device = \"cpu\", or backend = \
             \"mpi\", which lets them share",
            counted(ranks, "rank"),
            counted(seen, "GPU")
        );
        (*rank, Level::Mistake, text)
    }))
}

/// The first names, and how many there are.
fn listed(hosts: &[&str]) -> String {
    match hosts {
        [one] => (*one).to_owned(),
        [one, two] => format!("{one}, {two}"),
        [first, .., last] => format!("{first} to {last}, {} machines", hosts.len()),
        [] => String::new(),
    }
}

/// All of them as one text, with their ranks and machines; what is to be said of several machines alike is said once.
pub fn sentences(unfit: &[Unfit]) -> String {
    let mut once: Vec<(&str, Vec<&str>, Vec<usize>)> = Vec::new();
    for Unfit { host, ranks, text, .. } in unfit {
        match once.iter_mut().find(|(known, _, _)| known == text) {
            Some((_, hosts, all)) => {
                hosts.push(host);
                all.extend(ranks);
            }
            None => once.push((text, vec![host], ranks.clone())),
        }
    }
    let said = once.iter().map(|(text, hosts, ranks)| format!("{} ({}): {text}", range(ranks), listed(hosts)));
    said.collect::<Vec<_>>().join("; ")
}
