//! One training process per device.
//!
//! The rooms, from the outside in; each imports what stands below it and never what stands above:
//!
//! - [`commands`]: what `tercet-worker` can be asked to do;
//! - [`run`]: a training run around its steps; it keeps a [`record`] and writes [`checkpoint`]s, after a [`preflight`];
//! - [`retrieval`]: texts by a model, a corpus as an index, ranked lists from it;
//! - [`agreement`]: what ranks agree on before they compute;
//! - [`step`]: one training step and nothing else;
//! - [`scoring`]: scores of queries against the passages of all ranks, on a ring;
//! - [`model`]: texts in, representations out; its files;
//! - [`ops`]: the operations of the encoder, each once for every device;
//! - [`machine`]: cores, memory, devices and clocks;
//! - [`tensors`]: tensors over collectives and from the host to a device, and the calls into libtorch that `tch` does
//!   not bind;
//! - [`files`]: what commands read and write.
//!
//! Not here: starting ranks (the launcher), choosing rows (the sampler), what carries tensors (the cluster crate).

#![cfg_attr(test, allow(clippy::unwrap_used))]

pub mod agreement;
pub mod checkpoint;
pub mod commands;
pub mod errors;
pub mod files;
pub mod machine;
pub mod model;
pub mod ops;
pub mod preflight;
pub mod record;
pub mod retrieval;
pub mod run;
pub mod scoring;
pub mod step;
pub mod tensors;
