//! What the launcher and the ranks say to each other, each thing defined once.
//!
//! [`Command`] is what a rank is told: the arguments of a worker's command ([`args`]) as a struct and as the words of a
//! command line. The launcher's own commands are these arguments and what only it asks for, such as the number of
//! ranks. [`says`] is what a rank answers: JSON on its standard output, and in files that others read. The reports of
//! `tercet bench` and `tercet-test-gpu`, which other programs read, are there, too.
//!
//! What else is expected of a rank:
//! - only rank 0 writes to standard output, but for signs of life: for `train --events` one [`says::Event`] a line, for
//!   `step`, `bench`, `doctor`, `measure`, `probe` and a `--dry-run` one JSON object, for the others what the user
//!   should see;
//! - an error is said once, on standard error, as `tercet-worker: rank 3/8 gpu07: …`, and the process ends with one of
//!   [`tercet_configs::ExitCode`]'s codes (through `MPI_Abort` where there are several ranks);
//! - with `encode --input -`, rank 0 has the standard input; the other ranks have none.
//!
//! Not here: what any of it means, and anything that needs tensors.

#![cfg_attr(test, allow(clippy::unwrap_used))]

pub mod args;
mod command;
pub mod says;
mod words;

pub use command::Command;
