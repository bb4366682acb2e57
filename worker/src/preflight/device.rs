//! Agrees, before anything carries tensors, on what all ranks compute on.
//!
//! Every command with ranks begins with it. It takes as long as CUDA needs to count GPUs: `nvidia-smi` is not asked.

use tercet_cluster::Collective;
use tercet_configs::{Device, ExitCode};
use tercet_protocol::says::doctor::{DeviceFacts, Level, RankFacts};

use super::gathered::{from_rank_0, gather};
use super::sick_machine::SickMachine;
use super::verdict::{Unfit, sentences, unfit_devices};
use crate::machine::device::{self, Found};

/// Decides on what this process computes, together with all others, by what it has `found`. Every rank calls it.
///
/// # Errors
/// [`SickMachine`], on every rank, if one of them cannot compute on what it should, if they would compute on different
/// kinds of device, or if they are more than the GPUs that they need. This process then counts as one on the CPU, which
/// only `doctor` makes use of. A collective that failed.
pub fn agree_on_device(mut found: Found, ranks: &dyn Collective) -> anyhow::Result<()> {
    found.facts.num_local_ranks = ranks.local_size();
    let own = RankFacts {
        rank: ranks.rank(),
        host: ranks.host().to_owned(),
        visible_devices: found.visible_devices.clone(),
        device: Some(found.facts.clone()),
        ..RankFacts::default()
    };
    let unfit = gather(ranks, &own)?.map(|facts| unfit_devices(&facts)).unwrap_or_default();
    let unfit = from_rank_0(ranks, &verdict_of(&unfit))?;
    let Some((text, is_mistake)) = unfit else {
        device::decide(found.facts.used.unwrap_or(Device::Cpu), found);
        return Ok(());
    };
    device::decide(Device::Cpu, found);
    let code = if is_mistake { ExitCode::Usage } else { ExitCode::Machine };
    Err(SickMachine(text, code).into())
}

/// The sentence, and whether another start cannot help before the user has changed something.
fn verdict_of(unfit: &[Unfit]) -> Option<(String, bool)> {
    let is_mistake = unfit.iter().any(|unfit| unfit.level == Level::Mistake);
    (!unfit.is_empty()).then(|| (sentences(unfit), is_mistake))
}

/// What was found out about this process's device, and its `CUDA_VISIBLE_DEVICES`.
pub(super) fn of_this_process() -> (Option<DeviceFacts>, Option<String>) {
    match device::found() {
        Some(found) => (Some(found.facts.clone()), found.visible_devices.clone()),
        None => (None, std::env::var("CUDA_VISIBLE_DEVICES").ok()),
    }
}
