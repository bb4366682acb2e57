//! Writing while training goes on: one thread per checkpoint, one checkpoint at a time.

use std::fs::File;
use std::panic::resume_unwind;
use std::path::PathBuf;
use std::thread::{Builder, JoinHandle};

use crate::checkpoint::{CheckpointError, Complete, Kept, Snapshot, directory, write};

/// A run's checkpoints in the making. Only rank 0 has one. Dropping it waits for what is being written.
pub struct Background {
    run_dir: PathBuf,
    /// None while it is being written.
    desk: Option<Desk>,
    writing: Option<JoinHandle<Written>>,
}

/// What the thread works with, one checkpoint after another.
struct Desk {
    snapshot: Snapshot,
    kept: Kept,
    /// What the user should know, and has not been told.
    remarks: Vec<String>,
}

/// The desk, to be used again, and the checkpoint that was made on it, if one was.
type Written = (Desk, Result<Option<Complete>, CheckpointError>);

impl Background {
    /// Checkpoints of `snapshot`'s run in `run_dir`, of which those stay that are `kept`.
    pub fn new(run_dir: PathBuf, kept: Kept, snapshot: Snapshot) -> Self {
        Self { run_dir, desk: Some(Desk { snapshot, kept, remarks: Vec::new() }), writing: None }
    }

    /// The run goes on from the checkpoint of `step`. Call [`Background::wait`] first.
    ///
    /// # Panics
    /// If a snapshot is being written.
    pub fn goes_on_from(&mut self, step: u64) {
        self.desk.as_mut().expect("the one before was waited for").kept.goes_on_from(step);
    }

    /// Has the system give the snapshot's memory now, in the background, and not page by page during the first snapshot. A
    /// run that goes on from a checkpoint, of `step`, removes those that need not stay: the run before may have been
    /// killed when it was about to.
    ///
    /// # Errors
    /// [`CheckpointError::Write`] if the system gives no thread.
    pub fn prepare(&mut self, step: Option<u64>) -> Result<(), CheckpointError> {
        let Some(mut desk) = self.desk.take() else { return Ok(()) };
        let run_dir = self.run_dir.clone();
        self.start(run_dir.clone(), move || {
            desk.remarks.extend(step.into_iter().flat_map(|step| desk.kept.complete(&run_dir, step)));
            desk.snapshot.touch();
            (desk, Ok(None))
        })
    }

    /// Whether a checkpoint is being written.
    pub fn is_busy(&self) -> bool {
        self.writing.as_ref().is_some_and(|thread| !thread.is_finished())
    }

    /// Has `fill` take a snapshot and begins to write it; `histories` are synced before the checkpoint is complete. Call
    /// [`Background::wait`] first: there is room for one snapshot.
    ///
    /// # Errors
    /// [`CheckpointError::Write`] if the system gives no thread.
    ///
    /// # Panics
    /// If a snapshot is being written.
    pub fn begin(&mut self, histories: Vec<File>, fill: impl FnOnce(&mut Snapshot)) -> Result<(), CheckpointError> {
        let mut desk = self.desk.take().expect("the one before was waited for");
        fill(&mut desk.snapshot);
        let run_dir = self.run_dir.clone();
        let target = directory(&run_dir, desk.snapshot.state.progress.step);
        let work = move || {
            let written = write(&run_dir, &desk.snapshot, &histories).map(|(complete, remarks)| {
                desk.remarks.extend(remarks);
                desk.remarks.extend(desk.kept.complete(&run_dir, complete.step));
                Some(complete)
            });
            (desk, written)
        };
        self.start(target, work)
    }

    /// Runs `work` in a thread; `path` is what it is for.
    fn start(&mut self, path: PathBuf, work: impl FnOnce() -> Written + Send + 'static) -> Result<(), CheckpointError> {
        let thread = Builder::new().name("checkpoint".to_owned()).spawn(work);
        self.writing = Some(thread.map_err(|source| CheckpointError::Write { path, source })?);
        Ok(())
    }

    /// What the user should know of other checkpoints, if he has not been told, and nothing is being written.
    pub fn take_remarks(&mut self) -> Vec<String> {
        self.desk.as_mut().map(|desk| std::mem::take(&mut desk.remarks)).unwrap_or_default()
    }

    /// The checkpoint that has become complete since this was last asked.
    ///
    /// # Errors
    /// What [`write()`] failed with.
    pub fn completed(&mut self) -> Result<Option<Complete>, CheckpointError> {
        if self.is_busy() { Ok(None) } else { self.wait() }
    }

    /// As [`Background::completed`], but waits for the one that is being written.
    ///
    /// # Errors
    /// As there.
    pub fn wait(&mut self) -> Result<Option<Complete>, CheckpointError> {
        let Some(thread) = self.writing.take() else { return Ok(None) };
        let (desk, written) = thread.join().unwrap_or_else(|panic| resume_unwind(panic));
        self.desk = Some(desk);
        written
    }
}

impl Drop for Background {
    fn drop(&mut self) {
        if let Some(thread) = self.writing.take() {
            // Whoever drops it has an error of his own to tell; what is half written shall still become whole.
            let _ = thread.join();
        }
    }
}
