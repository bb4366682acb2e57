//! A first look: are there GPUs here, and does libtorch see them?

use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use tercet_protocol::says::probe;

use crate::programs::Programs;

/// What the look may take: loading libtorch's GPU libraries from a slow disk takes a minute.
const LIMIT: Duration = Duration::from_secs(120);

/// GPUs that libtorch sees, and the free bytes of the first.
///
/// # Errors
/// There is none, in a sentence.
pub fn gpus(programs: &Programs) -> anyhow::Result<(usize, u64)> {
    let until = Instant::now() + LIMIT;
    // Texts of one token are passed over: this only looks.
    let ended = programs.run(programs.worker(["probe", "--lens", "1"]), until)?;
    let report: probe::Report = ended.json().context("tercet-worker does not start")?;
    let listed = listed();
    if report.num_gpus > 0 {
        let free = report.free_bytes.context("tercet-worker probe does not tell its GPU's memory")?;
        return Ok((report.num_gpus, free));
    }
    if listed == 0 {
        bail!("there is no GPU here: nvidia-smi lists none and libtorch sees none. Nothing was tried");
    }
    let doctor = programs.run(programs.tercet(["doctor"]), until)?;
    bail!(
        "nvidia-smi lists {listed} GPUs and libtorch sees none, so nothing was tried. `tercet doctor` says:\n{}{}",
        doctor.stdout,
        doctor.stderr
    );
}

/// The number of GPUs that `nvidia-smi` lists.
fn listed() -> usize {
    let listed = Command::new("nvidia-smi").arg("-L").output();
    listed.map_or(0, |output| String::from_utf8_lossy(&output.stdout).lines().filter(|l| l.starts_with("GPU ")).count())
}

/// Whether a GPU takes one process at a time only.
pub fn is_exclusive() -> bool {
    let asked = Command::new("nvidia-smi").args(["--query-gpu=compute_mode", "--format=csv,noheader"]).output();
    asked.is_ok_and(|output| String::from_utf8_lossy(&output.stdout).contains("Exclusive"))
}
