//! What can go wrong between ranks, and the checks of arguments that all backends share.

use std::fmt;

use tercet_configs::ExitCode;

use crate::buffer::{Buffer, BufferMut, Element};

/// The rank that reports; it begins every message: `rank 3/8 gpu07`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// The rank, from 0.
    pub rank: usize,
    /// The number of ranks of the job.
    pub world_size: usize,
    /// The machine's name.
    pub host: String,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "rank {}/{} {}", self.rank, self.world_size, self.host)
    }
}

/// A job that could not be joined, or an operation that failed.
///
/// After an operation has failed, the ranks are no longer in step: only [`Collective::abort`](crate::Collective::abort)
/// remains.
#[derive(Debug, thiserror::Error)]
pub enum CollectiveError {
    /// The process could not join a job.
    #[error("cannot join the job: {0}")]
    Join(String),
    /// The process was started in a way that does not let it join one.
    #[error("cannot join the job: {0}")]
    Started(String),
    /// Buffers or counts that do not fit together, on this rank or between two.
    #[error("{place}: {operation}: {problem}")]
    Mismatch {
        /// The rank that noticed.
        place: Place,
        /// The trait method.
        operation: &'static str,
        /// What was compared, with its unit; what was expected, and what was found.
        problem: String,
    },
    /// An operation that a peer, a network or a device did not complete.
    #[error("{place}: {operation}: {problem}")]
    Failed {
        /// The rank that noticed.
        place: Place,
        /// The trait method; `join` and `leave` are the job's beginning and end.
        operation: &'static str,
        /// The words of the library below.
        problem: String,
    },
}

impl CollectiveError {
    /// The exit code of a process that ends with this error.
    pub fn exit_code(&self) -> ExitCode {
        match self {
            Self::Started(_) => ExitCode::Usage,
            Self::Join(_) | Self::Mismatch { .. } | Self::Failed { .. } => ExitCode::Machine,
        }
    }
}

/// Checks one operation's arguments for a backend.
pub(crate) struct Check<'a> {
    pub place: &'a Place,
    pub operation: &'static str,
}

impl Check<'_> {
    /// Checks that `got` is `expected`.
    pub fn equal<T: PartialEq + fmt::Debug>(&self, what: &str, expected: T, got: T) -> Result<(), CollectiveError> {
        if expected == got { Ok(()) } else { Err(self.mismatch(what, format!("{expected:?}"), format!("{got:?}"))) }
    }

    /// Checks that `root` is a rank of the world.
    pub fn root(&self, root: usize) -> Result<(), CollectiveError> {
        let world_size = self.place.world_size;
        if root < world_size {
            Ok(())
        } else {
            Err(self.mismatch("root", format!("a rank below {world_size}"), root.to_string()))
        }
    }

    /// Checks that two buffers of one operation hold the same type.
    pub fn same_element(&self, send: &Buffer, recv: &BufferMut) -> Result<(), CollectiveError> {
        self.equal("element type of the receive buffer", send.element(), recv.element())
    }

    /// Checks that two buffers of one operation lie in the same memory.
    pub fn same_memory(&self, send: &Buffer, recv: &BufferMut) -> Result<(), CollectiveError> {
        self.equal("memory of the receive buffer", send.memory(), recv.memory())
    }

    /// Checks that the host can add and compare such elements.
    pub fn reducible(&self, element: Element) -> Result<(), CollectiveError> {
        match element {
            Element::BF16 => Err(self.mismatch("element type", "one that the host can reduce".into(), "BF16".into())),
            _ => Ok(()),
        }
    }

    /// Checks that each rank has a count, that `part` is this rank's count, and `whole` the sum of all.
    pub fn parts(&self, counts: &[usize], part: usize, whole: usize) -> Result<(), CollectiveError> {
        self.equal("number of counts", self.place.world_size, counts.len())?;
        self.equal("elements in this rank's part", counts[self.place.rank], part)?;
        self.whole(counts, whole)
    }

    /// Checks that each rank has a count, and that `whole` is the sum of all.
    pub fn whole(&self, counts: &[usize], whole: usize) -> Result<(), CollectiveError> {
        self.equal("number of counts", self.place.world_size, counts.len())?;
        self.equal("elements in the buffer of all parts", counts.iter().sum(), whole)
    }

    fn mismatch(&self, what: &str, expected: String, got: String) -> CollectiveError {
        let problem = format!("{what}: expected {expected}, got {got}");
        CollectiveError::Mismatch { place: self.place.clone(), operation: self.operation, problem }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_names_rank_host_operation_and_both_numbers() {
        let place = Place { rank: 3, world_size: 8, host: "gpu07".into() };
        let check = Check { place: &place, operation: "ring_exchange" };
        assert_eq!(
            check.equal("bytes from rank 2", 64, 63).unwrap_err().to_string(),
            "rank 3/8 gpu07: ring_exchange: bytes from rank 2: expected 64, got 63"
        );
        assert!(check.root(7).is_ok());
        assert!(check.root(8).unwrap_err().to_string().ends_with("root: expected a rank below 8, got 8"));
    }

    #[test]
    fn parts_are_checked_against_counts() {
        let place = Place { rank: 1, world_size: 2, host: "h".into() };
        let check = Check { place: &place, operation: "all_gather" };
        assert!(check.parts(&[2, 0], 0, 2).is_ok());
        for (counts, part, whole) in [(&[2usize][..], 0, 2), (&[2, 1], 0, 3), (&[2, 1], 1, 2)] {
            assert!(check.parts(counts, part, whole).is_err(), "{counts:?} {part} {whole}");
        }
    }
}
