//! `backend`: what carries tensors between ranks.

use serde::{Deserialize, Serialize};

/// What carries tensors between ranks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Backend {
    /// `solo` for a single rank; for several `nccl` where all of them compute on GPUs, `mpi` otherwise.
    #[default]
    Auto,
    /// NCCL over the memory of one GPU per rank; MPI brings the ranks together.
    Nccl,
    /// MPI over host memory.
    Mpi,
    /// One rank, no communication.
    Solo,
}
