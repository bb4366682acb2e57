//! Joins the job that this process was started in.

use std::process;
use std::time::Duration;

use tercet_configs::Backend;

use crate::collective::Collective;
use crate::error::CollectiveError;
use crate::mpi::{MAX_MESSAGE_BYTES, Mpi};
use crate::nccl::Nccl;
use crate::panic::end_on_panic;
use crate::solo::Solo;
use crate::values::all_ranks;

/// Joins the job with the recipe's backend: [`meet`] and [`Met::connect`] in one, where nothing is to be agreed on
/// before.
///
/// # Errors
/// Those of both.
pub fn connect(backend: Backend, on_gpu: bool, deadline: Duration) -> Result<Box<dyn Collective>, CollectiveError> {
    meet(backend)?.connect(backend, on_gpu, deadline)
}

/// The ranks of a job over host memory, before it is said what carries tensors.
pub enum Met {
    /// One rank.
    Alone(Solo),
    /// Ranks that MPI has brought together.
    Several(Mpi),
}

/// Brings the ranks of this process's job together, as far as `backend` has them be several. Every rank calls it once,
/// early, on the thread that will call the collectives. No GPU is touched.
///
/// [`Backend::Auto`] is `solo` for a single rank. It reads the number of ranks from the variables that the launcher has
/// set: `OMPI_COMM_WORLD_SIZE` (Open MPI's mpirun) or `PMI_SIZE` (MPICH's mpirun, `srun --mpi=pmi2`), else `PMIX_RANK`
/// with `SLURM_STEP_NUM_TASKS` (`srun --mpi=pmix`).
///
/// # Errors
/// [`CollectiveError::Started`]: several ranks were started, but MPI cannot see them as one job.
/// [`CollectiveError::Join`]: MPI was joined before.
pub fn meet(backend: Backend) -> Result<Met, CollectiveError> {
    let launched = Launched::read(|name| std::env::var(name).ok());
    let mpi = match backend {
        Backend::Mpi | Backend::Nccl => true,
        Backend::Solo => false,
        Backend::Auto => launched.is_several()?,
    };
    if !mpi {
        let solo = Solo::new();
        end_on_panic(solo.place(), |code| process::exit(code.code()));
        return Ok(Met::Alone(solo));
    }
    let ranks = Mpi::join(MAX_MESSAGE_BYTES)?;
    launched.check_world_size(ranks.world_size())?;
    Ok(Met::Several(ranks))
}

impl Met {
    /// The ranks, over host memory.
    pub fn ranks(&self) -> &dyn Collective {
        match self {
            Self::Alone(solo) => solo,
            Self::Several(ranks) => ranks,
        }
    }

    /// What carries the ranks' tensors by `backend`. Every rank calls it. Dropping the result leaves the job in good
    /// order and waits until every rank does so. `deadline` is the longest time that one operation on GPU memory may
    /// take. [`Backend::Auto`] is, for several ranks, `nccl` if all of them compute on a GPU (`on_gpu`), and `mpi`
    /// otherwise.
    ///
    /// # Errors
    /// Those of [`Nccl::join`], if NCCL is used.
    pub fn connect(
        self,
        backend: Backend,
        on_gpu: bool,
        deadline: Duration,
    ) -> Result<Box<dyn Collective>, CollectiveError> {
        let ranks = match self {
            Self::Alone(solo) => return Ok(Box::new(solo)),
            Self::Several(ranks) => ranks,
        };
        let nccl = match backend {
            Backend::Nccl => true,
            Backend::Auto => all_ranks(&ranks, on_gpu)?,
            Backend::Mpi | Backend::Solo => false,
        };
        if nccl { Ok(Box::new(Nccl::join(ranks, deadline)?)) } else { Ok(Box::new(ranks)) }
    }
}

/// The number of ranks that the launcher says it started, and whether it told MPI.
#[derive(Debug, PartialEq, Eq)]
struct Launched {
    ranks: Option<usize>,
    by_mpi: bool,
}

impl Launched {
    fn read(variable: impl Fn(&str) -> Option<String>) -> Self {
        let number = |name: &str| variable(name).and_then(|value| value.parse::<usize>().ok());
        let from_mpi = number("OMPI_COMM_WORLD_SIZE").or_else(|| number("PMI_SIZE"));
        Self {
            ranks: from_mpi.or_else(|| number("SLURM_STEP_NUM_TASKS")),
            by_mpi: from_mpi.is_some() || variable("PMIX_RANK").is_some(),
        }
    }

    fn is_several(&self) -> Result<bool, CollectiveError> {
        let several = self.ranks.is_some_and(|ranks| ranks > 1);
        if several && !self.by_mpi {
            return Err(CollectiveError::Started(format!(
                "srun started {} tasks, but not as one MPI job: use srun --mpi=pmix, or mpirun; \
                 for independent single ranks set backend = \"solo\"",
                self.ranks.unwrap_or_default()
            )));
        }
        Ok(several)
    }

    /// An MPI library that does not understand the launcher sees a world of one rank for each process.
    fn check_world_size(&self, world_size: usize) -> Result<(), CollectiveError> {
        match self.ranks {
            Some(ranks) if ranks != world_size => Err(CollectiveError::Started(format!(
                "the launcher started {ranks} ranks, but MPI sees {world_size}: start Tercet with the mpirun (or the \
                 srun --mpi=…) of the MPI library that it was built with"
            ))),
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn launched(variables: &[(&str, &str)]) -> Launched {
        Launched::read(|name| variables.iter().find(|(n, _)| *n == name).map(|(_, value)| (*value).to_owned()))
    }

    #[test]
    fn a_process_on_its_own_is_solo() {
        assert!(!launched(&[]).is_several().unwrap());
        assert!(!launched(&[("OMPI_COMM_WORLD_SIZE", "1")]).is_several().unwrap());
        // In a batch script, outside any step.
        assert!(!launched(&[("SLURM_NTASKS", "8")]).is_several().unwrap());
    }

    #[test]
    fn mpirun_and_srun_start_several() {
        assert!(launched(&[("OMPI_COMM_WORLD_SIZE", "2"), ("SLURM_STEP_NUM_TASKS", "1")]).is_several().unwrap());
        assert!(launched(&[("PMI_SIZE", "4")]).is_several().unwrap());
        assert!(launched(&[("PMIX_RANK", "0"), ("SLURM_STEP_NUM_TASKS", "4")]).is_several().unwrap());
    }

    #[test]
    fn several_ranks_that_cannot_meet_are_refused() {
        let message = launched(&[("SLURM_STEP_NUM_TASKS", "4")]).is_several().unwrap_err().to_string();
        assert!(message.contains("4 tasks") && message.contains("--mpi=pmix"), "{message}");
        let message = launched(&[("PMI_SIZE", "4")]).check_world_size(1).unwrap_err().to_string();
        assert!(message.contains("4 ranks, but MPI sees 1"), "{message}");
        assert!(launched(&[]).check_world_size(1).is_ok());
    }
}
