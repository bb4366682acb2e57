//! Judges the GPUs that ranks see: compares `CUDA_VISIBLE_DEVICES` with the existing GPUs and with the machine's ranks.

use tercet_configs::{Device, DeviceChoice, VisibleDevices};
use tercet_protocol::says::doctor::{DeviceFacts, Finding, Level, MachineFacts, RankFacts};

use super::machine::num_listed;
use super::wording::counted;

/// Finds ranks that see no GPU, see fewer than was probably meant, or have to share some.
pub(super) fn visible_gpus(facts: &[RankFacts]) -> Vec<Finding> {
    let machines = facts.iter().filter_map(|rank| Some((rank, rank.machine.as_ref()?)));
    machines.filter_map(|(first, machine)| judge(first, machine, facts)).collect()
}

/// Whether the machine has GPUs that libtorch does not see, and `nvidia-smi` has not lost as well. As many ranks as
/// libtorch sees GPUs would start there without a word.
fn has_unseen(device: &DeviceFacts, machine: &MachineFacts) -> bool {
    let is_lost = machine.gpu_error.is_none() && num_listed(machine) < device.open_gpus;
    device.used == Some(Device::Cuda) && device.libtorch_gpus < device.open_gpus && !is_lost
}

fn judge(first: &RankFacts, machine: &MachineFacts, facts: &[RankFacts]) -> Option<Finding> {
    let (ranks, present) = (machine.num_ranks, num_listed(machine));
    if first.device.as_ref().is_some_and(|device| device.asked == DeviceChoice::Cpu) {
        return None;
    }
    let warning = |text: String| Some(Finding::new(Level::Warning, &first.host, text));
    let Some(list) = &first.visible_devices else {
        if present > 0 && ranks > present {
            return warning(format!("{ranks} ranks share {present} GPUs"));
        }
        let device = first.device.as_ref().filter(|device| has_unseen(device, machine))?;
        return warning(format!(
            "libtorch sees {} of its {}: one has fallen off the bus (`dmesg`, Xid), or is cut up (MIG): no rank can compute on \
             the others",
            device.libtorch_gpus,
            counted(device.open_gpus, "GPU")
        ));
    };
    let visible = VisibleDevices::read(list, Some(present));
    // Without any GPU, nobody expects ranks to compute on one.
    if present == 0 || machine.gpu_error.is_some() {
        return None;
    }
    let num = visible.num;
    if let Some(remark) = visible.remark {
        return warning(format!("CUDA_VISIBLE_DEVICES, {list:?}, {remark}: ranks see {num} of its {present} GPUs"));
    }
    if num == 0 {
        return warning(format!(
            "CUDA_VISIBLE_DEVICES, {list:?}, hides its {present} GPUs: ranks compute on the processor; unset it to use them"
        ));
    }
    // If each rank was given its own list, the first rank's says nothing about the others'.
    let same = facts.iter().all(|rank| rank.host != first.host || rank.visible_devices.as_ref() == Some(list));
    (same && ranks > num)
        .then(|| warning(format!("{ranks} ranks share {num} GPUs (CUDA_VISIBLE_DEVICES, {list:?})")))
        .flatten()
}
