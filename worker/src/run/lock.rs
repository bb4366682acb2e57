//! Allows one run per run folder: rank 0 holds a lock on the file `lock` in it, and the system releases it when the
//! process ends, however it ends.
//!
//! The lock is `flock`, which Linux supports over NFS as well, and over Lustre if that is mounted with `flock`. On a
//! file system without locks the run continues without one, and says so.

use std::fs::{File, OpenOptions};
use std::io::{self, ErrorKind, Read, Seek, Write};
use std::path::Path;
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::Context;
use serde::{Deserialize, Serialize};

use super::error::SetupError;
use crate::machine::clock::since_1970;

/// The time between two attempts to take a lock that somebody holds.
const POLL: Duration = Duration::from_millis(50);

/// A lock that is held until this is dropped.
pub(super) struct RunLock {
    #[expect(dead_code, reason = "the lock is the open file's")]
    file: File,
    /// The task of this process's own job array that began the run, if it was another task.
    pub begun_by_task: Option<String>,
}

/// The holder of the lock, for the message of a process that does not get it. It stays in the file when the lock is
/// free again.
#[derive(Debug, Serialize, Deserialize)]
struct Holder {
    host: String,
    pid: u32,
    slurm_job: Option<String>,
    #[serde(default)]
    array: Option<ArrayTask>,
    /// Seconds since 1970.
    since: u64,
}

/// A task of a Slurm job array.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct ArrayTask {
    /// The array's job number, which all its tasks share.
    job: String,
    task: String,
    /// The array's first task that held this lock.
    first: String,
}

impl ArrayTask {
    /// The task of this process, which follows `before`.
    fn own(before: Option<Self>) -> Option<Self> {
        let variable = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
        let (job, task) = (variable("SLURM_ARRAY_JOB_ID")?, variable("SLURM_ARRAY_TASK_ID")?);
        Some(Self::after(before, job, task))
    }

    fn after(before: Option<Self>, job: String, task: String) -> Self {
        let first = before.filter(|before| before.job == job).map_or_else(|| task.clone(), |before| before.first);
        Self { job, task, first }
    }

    fn begun_by_another(&self) -> Option<String> {
        (self.first != self.task).then(|| self.first.clone())
    }
}

impl RunLock {
    /// Takes the lock of `run_dir`, which must exist. Waits up to `patience` for a holder that is about to end.
    ///
    /// # Errors
    /// [`SetupError::Locked`] if another process holds it; an I/O error.
    pub fn take(run_dir: &Path, host: &str, patience: Duration) -> anyhow::Result<Self> {
        let path = run_dir.join("lock");
        let about = || format!("locking {}", path.display());
        let file = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(&path);
        let mut file = file.with_context(about)?;
        let begun = Instant::now();
        while let Err(error) = file.try_lock().map_err(io::Error::from) {
            match error.kind() {
                ErrorKind::WouldBlock if begun.elapsed() < patience => sleep(POLL),
                ErrorKind::WouldBlock => {
                    let (run_dir, holder) = (run_dir.display().to_string(), holder_of(&mut file));
                    return Err(SetupError::Locked { run_dir, holder }.into());
                }
                ErrorKind::Interrupted => {}
                _ if matches!(error.raw_os_error(), Some(libc::ENOLCK | libc::EOPNOTSUPP | libc::ENOSYS)) => {
                    // The run's log, which is in the run folder, does not exist yet.
                    eprintln!("{}: this file system has no locks: nothing keeps a second run away", path.display());
                    break;
                }
                _ => return Err(error).with_context(about),
            }
        }
        let array = ArrayTask::own(last_holder(&mut file).and_then(|holder| holder.array));
        let begun_by_task = array.as_ref().and_then(ArrayTask::begun_by_another);
        let own = Holder {
            host: host.to_owned(),
            pid: std::process::id(),
            slurm_job: std::env::var("SLURM_JOB_ID").ok(),
            array,
            since: since_1970().as_secs(),
        };
        // The lock counts even if a full disk prevents this text.
        let text = serde_json::to_string(&own).unwrap_or_default();
        let emptied = file.rewind().and_then(|()| file.set_len(0));
        if let Err(error) = emptied.and_then(|()| file.write_all(format!("{text}\n").as_bytes())) {
            eprintln!("{}: {error}", path.display());
        }
        Ok(Self { file, begun_by_task })
    }
}

/// The present or former holder of the lock, as far as the file says.
fn last_holder(file: &mut File) -> Option<Holder> {
    let mut text = String::new();
    file.read_to_string(&mut text).ok().and_then(|_| serde_json::from_str(&text).ok())
}

/// The holder in words, as far as the file says: `by process 77 on gpu04 (Slurm job 12, task 0 of array 11) for 310 s
/// now`.
fn holder_of(file: &mut File) -> String {
    let Some(Holder { host, pid, slurm_job, array, since }) = last_holder(file) else {
        return "by another process".into();
    };
    let task = array.map(|array| format!(", task {} of array {}", array.task, array.job)).unwrap_or_default();
    let job = slurm_job.map(|job| format!(" (Slurm job {job}{task})")).unwrap_or_default();
    let secs = since_1970().as_secs().saturating_sub(since);
    format!("by process {pid} on {host}{job} for {secs} s now")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_task_of_an_array_is_remembered() {
        let task = |before: Option<&ArrayTask>, job: &str, task: &str| {
            ArrayTask::after(before.cloned(), job.to_owned(), task.to_owned())
        };
        let first = task(None, "7", "0");
        let second = task(Some(&first), "7", "1");
        let third = task(Some(&second), "7", "2");
        assert_eq!(first.begun_by_another(), None);
        assert_eq!([&second, &third].map(ArrayTask::begun_by_another), [Some("0".to_owned()), Some("0".to_owned())]);
        assert_eq!(task(Some(&third), "7", "0").begun_by_another(), None, "it is the first one's run");
        assert_eq!(task(Some(&third), "8", "1").begun_by_another(), None, "another array goes on with it");
    }

    #[test]
    fn the_second_is_told_who_the_first_is_and_gets_it_afterwards() {
        let dir = tempfile::tempdir().unwrap();
        let take = |patience| RunLock::take(dir.path(), "gpu04", Duration::from_millis(patience));
        let first = take(0).unwrap();
        let error = take(60).err().unwrap().to_string();
        assert!(error.contains(&format!("by process {} on gpu04", std::process::id())), "{error}");
        std::thread::scope(|scope| {
            let patient = scope.spawn(|| take(600_000));
            sleep(Duration::from_millis(100));
            drop(first);
            assert!(patient.join().unwrap().is_ok());
        });
    }
}
