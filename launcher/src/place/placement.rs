//! Hosts, and how many ranks each of them takes.
//!
//! Hosts take ranks in order, each as many as it has slots, so that neighbours in rank are neighbours in the machine
//! room.

use std::num::NonZeroUsize;

use tercet_configs::ExitCode;

use super::machine::is_address;
use crate::exit::Fail;

/// Where the ranks of one run are started.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Placement {
    pub(super) launch: Launch,
    /// Empty on this machine alone.
    pub(super) hosts: Vec<Host>,
    pub(super) num_ranks: NonZeroUsize,
    /// Variables that `mpirun` gets with another value than this process has, or, without a value, does not get.
    pub(super) changes: Vec<(&'static str, Option<String>)>,
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
    /// The largest number of ranks.
    pub slots: NonZeroUsize,
}

impl Placement {
    /// This machine alone.
    pub fn here(num_ranks: NonZeroUsize) -> Self {
        Self { launch: Launch::Here, hosts: Vec::new(), num_ranks, changes: Vec::new() }
    }

    /// Every slot of `hosts`, or only as many as are asked for.
    pub(super) fn on(launch: Launch, hosts: Vec<Host>, asked: Option<NonZeroUsize>) -> Result<Self, Fail> {
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

    /// The variables that `mpirun` gets with another value than this process has, or, without a value, does not get.
    pub fn changes(&self) -> &[(&'static str, Option<String>)] {
        &self.changes
    }

    /// Whether hosts have domains in their names, which Open MPI cuts off unless it is told not to.
    pub fn has_domains(&self) -> bool {
        self.hosts.iter().any(|host| host.name.contains('.') && !is_address(&host.name))
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

    /// The same hosts with `num_ranks` ranks; `None` if they have fewer slots.
    pub fn with_num_ranks(&self, num_ranks: NonZeroUsize) -> Option<Self> {
        let fits = self.launch == Launch::Here || num_ranks.get() <= slots(&self.hosts);
        fits.then(|| Self { num_ranks, ..self.clone() })
    }
}

/// Ranks that they take together.
pub(super) fn slots(hosts: &[Host]) -> usize {
    hosts.iter().map(|host| host.slots.get()).sum()
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
}
