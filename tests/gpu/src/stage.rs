//! What all parts share: the machine, the programs, the sizes, a folder to work in.

use std::path::PathBuf;
use std::process::Command;
use std::time::Instant;

use serde::de::DeserializeOwned;

use crate::numbers::CpuNumbers;
use crate::programs::{Ended, Programs};
use crate::sizes::Sizes;

/// What all parts share.
pub struct Stage {
    /// Tercet's.
    pub programs: Programs,
    /// The sizes of models and texts.
    pub sizes: Sizes,
    /// A folder for models, texts and runs.
    pub work: PathBuf,
    /// GPUs that libtorch sees.
    pub num_gpus: usize,
    /// The first GPU's free memory, when nothing else ran.
    pub free_bytes: u64,
    /// What the CPU has computed.
    pub numbers: CpuNumbers,
    /// Small commands that run side by side.
    pub at_once: usize,
}

impl Stage {
    /// A file or folder to work with.
    pub fn path(&self, name: &str) -> PathBuf {
        self.work.join(name)
    }

    /// Runs a command.
    ///
    /// # Errors
    /// It cannot be started.
    pub fn run(&self, command: Command, until: Instant) -> anyhow::Result<Ended> {
        self.programs.run(command, until)
    }

    /// Runs a command that prints JSON.
    ///
    /// # Errors
    /// It cannot be started, or did not succeed.
    pub fn json<T: DeserializeOwned>(&self, command: Command, until: Instant) -> anyhow::Result<T> {
        self.run(command, until)?.json()
    }
}
