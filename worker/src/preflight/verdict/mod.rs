//! Judges the facts, with pure functions, so that tests can try every sickness on made-up machines.

mod alike;
mod device;
mod folder;
mod machine;
mod measure;
mod speed;
#[cfg(test)]
mod tests;
mod visible;
mod wording;

use tercet_protocol::says::doctor::{Finding, Level, MachineFacts, NetworkFacts, RankFacts};

use alike::{differences, recipes};
pub use device::{Unfit, sentences, unfit_devices};
use folder::folders;
use machine::{clocks, lost_gpus, memory, sick_gpu, unlike_gpus, without_kernels};
pub use measure::{SLOW_LINK, SLOW_RANK, median};
use speed::{slow_links, slow_ranks};
use visible::visible_gpus;
use wording::named;

/// Clocks that differ by more than this make logs and file times hard to read.
const CLOCKS_APART_SECS: f64 = 2.0;

/// The worst of them.
pub fn level(findings: &[Finding]) -> Level {
    findings.iter().map(|finding| finding.level).max().unwrap_or(Level::Ok)
}

/// Everything that is wrong. Only `doctor` measures `network`.
pub fn findings(facts: &[RankFacts], network: Option<&NetworkFacts>) -> Vec<Finding> {
    let mut found = recipes(facts);
    found.extend(differences("version of ", "install the same one on all machines", facts, |rank| {
        rank.versions.iter().map(|(name, version)| (name.clone(), Some(version.clone()))).collect()
    }));
    found.extend(differences("", "give all machines the same one, under the same path", facts, |rank| {
        rank.hashes.clone()
    }));
    let machines: Vec<(&str, &MachineFacts)> =
        facts.iter().filter_map(|rank| Some((rank.host.as_str(), rank.machine.as_ref()?))).collect();
    for &(host, machine) in &machines {
        found.extend(memory(host, machine));
        found.extend(machine.gpu_error.iter().map(|error| {
            let text = format!("{error}: look at `nvidia-smi` and `dmesg` there; a reboot may help");
            Finding::new(Level::Sick, host, text)
        }));
        found.extend(machine.gpus.iter().flat_map(|gpu| sick_gpu(host, gpu)));
        found.extend(clocks(host, machine));
    }
    found.extend(lost_gpus(facts));
    found.extend(unlike_gpus(&machines));
    found.extend(without_kernels(facts));
    let unfit = unfit_devices(facts);
    found
        .extend(visible_gpus(facts).into_iter().filter(|finding| unfit.iter().all(|unfit| unfit.host != finding.host)));
    found.extend(unfit.iter().map(|unfit| Finding::new(unfit.level, &unfit.host, named(&unfit.ranks, &unfit.text))));
    found.extend(folders(&machines));
    for rank in facts.iter().filter(|rank| rank.machine.is_some() && rank.clock_ahead_secs.abs() > CLOCKS_APART_SECS) {
        let text = format!("its clock is {:+.1} s from rank 0's: set it (NTP, chrony)", rank.clock_ahead_secs);
        found.push(Finding::new(Level::Warning, &rank.host, text));
    }
    found.extend(slow_ranks(facts));
    found.extend(network.iter().flat_map(|network| slow_links(&network.links)));
    found
}
