//! Reads batches ahead of the training step, in a thread of its own.

use std::ops::Range;
use std::panic::resume_unwind;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, sync_channel};
use std::thread::{Builder, JoinHandle};
use std::time::Instant;

use crate::batch::read_share;
use crate::plan::{Plan, PlanError};
use crate::share::Batch;

/// The number of batches that lie ready beside the one being read.
const READY: usize = 2;

/// The largest number of batches in memory beside the one in use.
pub const BATCHES_AHEAD: usize = READY + 1;

/// One rank's batches in the order of steps. It ends after an error. Dropping it ends its thread.
#[derive(Debug)]
pub struct Prefetcher {
    batches: Option<Receiver<Result<Batch, PlanError>>>,
    thread: Option<JoinHandle<()>>,
    wait_secs: f64,
}

impl Prefetcher {
    /// Starts to read the batches of `rank` of `world_size` for `steps`.
    ///
    /// # Errors
    /// The system starts no thread.
    pub fn start(plan: Arc<Plan>, rank: usize, world_size: usize, steps: Range<u64>) -> std::io::Result<Self> {
        let (sender, batches) = sync_channel(READY);
        let read = move || {
            for step in steps {
                let batch = read_share(&plan, step, rank, world_size);
                let failed = batch.is_err();
                // A failed send means that the prefetcher was dropped.
                if sender.send(batch).is_err() || failed {
                    return;
                }
            }
        };
        let thread = Builder::new().name("prefetch".to_owned()).spawn(read)?;
        Ok(Self { batches: Some(batches), thread: Some(thread), wait_secs: 0.0 })
    }

    /// The seconds that the last call of `next` had to wait, in which reading held training up.
    pub fn wait_secs(&self) -> f64 {
        self.wait_secs
    }
}

impl Iterator for Prefetcher {
    type Item = Result<Batch, PlanError>;

    /// The next step's batch; `None` after the last step or after an error.
    ///
    /// # Panics
    /// If the reading thread panicked: a bug there must not look like the end of the data.
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
        // The channel is dropped first, so that a thread that waits to send goes on; then the thread is joined.
        self.batches = None;
        if let Some(thread) = self.thread.take() {
            // A panic of the thread no longer matters.
            let _ = thread.join();
        }
    }
}
