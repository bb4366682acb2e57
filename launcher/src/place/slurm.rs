//! The Slurm allocation that this process is in, from the variables that `sbatch` and `salloc` set.
//!
//! A node takes a rank per GPU that the job has there; without GPUs, a rank per task that the job asked for; else one.

use std::env;
use std::num::NonZeroUsize;
use std::process::Command;

use tercet_configs::ExitCode;

use crate::exit::Fail;
use crate::place::Host;

fn job_id() -> Option<String> {
    env::var("SLURM_JOB_ID").ok().filter(|id| !id.is_empty())
}

/// The nodes of the allocation; `None` outside any.
///
/// # Errors
/// [`ExitCode::Machine`] if `scontrol` cannot be run or has no answer.
pub fn allocation() -> Result<Option<Vec<Host>>, Fail> {
    let variable = |name: &str| env::var(name).ok().filter(|value| !value.is_empty());
    let (Some(job), Some(list)) = (job_id(), variable("SLURM_JOB_NODELIST")) else { return Ok(None) };
    let names = host_names(&list).map_err(|what| {
        let message = format!("job {job}: `scontrol show hostnames {list}`: {what}; is Slurm's bin folder in PATH?");
        Fail::new(ExitCode::Machine, message)
    })?;
    let ranks = ranks_per_node(names.len(), variable);
    Ok(Some(names.into_iter().zip(ranks).map(|(name, slots)| Host { name, slots }).collect()))
}

/// `gpu[01-03]` written out.
fn host_names(list: &str) -> Result<Vec<String>, String> {
    let output = Command::new("scontrol").args(["show", "hostnames", list]).output().map_err(|e| e.to_string())?;
    let names: Vec<String> = String::from_utf8_lossy(&output.stdout).lines().map(str::to_owned).collect();
    match output.status.success() && !names.is_empty() {
        true => Ok(names),
        false => Err(String::from_utf8_lossy(&output.stderr).trim().to_owned()),
    }
}

fn ranks_per_node(num_nodes: usize, variable: impl Fn(&str) -> Option<String>) -> Vec<NonZeroUsize> {
    let gpus = variable("SLURM_GPUS_PER_NODE").and_then(|text| num_gpus(&text));
    if let Some(gpus) = gpus.or_else(|| variable("SLURM_GPUS_ON_NODE").and_then(|text| num_gpus(&text))) {
        return vec![gpus; num_nodes];
    }
    let asked = ["SLURM_NTASKS", "SLURM_NTASKS_PER_NODE"].iter().any(|name| variable(name).is_some());
    let tasks = variable("SLURM_TASKS_PER_NODE").filter(|_| asked).and_then(|text| tasks_per_node(&text));
    tasks.filter(|tasks| tasks.len() == num_nodes).unwrap_or_else(|| vec![NonZeroUsize::MIN; num_nodes])
}

/// `8`, `a100:8`, or `a100:4,a800:4`.
fn num_gpus(text: &str) -> Option<NonZeroUsize> {
    let counts = text.split(',').map(|part| part.rsplit(':').next().and_then(|count| count.parse::<usize>().ok()));
    counts.sum::<Option<usize>>().and_then(NonZeroUsize::new)
}

/// `8(x2),4` is 8, 8, 4.
fn tasks_per_node(text: &str) -> Option<Vec<NonZeroUsize>> {
    let mut tasks = Vec::new();
    for part in text.split(',') {
        let (count, nodes) = match part.split_once("(x") {
            Some((count, nodes)) => (count, nodes.strip_suffix(')')?.parse().ok()?),
            None => (part, 1),
        };
        let count: NonZeroUsize = count.parse().ok()?;
        tasks.extend(std::iter::repeat_n(count, nodes));
    }
    Some(tasks)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ranks(num_nodes: usize, set: &[(&str, &str)]) -> Vec<usize> {
        let variable = |name: &str| set.iter().find(|(own, _)| *own == name).map(|(_, value)| (*value).to_owned());
        ranks_per_node(num_nodes, variable).into_iter().map(NonZeroUsize::get).collect()
    }

    #[test]
    fn a_rank_for_every_gpu_else_for_every_task() {
        let tasks = [("SLURM_NTASKS", "20"), ("SLURM_TASKS_PER_NODE", "8(x2),4")];
        assert_eq!(ranks(3, &tasks), [8, 8, 4]);
        assert_eq!(ranks(2, &[("SLURM_GPUS_PER_NODE", "a100:8"), ("SLURM_GPUS_ON_NODE", "8")]), [8, 8]);
        assert_eq!(ranks(2, &[("SLURM_GPUS_ON_NODE", "4"), ("SLURM_NTASKS_PER_NODE", "1")]), [4, 4]);
        assert_eq!(ranks(1, &[("SLURM_GPUS_PER_NODE", "a100:4,a800:4")]), [8]);
        // Slurm counts cores as tasks where nobody asked for tasks.
        assert_eq!(ranks(2, &[("SLURM_TASKS_PER_NODE", "128(x2)")]), [1, 1]);
        // What is not understood is one rank, not a guess.
        assert_eq!(ranks(2, &[("SLURM_NTASKS", "4"), ("SLURM_TASKS_PER_NODE", "2(y2)")]), [1, 1]);
    }
}
