//! What the command line and the environment ask for: `--hosts`, the Slurm allocation that this process is in, or this
//! machine.

use std::collections::BTreeSet;
use std::env;

use tercet_configs::{DeviceChoice, ExitCode};

use super::machine::ThisMachine;
use super::placement::{Launch, Placement};
use super::{gpus, hostfile, programs, slurm};
use crate::args::Ranks;
use crate::exit::Fail;
use crate::screen::Screen;

impl Placement {
    /// What the command line and the environment ask for: `--hosts`, else the Slurm allocation that this process is in,
    /// else this machine. Without `-n` every slot, GPU or task gets a rank; GPUs count only if ranks are to compute on
    /// them.
    ///
    /// # Errors
    /// [`ExitCode::Usage`] for a file of hosts or an allocation that cannot be used, more ranks than slots, or a
    /// launcher that is itself one of several ranks.
    pub fn find(asked: &Ranks, device: DeviceChoice) -> Result<Self, Fail> {
        let counts = |name: &str| device != DeviceChoice::Cpu || !is_of_gpus(name);
        let variable = |name: &str| env::var(name).ok().filter(|_| counts(name));
        refuse_to_be_a_rank(variable)?;
        if let Some(file) = &asked.hosts {
            return Self::on(Launch::RemoteShell, hostfile::read(file)?, asked.ranks);
        }
        let has_srun = programs::find_in_path("srun").is_some();
        let around = slurm::Surroundings { variable: &variable, this: ThisMachine::new(), has_srun };
        let (found, words) = slurm::find(asked.ranks, &around)?;
        let screen = Screen::new();
        words.iter().for_each(|word| screen.say(&format!("warning: {word}\n")));
        match found {
            slurm::Found::Nodes(hosts, changes) => Ok(Self { changes, ..Self::on(Launch::Slurm, hosts, asked.ranks)? }),
            slurm::Found::Here(ranks) => Ok(Self::here(asked.ranks.unwrap_or(ranks))),
            slurm::Found::Outside => {
                if let Some(word) = other_allocation(variable, |file| std::fs::read_to_string(file).ok()) {
                    screen.say(&format!("warning: {word}\n"));
                }
                Ok(Self::here(asked.ranks.unwrap_or_else(|| gpus::default_ranks(device, &screen))))
            }
        }
    }
}

/// Whether the variable tells of a Slurm job's GPUs.
fn is_of_gpus(variable: &str) -> bool {
    let of_gpus = ["SLURM_GPUS", "SLURM_JOB_GPUS", "SLURM_STEP_GPUS"];
    of_gpus.iter().any(|start| variable.starts_with(start))
}

/// What is to be said of several hosts that PBS or LSF has given: they are used only if they are named.
fn other_allocation(
    variable: impl Fn(&str) -> Option<String>,
    read: impl Fn(&str) -> Option<String>,
) -> Option<String> {
    let num_hosts = |hosts: String| hosts.split_whitespace().collect::<BTreeSet<_>>().len();
    let said = |num_hosts: usize, whose: &str, how: &str| {
        (num_hosts > 1).then(|| {
            format!("{whose} has given this job {num_hosts} hosts, but ranks run on this machine alone: {how} uses all of them")
        })
    };
    if let Some(hosts) = variable("PBS_NODEFILE").and_then(|file| read(&file)) {
        return said(num_hosts(hosts), "PBS (PBS_NODEFILE)", "--hosts \"$PBS_NODEFILE\"");
    }
    let how = "--hosts with a file that has each of them in a line";
    said(num_hosts(variable("LSB_HOSTS")?), "LSF (LSB_HOSTS)", how)
}

/// Started once per rank, every launcher would start all ranks.
fn refuse_to_be_a_rank(variable: impl Fn(&str) -> Option<String>) -> Result<(), Fail> {
    let sizes = [("mpirun", "OMPI_COMM_WORLD_SIZE"), ("mpirun", "PMI_SIZE"), ("srun", "SLURM_STEP_NUM_TASKS")];
    for (starter, size) in sizes {
        if variable(size).and_then(|tasks| tasks.parse::<usize>().ok()).is_some_and(|tasks| tasks > 1) {
            return Err(Fail::new(
                ExitCode::Usage,
                format!(
                    "{starter} has started tercet several times ({size}), but tercet starts the ranks itself: start it \
                     once, without {starter}; or start the ranks yourself with `{starter} … tercet-worker train RECIPE`"
                ),
            ));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn several_hosts_of_pbs_or_lsf_are_told_of() {
        let told = |name: &'static str, value: &'static str, file: &'static str| {
            let read = |path: &str| (path == "nodes").then(|| file.to_owned());
            other_allocation(|asked| (asked == name).then(|| value.to_owned()), read)
        };
        assert!(told("PBS_NODEFILE", "nodes", "a\na\nb\n").unwrap().contains("given this job 2 hosts"));
        assert!(told("LSB_HOSTS", "a a b c", "").unwrap().contains("LSF (LSB_HOSTS) has given this job 3 hosts"));
        assert_eq!(told("PBS_NODEFILE", "nodes", "a\na\n"), None);
        assert_eq!(told("PBS_NODEFILE", "gone", ""), None);
        assert_eq!(told("LSB_HOSTS", "a a", ""), None);
        assert_eq!(told("PATH", "/bin", ""), None);
    }

    #[test]
    fn a_launcher_that_is_a_rank_is_refused() {
        let started = |name: &'static str, value: &'static str| {
            refuse_to_be_a_rank(move |asked| (asked == name).then(|| value.to_owned()))
        };
        assert!(started("SLURM_STEP_NUM_TASKS", "8").unwrap_err().to_string().contains("srun has started tercet"));
        assert!(started("OMPI_COMM_WORLD_SIZE", "2").unwrap_err().to_string().contains("without mpirun"));
        // A shell that `srun --pty` started is one task.
        started("SLURM_STEP_NUM_TASKS", "1").unwrap();
        started("PATH", "/bin").unwrap();
    }
}
