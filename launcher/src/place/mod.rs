//! Where ranks run: on this machine, on the hosts of a file, or on the nodes of a Slurm allocation.
//!
//! [`Placement::find`] says where, [`crate::start`] makes the command line of it, and [`lost`] finds out which hosts
//! have gone. [`machine`] decides for all of them when two names are of one machine, and [`gpus`] how many ranks fit
//! this one.
//!
//! Limits: one kind of node. An allocation whose nodes have different numbers of GPUs needs `--hosts`.

mod find;
pub mod gpus;
mod hostfile;
mod lost;
mod machine;
mod placement;
pub mod programs;
mod slurm;

pub use lost::no_such_job;
pub use placement::{Launch, Placement};
