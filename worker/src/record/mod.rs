//! What a run leaves behind: metrics, events, logs, signs of life.

pub(crate) mod beat;
pub(crate) mod figures;
pub(crate) mod fitted;
pub(crate) mod goodput;
pub(crate) mod history;
pub(crate) mod idle;
pub mod log;
pub(crate) mod recorder;
pub(crate) mod shares;
pub(crate) mod spikes;
pub(crate) mod step_record;
pub(crate) mod tensorboard;
