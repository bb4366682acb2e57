//! The shared code of the whole-system tests. The tests themselves are in tests/. Each starts the built programs, with
//! real MPI ranks if it needs several, on models and texts small enough to take a second.
//!
//! [`program`] runs `tercet` and watches its processes, and [`slots`] bounds the number of ranks at a time. [`place`]
//! is a folder of a test's own with the files that commands read. [`lab`] has several hosts, with a Slurm if wanted.
//! [`scene`] is a run to train, [`hold`] makes it stand still, and [`injury`], [`killer`] and [`shim`] hurt it.
//! [`stand_in`] is a CUDA device that is none, and [`native`] compiles what tests load. [`batch`] draws batches of
//! token ids; [`tensors`], [`compare`] and [`ranks_agree`] examine results.
//!
//! Everything here fails by panicking, because only tests call it.

#![allow(clippy::unwrap_used)]

pub mod batch;
pub mod built;
pub mod compare;
pub mod hold;
pub mod injury;
pub mod killer;
pub mod lab;
pub mod library;
pub mod native;
pub mod place;
pub mod program;
pub mod random;
pub mod ranks_agree;
pub mod scene;
pub mod shim;
pub mod slots;
pub mod stand_in;
pub mod tensors;
pub mod text_scene;
