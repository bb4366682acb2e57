//! Judges memory, processors and GPUs of a machine.

use std::collections::BTreeMap;

use tercet_configs::DeviceChoice;
use tercet_protocol::says::doctor::{Finding, GpuFacts, Level, MachineFacts, RankFacts};

use super::measure::median;
use super::wording::{counted, mib};
use crate::preflight::software::{NOT_FOUND, NVRTC};

/// The approximate memory of libtorch and its threads per rank before any model is loaded.
const RANK_BYTES: u64 = 512 << 20;

/// The part of /dev/shm that each rank of a machine needs.
const SHM_RANK_BYTES: u64 = 8 << 20;

/// NVML's reasons for lowered clocks that mean heat or missing power: hardware slowdown, thermal slowdown by software
/// and by hardware, external power brake.
const THROTTLES: [(u64, &str); 4] =
    [(0x8, "hardware slowdown"), (0x20, "heat"), (0x40, "heat"), (0x80, "its power supply's brake")];

pub(super) fn memory(host: &str, machine: &MachineFacts) -> Vec<Finding> {
    let mut found = Vec::new();
    let ranks = machine.num_ranks.max(1) as u64;
    if machine.available_bytes < RANK_BYTES / 4 * ranks {
        let text = format!(
            "{} of memory are free for {ranks} ranks: end what else runs there, or start fewer ranks",
            mib(machine.available_bytes)
        );
        found.push(Finding::new(Level::Sick, host, text));
    } else if machine.available_bytes < RANK_BYTES * ranks {
        let text = format!("only {} of memory are free for {ranks} ranks", mib(machine.available_bytes));
        found.push(Finding::new(Level::Warning, host, text));
    }
    if ranks > 1 && machine.shm_free_bytes < SHM_RANK_BYTES * ranks {
        let text = format!(
            "/dev/shm has {} left for {ranks} ranks, which talk through it: clear it, or start the container with a larger \
             one (--shm-size)",
            mib(machine.shm_free_bytes)
        );
        found.push(Finding::new(Level::Warning, host, text));
    }
    found
}

pub(super) fn sick_gpu(host: &str, gpu: &GpuFacts) -> Vec<Finding> {
    let mut found = Vec::new();
    let mut add = |level, text: String| found.push(Finding::new(level, host, format!("GPU {}: {text}", gpu.index)));
    if let Some(errors) = gpu.uncorrected_errors.filter(|errors| *errors > 0) {
        add(
            Level::Sick,
            format!(
                "{errors} uncorrected memory errors since its driver was loaded: take the machine out, reset the GPU"
            ),
        );
    }
    let reasons = gpu.throttle_reasons.unwrap_or(0);
    if let Some((_, why)) = THROTTLES.iter().find(|(bit, _)| reasons & bit != 0) {
        add(
            Level::Sick,
            format!("its clock is held down by {why} (throttle reasons {reasons:#x}): look at cooling and power"),
        );
    }
    if let Some(degrees) = gpu.temperature.filter(|degrees| *degrees >= 85.0) {
        add(Level::Warning, format!("{degrees:.0} °C: look at its cooling"));
    }
    if let Some((limit, usual)) =
        gpu.power_limit.zip(gpu.default_power_limit).filter(|(limit, usual)| *limit < 0.99 * usual)
    {
        add(Level::Warning, format!("its power is limited to {limit:.0} W instead of {usual:.0} W (nvidia-smi -pl)"));
    }
    if let Some((used, all)) = gpu.used_bytes.zip(gpu.memory_bytes).filter(|(used, all)| used * 10 > *all) {
        add(
            Level::Warning,
            format!("{} of its {} are in use by others (nvidia-smi says by whom)", mib(used), mib(all)),
        );
    }
    found
}

/// Finds cores that were hot or slow while they computed.
pub(super) fn clocks(host: &str, machine: &MachineFacts) -> Vec<Finding> {
    let mut found = Vec::new();
    if let Some(count) = machine.num_throttled.filter(|count| *count > 0) {
        let text = format!("cores were slowed by heat {count} times while products were measured: look at its cooling");
        found.push(Finding::new(Level::Warning, host, text));
    }
    if let Some(share) = machine.clock_share.filter(|share| *share < 0.5) {
        let text = format!(
            "cores run at {:.0} % of their highest clock under load: look at governor and cooling",
            100.0 * share
        );
        found.push(Finding::new(Level::Warning, host, text));
    }
    found
}

/// All GPUs that nvidia-smi lists, also those that are no rank's.
pub(super) fn num_listed(machine: &MachineFacts) -> usize {
    machine.listed_gpus.max(machine.gpus.len())
}

/// Finds machines where nvidia-smi lists fewer GPUs than the driver has for this process.
pub(super) fn lost_gpus(facts: &[RankFacts]) -> Vec<Finding> {
    let machines = facts.iter().filter_map(|rank| Some((rank, rank.machine.as_ref()?, rank.device.as_ref()?)));
    let lost = machines.filter(|(_, machine, device)| {
        machine.gpu_error.is_none() && device.asked != DeviceChoice::Cpu && num_listed(machine) < device.open_gpus
    });
    lost.map(|(rank, machine, device)| {
        let text = format!(
            "nvidia-smi lists {} of its {}: one has fallen off the bus (`dmesg`, Xid): reboot it, or leave it out",
            num_listed(machine),
            counted(device.open_gpus, "GPU")
        );
        Finding::new(Level::Sick, &rank.host, text)
    })
    .collect()
}

/// Finds machines on whose GPUs libtorch's operations take the place of our kernels, because their compiler is missing.
pub(super) fn without_kernels(facts: &[RankFacts]) -> impl Iterator<Item = Finding> {
    let machines = facts.iter().filter(|rank| rank.machine.is_some());
    let without = machines.filter(|rank| rank.versions.get(NVRTC).is_some_and(|version| version == NOT_FOUND));
    without.map(|rank| {
        let text = "its GPUs compute without kernels of our own, and slower, because NVRTC is not found: `make setup` \
                    fetches it with libtorch's wheel (PyPI: nvidia-cuda-nvrtc), or put its folder into LD_LIBRARY_PATH";
        Finding::new(Level::Warning, &rank.host, text)
    })
}

/// Finds machines whose GPUs differ from those of most machines.
pub(super) fn unlike_gpus(machines: &[(&str, &MachineFacts)]) -> Vec<Finding> {
    let mut found = Vec::new();
    let asked: Vec<_> = machines.iter().filter(|(_, machine)| machine.gpu_error.is_none()).collect();
    let counts: Vec<f64> = asked.iter().map(|(_, machine)| num_listed(machine) as f64).collect();
    let usual = median(&counts) as usize;
    for (host, machine) in asked {
        if num_listed(machine) < usual {
            let text = format!(
                "{} GPUs, most machines have {usual}: one has dropped out? (`dmesg`, Xid)",
                num_listed(machine)
            );
            found.push(Finding::new(Level::Sick, host, text));
        }
    }
    type Property = (&'static str, fn(&GpuFacts) -> String);
    let properties: [Property; 3] = [
        ("model", |gpu| gpu.name.clone()),
        ("driver", |gpu| gpu.driver.clone()),
        ("memory", |gpu| gpu.memory_bytes.map_or("unknown".into(), mib)),
    ];
    for (name, of) in properties {
        let mut counts: BTreeMap<String, usize> = BTreeMap::new();
        machines.iter().flat_map(|(_, machine)| &machine.gpus).for_each(|gpu| *counts.entry(of(gpu)).or_default() += 1);
        let Some((usual, _)) = counts.iter().max_by_key(|(_, count)| **count) else { continue };
        for (host, machine) in machines {
            if let Some(gpu) = machine.gpus.iter().find(|gpu| of(gpu) != *usual) {
                let text =
                    format!("GPU {}: {name} {}, most GPUs' is {usual}: the slowest sets the pace", gpu.index, of(gpu));
                found.push(Finding::new(Level::Warning, host, text));
            }
        }
    }
    found
}
