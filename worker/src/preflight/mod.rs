//! Checks before a run that every machine is fit for it and that all of them are alike.
//!
//! Each rank examines its program, libraries, recipe and data (`software`). The first rank of each machine examines
//! GPUs, processor and memory (`gpus`, `machine`) and the run folder (`folder`). Rank 0 gathers these `facts` and
//! judges them (`verdict`). Every command with ranks begins with [`agree_on_device`], which is about devices alone.
//! Every training run goes on with [`check`], in which only the driver's answer takes time.
//! `tercet doctor` calls [`examine`], which also measures (`speed`).
//!
//! It finds what a machine says about itself or shows within seconds. It does not find a GPU that computes wrongly once
//! an hour.

mod device;
mod folder;
mod gathered;
mod gpus;
mod machine;
mod sick_machine;
mod software;
mod speed;
mod verdict;

use tercet_cluster::{Collective, CollectiveError, gather_ragged};
use tercet_configs::{DeviceChoice, ExitCode, Recipe};
use tercet_protocol::says::doctor::{Finding, Level, RankFacts, Report};

use crate::machine::clock::since_1970;
pub use device::agree_on_device;
use gathered::{from_rank_0, gather};
pub use machine::processor_name;
pub use sick_machine::SickMachine;

/// The number of comparisons of clocks. The smallest difference counts, because the rest is waiting.
const CLOCK_TRIALS: usize = 3;

/// What does not go without saying of the machines that are to train `recipe`, a sentence each. Every rank calls it.
///
/// # Errors
/// [`SickMachine`], on every rank, if one of them must not take part.
pub fn check(recipe: &Recipe, ranks: &dyn Collective) -> anyhow::Result<Vec<String>> {
    let own = look(Some(Ok(recipe)), ranks)?;
    let facts = gather(ranks, &own)?;
    let findings = facts.map(|facts| verdict::findings(&facts, None)).unwrap_or_default();
    let findings = from_rank_0(ranks, &findings)?;
    let said = |level: Level| {
        let of_level = findings.iter().filter(move |finding| finding.level == level);
        of_level.map(|finding| format!("{}: {}", finding.host, finding.text))
    };
    let sick: Vec<String> = said(Level::Sick).collect();
    if !sick.is_empty() {
        return Err(SickMachine(sick.join("; "), ExitCode::Machine).into());
    }
    // A mistake in the recipe, which concerns all machines, is reported in more detail by the code that meets it next.
    let here = |finding: &&Finding| finding.level == Level::Mistake && !finding.host.is_empty();
    match findings.iter().find(here) {
        Some(Finding { host, text, .. }) => Err(SickMachine(format!("{host}: {text}"), ExitCode::Usage).into()),
        None => Ok(said(Level::Warning).collect()),
    }
}

/// Examines and measures. Returns the report on rank 0, and the worst level on every rank. Every rank calls it.
///
/// # Errors
/// A collective that failed.
pub fn examine(
    recipe: Option<Result<&Recipe, String>>,
    ranks: &dyn Collective,
) -> Result<(Option<Report>, Level), CollectiveError> {
    let mut own = look(recipe, ranks)?;
    let throttled_before = machine::num_throttled();
    own.product = Some(speed::products(ranks)?);
    if let Some(found) = &mut own.machine {
        found.clock_share = machine::clock_share();
        found.num_throttled = machine::num_throttled().zip(throttled_before).map(|(now, before)| now - before);
        // One machine after the other would be fairer to a shared disk, but would take minutes with many machines.
        found.folder.iter_mut().for_each(folder::time_writing);
    }
    let hosts = gather_ragged(ranks, ranks.host().as_bytes())?;
    let hosts: Vec<String> = hosts.iter().map(|host| String::from_utf8_lossy(host).into_owned()).collect();
    let network = speed::network(ranks, &hosts)?;
    let report = gather(ranks, &own)?.map(|facts| {
        let findings = verdict::findings(&facts, Some(&network));
        let verdict = verdict::level(&findings);
        Report { world_size: ranks.world_size(), verdict, findings, ranks: facts, network }
    });
    let level = from_rank_0(ranks, &report.as_ref().map_or(Level::Ok, |report| report.verdict))?;
    Ok((report, level))
}

/// The facts that this rank finds without measuring. Every rank calls it.
fn look(recipe: Option<Result<&Recipe, String>>, ranks: &dyn Collective) -> Result<RankFacts, CollectiveError> {
    let (recipe, recipe_error) = match recipe {
        Some(Ok(recipe)) => (Some(recipe), None),
        Some(Err(error)) => (None, Some(error)),
        None => (None, None),
    };
    let (device, visible_devices) = device::of_this_process();
    let on_cpu = device.as_ref().is_some_and(|device| device.asked == DeviceChoice::Cpu);
    let mut facts = RankFacts {
        rank: ranks.rank(),
        host: ranks.host().to_owned(),
        versions: software::versions(),
        hashes: software::hashes(recipe),
        visible_devices,
        device,
        recipe_error,
        ..RankFacts::default()
    };
    if ranks.local_rank() == 0 {
        let mut machine = machine::look(ranks, !on_cpu);
        machine.folder = recipe.and_then(folder::look);
        facts.machine = Some(machine);
    }
    if ranks.world_size() > ranks.local_size() {
        facts.clock_ahead_secs = clock_ahead_secs(ranks)?;
        let seen = folder::sees_rank_0(ranks, recipe.map(|recipe| recipe.run_dir.as_path()))?;
        if let Some(folder) = facts.machine.as_mut().and_then(|machine| machine.folder.as_mut()) {
            folder.sees_rank_0 = seen;
        }
    }
    Ok(facts)
}

/// The seconds by which this machine's clock is ahead of rank 0's. Every rank calls it.
fn clock_ahead_secs(ranks: &dyn Collective) -> Result<f64, CollectiveError> {
    let now = || since_1970().as_secs_f64();
    let mut nearest = f64::INFINITY;
    for _ in 0..CLOCK_TRIALS {
        ranks.barrier()?;
        let mut first = [now()];
        ranks.broadcast(first[..].as_mut().into(), 0)?;
        let ahead = now() - first[0];
        if ahead.abs() < nearest.abs() {
            nearest = ahead;
        }
    }
    Ok(nearest)
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use tercet_cluster::Solo;

    use super::*;

    #[test]
    fn a_run_without_machines_to_compare_may_begin() {
        let dir = tempfile::tempdir().unwrap();
        let setting = format!("run_dir={}/run", dir.path().display());
        let recipe = Recipe::parse("name = \"t\"", Path::new("t.toml"), &[setting]).unwrap();
        check(&recipe, &Solo::new()).unwrap();
        let setting = "run_dir=/proc/self/status/run".to_owned();
        let recipe = Recipe::parse("name = \"t\"", Path::new("t.toml"), &[setting]).unwrap();
        let error = check(&recipe, &Solo::new()).unwrap_err();
        assert!(error.to_string().contains("is not a folder"), "{error}");
        assert_eq!(error.downcast_ref::<SickMachine>().unwrap().exit_code(), ExitCode::Usage);
    }

    #[test]
    fn facts_of_another_build_are_read_as_far_as_they_are_known() {
        let facts: RankFacts = serde_json::from_str(r#"{"rank":3,"unknown":{"a":1},"host":"b"}"#).unwrap();
        assert_eq!((facts.rank, facts.host.as_str(), facts.hashes.len()), (3, "b", 0));
    }
}
