//! Writes checkpoints while training goes on: one thread for each, one checkpoint at a time.

use std::fs::File;
use std::panic::resume_unwind;
use std::path::PathBuf;
use std::sync::mpsc::{Receiver, channel};
use std::thread::{Builder, JoinHandle};

use crate::checkpoint::{CheckpointError, Complete, Kept, Snapshot, directory, write};

/// The writer of a run's checkpoints. Only rank 0 has one. Dropping it waits for the checkpoint that is being written.
pub struct Background {
    run_dir: PathBuf,
    /// None while a checkpoint is being written.
    desk: Option<Desk>,
    writing: Option<JoinHandle<Written>>,
    /// Ends when the snapshot that is being written is complete; none if it was when it was taken.
    copying: Option<Receiver<()>>,
}

/// What the threads work with, one after the other.
struct Desk {
    snapshot: Snapshot,
    kept: Kept,
    /// What the user should know and has not been told yet.
    remarks: Vec<String>,
}

/// The desk, for use again, and the checkpoint that was made with it, if any.
type Written = (Desk, Result<Option<Complete>, CheckpointError>);

impl Background {
    /// Checkpoints of `snapshot`'s run in `run_dir`; `kept` decides which of them stay.
    pub fn new(run_dir: PathBuf, kept: Kept, snapshot: Snapshot) -> Self {
        Self { run_dir, desk: Some(Desk { snapshot, kept, remarks: Vec::new() }), writing: None, copying: None }
    }

    /// The run continues from the checkpoint of `step`. Call [`Background::wait`] first.
    ///
    /// # Panics
    /// If a snapshot is being written.
    pub fn goes_on_from(&mut self, step: u64) {
        self.desk.as_mut().expect("the one before was waited for").kept.goes_on_from(step);
    }

    /// The checkpoint of `best` stays whatever its number. Removes those that need not stay for that any longer; the
    /// newest is that of `step`. Call [`Background::wait`] first.
    ///
    /// # Panics
    /// If a snapshot is being written.
    pub fn best_is(&mut self, best: Option<u64>, step: u64) {
        let desk = self.desk.as_mut().expect("the one before was waited for");
        desk.kept.best_is(best);
        desk.remarks.extend(desk.kept.complete(&self.run_dir, step));
    }

    /// Makes the system provide the snapshot's memory now, in the background, instead of page by page during the first
    /// snapshot. A run that continues from a checkpoint, that of `step`, also removes those that need not stay, because
    /// the run before may have been killed before it did so.
    ///
    /// # Errors
    /// [`CheckpointError::Write`] if the system starts no thread.
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

    /// Returns when nothing reads the weights and the optimizer's moments any more for a checkpoint.
    pub fn wait_until_copied(&mut self) {
        // Nothing is sent. The other end is dropped when all is copied.
        self.copying.take().iter().for_each(|copying| _ = copying.recv());
    }

    /// Lets `fill` take a snapshot and begins to write it; `histories` are synced before the checkpoint is complete.
    /// Call [`Background::wait`] first: there is room for only one snapshot. Call [`Background::wait_until_copied`]
    /// before weights or moments change.
    ///
    /// # Errors
    /// What `fill` fails with; [`CheckpointError::Write`] if the system starts no thread.
    ///
    /// # Panics
    /// If a snapshot is being written.
    pub fn begin<E: From<CheckpointError>>(
        &mut self,
        histories: Vec<File>,
        fill: impl FnOnce(&mut Snapshot) -> Result<(), E>,
    ) -> Result<(), E> {
        let mut desk = self.desk.take().expect("the one before was waited for");
        if let Err(error) = fill(&mut desk.snapshot) {
            // Nothing is being written, and what has not been told yet is not lost.
            self.desk = Some(desk);
            return Err(error);
        }
        let run_dir = self.run_dir.clone();
        let target = directory(&run_dir, desk.snapshot.state.progress.step);
        let (copies, copying) = channel();
        self.copying = desk.snapshot.is_incomplete().then_some(copying);
        let work = move || {
            desk.snapshot.complete();
            drop(copies);
            let written = write(&run_dir, &desk.snapshot, &histories).map(|(complete, remarks)| {
                desk.remarks.extend(remarks);
                desk.remarks.extend(desk.kept.complete(&run_dir, complete.step));
                Some(complete)
            });
            (desk, written)
        };
        Ok(self.start(target, work)?)
    }

    /// Runs `work` in a thread; `path` names its target in errors.
    fn start(&mut self, path: PathBuf, work: impl FnOnce() -> Written + Send + 'static) -> Result<(), CheckpointError> {
        let thread = Builder::new().name("checkpoint".to_owned()).spawn(work);
        self.writing = Some(thread.map_err(|source| CheckpointError::Write { path, source })?);
        Ok(())
    }

    /// What the user should know about other checkpoints and has not been told yet; empty while one is being written.
    pub fn take_remarks(&mut self) -> Vec<String> {
        self.desk.as_mut().map(|desk| std::mem::take(&mut desk.remarks)).unwrap_or_default()
    }

    /// The checkpoint that has become complete since the last call.
    ///
    /// # Errors
    /// The error of [`write()`].
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
            // The caller has an error of its own to report; the half-written checkpoint should still become complete.
            let _ = thread.join();
        }
    }
}
