//! Writing while training goes on: one thread per checkpoint, one checkpoint at a time.

use std::fs::File;
use std::panic::resume_unwind;
use std::path::PathBuf;
use std::thread::{Builder, JoinHandle};

use super::{CheckpointError, Snapshot, directory, remove_old, write};

/// A run's checkpoints in the making. Only rank 0 has one. Dropping it waits for what is being written.
pub struct Background {
    run_dir: PathBuf,
    keep: usize,
    /// None while it is being written.
    snapshot: Option<Snapshot>,
    writing: Option<JoinHandle<Written>>,
}

/// A checkpoint that is complete.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Complete {
    /// Steps done.
    pub step: u64,
    /// Its directory.
    pub path: PathBuf,
}

/// The memory, to be used again, and the checkpoint that was made of it, if one was.
type Written = (Snapshot, Result<Option<Complete>, CheckpointError>);

impl Background {
    /// Checkpoints of `snapshot`'s run in `run_dir`, of which the `keep` newest stay (0: all).
    pub fn new(run_dir: PathBuf, keep: usize, snapshot: Snapshot) -> Self {
        Self { run_dir, keep, snapshot: Some(snapshot), writing: None }
    }

    /// Has the system give the snapshot's memory now, in the background, and not page by page during the first snapshot.
    ///
    /// # Errors
    /// [`CheckpointError::Write`] if the system gives no thread.
    pub fn prepare(&mut self) -> Result<(), CheckpointError> {
        let Some(mut snapshot) = self.snapshot.take() else { return Ok(()) };
        let path = self.run_dir.clone();
        self.start(path, move || {
            snapshot.touch();
            (snapshot, Ok(None))
        })
    }

    /// Whether a checkpoint is being written.
    pub fn is_busy(&self) -> bool {
        self.writing.as_ref().is_some_and(|thread| !thread.is_finished())
    }

    /// Has `fill` take a snapshot and begins to write it; `history` is synced before the checkpoint is complete. Call
    /// [`Background::wait`] first: there is room for one snapshot.
    ///
    /// # Errors
    /// [`CheckpointError::Write`] if the system gives no thread.
    ///
    /// # Panics
    /// If a snapshot is being written.
    pub fn begin(&mut self, history: File, fill: impl FnOnce(&mut Snapshot)) -> Result<(), CheckpointError> {
        let mut snapshot = self.snapshot.take().expect("the one before was waited for");
        fill(&mut snapshot);
        let (run_dir, keep) = (self.run_dir.clone(), self.keep);
        let step = snapshot.state.progress.step;
        let target = directory(&run_dir, step);
        let work = move || {
            let written = write(&run_dir, &snapshot, &history);
            let written = written.and_then(|path| remove_old(&run_dir, keep).map(|()| Complete { step, path }));
            (snapshot, written.map(Some))
        };
        self.start(target, work)
    }

    /// Runs `work` in a thread; `path` is what it is for.
    fn start(&mut self, path: PathBuf, work: impl FnOnce() -> Written + Send + 'static) -> Result<(), CheckpointError> {
        let thread = Builder::new().name("checkpoint".to_owned()).spawn(work);
        self.writing = Some(thread.map_err(|source| CheckpointError::Write { path, source })?);
        Ok(())
    }

    /// The checkpoint that has become complete since this was last asked.
    ///
    /// # Errors
    /// What [`write()`] or [`remove_old`] failed with.
    pub fn completed(&mut self) -> Result<Option<Complete>, CheckpointError> {
        if self.is_busy() { Ok(None) } else { self.wait() }
    }

    /// As [`Background::completed`], but waits for the one that is being written.
    ///
    /// # Errors
    /// As there.
    pub fn wait(&mut self) -> Result<Option<Complete>, CheckpointError> {
        let Some(thread) = self.writing.take() else { return Ok(None) };
        let (snapshot, written) = thread.join().unwrap_or_else(|panic| resume_unwind(panic));
        self.snapshot = Some(snapshot);
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
