//! Where ranks run: on this machine, on the hosts of a file, or on the nodes of a Slurm allocation.
//!
//! Hosts take ranks in order, each as many as it has slots, so that neighbours in rank are neighbours in the machine
//! room. [`crate::start`] makes the command line of it; [`lost`] finds out which hosts have gone.
//!
//! What is one machine is [`machine`]'s to say, for all of them.
//!
//! Limits: one kind of node. An allocation whose nodes have different numbers of GPUs needs `--hosts`.

mod hostfile;
mod lost;
mod machine;
mod slurm;

use std::collections::BTreeSet;
use std::env;
use std::num::NonZeroUsize;

use tercet_configs::ExitCode;

use crate::args::Ranks;
use crate::exit::Fail;
use crate::screen::Screen;
use crate::start;
pub use lost::no_such_job;
use machine::ThisMachine;

/// Where the ranks of one run are started.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Placement {
    launch: Launch,
    /// Empty on this machine alone.
    hosts: Vec<Host>,
    num_ranks: NonZeroUsize,
    /// Variables that `mpirun` is to have otherwise than this process, or, without a value, not at all.
    changes: Vec<(&'static str, Option<String>)>,
}

/// Who starts processes on the hosts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Launch {
    /// This machine alone.
    Here,
    /// Open MPI's remote shell agent, ssh unless the user has set another.
    RemoteShell,
    /// `srun` inside this process's allocation.
    Slurm,
}

/// A machine and the ranks it takes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Host {
    /// As the user or Slurm wrote it.
    pub name: String,
    /// Ranks at most.
    pub slots: NonZeroUsize,
}

impl Placement {
    /// What the command line and the environment ask for: `--hosts`, else the Slurm allocation that this process is in,
    /// else this machine. Without `-n` every slot, GPU or task gets a rank.
    ///
    /// # Errors
    /// [`ExitCode::Usage`] for a file of hosts or an allocation that cannot be used, more ranks than slots, or a launcher
    /// that is itself one of several ranks.
    pub fn find(asked: &Ranks) -> Result<Self, Fail> {
        let variable = |name: &str| env::var(name).ok();
        refuse_to_be_a_rank(variable)?;
        if let Some(file) = &asked.hosts {
            return Self::on(Launch::RemoteShell, hostfile::read(file)?, asked.ranks);
        }
        let has_srun = start::find_in_path("srun").is_some();
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
                Ok(Self::here(asked.ranks.unwrap_or_else(|| start::default_ranks(&screen))))
            }
        }
    }

    /// This machine alone.
    pub fn here(num_ranks: NonZeroUsize) -> Self {
        Self { launch: Launch::Here, hosts: Vec::new(), num_ranks, changes: Vec::new() }
    }

    /// Every slot of `hosts`, or only as many as are asked for.
    fn on(launch: Launch, hosts: Vec<Host>, asked: Option<NonZeroUsize>) -> Result<Self, Fail> {
        let num_slots = slots(&hosts);
        let what = format!("ranks, but {} hosts have {num_slots} slots", hosts.len());
        let refuse = |num_ranks: usize| Fail::new(ExitCode::Usage, format!("-n asks for {num_ranks} {what}"));
        let num_ranks = NonZeroUsize::new(num_slots).ok_or_else(|| refuse(0))?;
        let all = Self { launch, hosts, num_ranks, changes: Vec::new() };
        let asked = asked.unwrap_or(num_ranks);
        all.with_num_ranks(asked).ok_or_else(|| refuse(asked.get()))
    }

    /// World size.
    pub fn num_ranks(&self) -> NonZeroUsize {
        self.num_ranks
    }

    /// Who starts the processes.
    pub fn launch(&self) -> Launch {
        self.launch
    }

    /// What `mpirun` is to have in its environment otherwise than this process, or, without a value, not at all.
    pub fn changes(&self) -> &[(&'static str, Option<String>)] {
        &self.changes
    }

    /// Whether hosts have domains in their names, which Open MPI cuts off unless it is told not to.
    pub fn has_domains(&self) -> bool {
        self.hosts.iter().any(|host| host.name.contains('.') && !machine::is_address(&host.name))
    }

    /// The hosts that take ranks, in the order of the ranks, with how many each takes; empty on this machine alone.
    pub fn shares(&self) -> Vec<(&str, usize)> {
        let mut left = self.num_ranks.get();
        let share = |host: &'_ Host| {
            let ranks = host.slots.get().min(left);
            left -= ranks;
            ranks
        };
        let ranks: Vec<usize> = self.hosts.iter().map(share).collect();
        self.hosts.iter().map(|host| host.name.as_str()).zip(ranks).filter(|(_, ranks)| *ranks > 0).collect()
    }

    /// The same hosts with fewer ranks, or as many as there are slots; `None` if there are not so many slots.
    pub fn with_num_ranks(&self, num_ranks: NonZeroUsize) -> Option<Self> {
        let fits = self.launch == Launch::Here || num_ranks.get() <= slots(&self.hosts);
        fits.then(|| Self { num_ranks, ..self.clone() })
    }
}

fn slots(hosts: &[Host]) -> usize {
    hosts.iter().map(|host| host.slots.get()).sum()
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

    fn count(n: usize) -> NonZeroUsize {
        NonZeroUsize::new(n).unwrap()
    }

    fn hosts(slots: &[usize]) -> Vec<Host> {
        let host = |(i, slots): (usize, &usize)| Host { name: format!("n{}", i + 1), slots: count(*slots) };
        slots.iter().enumerate().map(host).collect()
    }

    #[test]
    fn hosts_are_filled_in_order() {
        let all = Placement::on(Launch::RemoteShell, hosts(&[4, 2, 4]), None).unwrap();
        assert_eq!(all.num_ranks().get(), 10);
        assert_eq!(all.shares(), [("n1", 4), ("n2", 2), ("n3", 4)]);
        let five = all.with_num_ranks(count(5)).unwrap();
        assert_eq!(five.shares(), [("n1", 4), ("n2", 1)]);
        assert_eq!(five.with_num_ranks(count(10)), Some(all.clone()));
        assert_eq!(all.with_num_ranks(count(11)), None);
    }

    #[test]
    fn more_ranks_than_slots_are_refused() {
        let refused = Placement::on(Launch::RemoteShell, hosts(&[4, 4]), Some(count(9))).unwrap_err();
        assert!(refused.to_string().contains("-n asks for 9 ranks, but 2 hosts have 8 slots"), "{refused}");
    }

    #[test]
    fn this_machine_takes_any_number() {
        let here = Placement::here(count(2));
        assert_eq!(here.shares(), []);
        assert_eq!(here.with_num_ranks(count(64)).unwrap().num_ranks().get(), 64);
    }

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
