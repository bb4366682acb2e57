//! What the whole-system tests share. The tests themselves are in tests/: each starts the built programs, with real MPI
//! ranks where several are asked for, on models and texts small enough to take a second.
//!
//! [`program`] runs `tercet`, which [`built`] has looked at, and looks after its processes; [`place`] is a folder of a
//! test's own with what commands read; [`lab`] is several hosts, with a Slurm if wanted; [`scene`] is a run to train, and
//! [`hold`] has it stand still; [`batch`] draws batches of token ids; [`tensors`] and [`compare`] look at what came out.
//!
//! Everything here fails by panicking: it is called by tests only.

#![allow(clippy::unwrap_used)]

pub mod batch;
pub mod built;
pub mod compare;
pub mod hold;
pub mod injury;
pub mod killer;
pub mod lab;
pub mod place;
pub mod program;
pub mod random;
pub mod ranks_agree;
pub mod scene;
pub mod shim;
pub mod slots;
pub mod tensors;
