//! Reads batches ahead of the training step, in one thread.

use std::ops::Range;
use std::panic::resume_unwind;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, sync_channel};
use std::thread::{Builder, JoinHandle};
use std::time::Instant;

use crate::batch::read_share;
use crate::plan::{Plan, PlanError};
use crate::share::Batch;

/// Batches that lie ready beside the one being read.
const READY: usize = 2;

/// Batches that are in memory beside the one in use, at most.
pub const BATCHES_AHEAD: usize = READY + 1;

/// One rank's batches in order of steps. After an error it ends. Dropping it ends its thread.
#[derive(Debug)]
pub struct Prefetcher {
    batches: Option<Receiver<Result<Batch, PlanError>>>,
    thread: Option<JoinHandle<()>>,
    wait_secs: f64,
}

impl Prefetcher {
    /// Starts to read what `rank` of `world_size` trains on in `steps`.
    ///
    /// # Errors
    /// If the system gives no thread.
    pub fn start(plan: Arc<Plan>, rank: usize, world_size: usize, steps: Range<u64>) -> std::io::Result<Self> {
        let (sender, batches) = sync_channel(READY);
        let read = move || {
            for step in steps {
                let batch = read_share(&plan, step, rank, world_size);
                let failed = batch.is_err();
                // Nobody listens any more: the prefetcher was dropped.
                if sender.send(batch).is_err() || failed {
                    return;
                }
            }
        };
        let thread = Builder::new().name("prefetch".to_owned()).spawn(read)?;
        Ok(Self { batches: Some(batches), thread: Some(thread), wait_secs: 0.0 })
    }

    /// Seconds that the last call of `next` had to wait: time in which reading held training up.
    pub fn wait_secs(&self) -> f64 {
        self.wait_secs
    }
}

impl Iterator for Prefetcher {
    type Item = Result<Batch, PlanError>;

    /// The next step's batch; `None` after the last step or after an error.
    ///
    /// # Panics
    /// If the reading thread did: a bug there must not look like the end of the data.
    fn next(&mut self) -> Option<Self::Item> {
        let start = Instant::now();
        let received = self.batches.as_ref()?.recv();
        self.wait_secs = start.elapsed().as_secs_f64();
        if let Ok(batch) = received {
            return Some(batch);
        }
        self.batches = None;
        if let Some(Err(panic)) = self.thread.take().map(JoinHandle::join) {
            resume_unwind(panic);
        }
        None
    }
}

impl Drop for Prefetcher {
    fn drop(&mut self) {
        // First the channel, so that a thread that waits to send goes on, then the thread.
        self.batches = None;
        if let Some(thread) = self.thread.take() {
            // What it panicked with, if it did, no longer matters to anyone.
            let _ = thread.join();
        }
    }
}
