//! One training process per device.
//!
//! A batch walks in a straight line: [`step::compute_gradients`] is one step; [`sub_batch`] and [`passes`] are how it is
//! encoded, [`scoring`] how it is scored over the ranks, [`loss`] what is learnt from it, [`false_negatives`] what is not,
//! [`reduce`] how the gradient is summed; [`watch`] looks on where something has to be found. [`train`] repeats steps and
//! records them, [`checkpoint`] keeps them, [`tasks`] are the things that a trained model is used for. [`budget`] fits a
//! step into memory, [`phase`] tells where its time goes, [`preflight`] whether the machines are fit for it.
//!
//! Not here: starting ranks (the launcher), choosing rows (the sampler), what carries tensors (the cluster crate).

#![cfg_attr(test, allow(clippy::unwrap_used))]

pub mod allocator;
pub mod budget;
pub mod checkpoint;
pub mod cores;
pub mod device;
pub mod encode;
pub mod exchange;
pub mod exit;
pub mod false_negatives;
pub mod kernels;
pub mod libtorch;
pub mod loss;
pub mod matmul;
pub mod meter;
pub mod model;
pub mod optimizer;
pub mod passes;
pub mod phase;
pub mod preflight;
pub mod reduce;
pub mod representation;
pub mod scoring;
pub mod step;
pub mod sub_batch;
pub mod tasks;
pub mod train;
pub mod two_way;
pub mod watch;
