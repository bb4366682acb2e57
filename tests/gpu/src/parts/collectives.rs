//! NCCL on this machine's GPUs, a rank for each: every operation with its result, and the bandwidth of a large sum.

use std::process::Command;
use std::time::Instant;

use anyhow::{Context, ensure};

use crate::found::Found;
use crate::rank::DONE;
use crate::stage::Stage;

pub fn run(stage: &Stage, found: &mut Found, until: Instant) -> anyhow::Result<()> {
    let ranks = stage.num_gpus;
    let ended = stage.run(command("operations", ranks)?, until)?;
    let done = ended.succeeded()?.stdout.matches(DONE).count();
    ensure!(done == ranks, "{done} of {ranks} ranks were done: {}", ended.complaint());
    found.figure("ranks", ranks);
    found.line(format!(
        "every operation, of every type, on {ranks} rank{}: as computed by hand; the same bits on every rank and again\n",
        if ranks == 1 { "" } else { "s" }
    ));
    if ranks == 1 {
        found.left_out("bandwidth between GPUs: there is one GPU");
        return Ok(());
    }
    let ended = stage.run(command("bandwidth", ranks)?, until)?;
    let lines: Vec<&str> = ended.succeeded()?.stdout.lines().filter(|line| line.contains("GB/s")).collect();
    ensure!(lines.len() == ranks, "{} of {ranks} ranks have told their bandwidth", lines.len());
    lines.iter().for_each(|line| found.line(format!("- {line}")));
    found.figures.all_reduce_bytes_per_sec = lines.iter().filter_map(|line| bytes_per_sec(line)).collect();
    Ok(())
}

/// The rate of a rank's line, `…: 231.4 GB/s` (cluster/tests/nccl/operations.rs).
fn bytes_per_sec(line: &str) -> Option<f64> {
    Some(1e9 * line.strip_suffix("GB/s")?.rsplit(':').next()?.trim().parse::<f64>().ok()?)
}

/// This program as ranks, of that number.
fn command(part: &str, ranks: usize) -> anyhow::Result<Command> {
    let own = std::env::current_exe().context("finding this program")?;
    let mut command = if ranks == 1 { Command::new(&own) } else { Command::new("mpirun") };
    if ranks > 1 {
        command.args(["-n", &ranks.to_string(), "--oversubscribe", "--bind-to", "none"]);
        command.args([
            "--mca",
            "btl",
            "self,vader",
            "--mca",
            "plm",
            "^slurm,tm,lsf,alps",
            "--mca",
            "ras",
            "^slurm,tm,lsf,gridengine,alps",
        ]);
        // Nothing is started with it, but without any, as in containers, mpirun does not begin.
        command.args(["--mca", "plm_rsh_agent", "/bin/sh"]);
        command.env("OMPI_ALLOW_RUN_AS_ROOT", "1").env("OMPI_ALLOW_RUN_AS_ROOT_CONFIRM", "1").arg(&own);
    }
    command.args(["rank", part]);
    Ok(command)
}

#[cfg(test)]
#[test]
fn a_ranks_rate_is_read_from_its_line() {
    assert_eq!(bytes_per_sec("rank 1: all-reduce of 256 MiB over 8 GPUs: 229.5 GB/s"), Some(229.5e9));
    assert_eq!(bytes_per_sec("rank 1: GB/s"), None);
}
