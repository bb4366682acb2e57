//! One writer at a time: a lock on the store's folder itself, so that the store has no lock file.
//!
//! The system releases the lock when the process ends, however it ends. Some file systems lock no folders (NFS is one):
//! there nothing keeps a second writer away.

use std::fs::{self, File, TryLockError};
use std::io::ErrorKind;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use crate::error::StoreError;

/// A folder that no other writer can take until this is dropped.
#[derive(Debug)]
pub(super) struct HeldFolder {
    folder: File,
    /// Whether it was not there before.
    pub(super) is_new: bool,
}

impl HeldFolder {
    /// Takes the folder `dir`, and makes it if it is missing.
    ///
    /// # Errors
    /// Another writer has it ([`StoreError::Busy`]), or it cannot be made or opened.
    pub(super) fn take(dir: &Path) -> Result<Self, StoreError> {
        let io = |source| StoreError::Io { path: dir.to_owned(), source };
        loop {
            let is_new = !dir.exists();
            fs::create_dir_all(dir).map_err(io)?;
            let folder = match File::open(dir) {
                Ok(folder) => folder,
                // Whoever had it removed it meanwhile.
                Err(e) if e.kind() == ErrorKind::NotFound => continue,
                Err(e) => return Err(io(e)),
            };
            if let Err(TryLockError::WouldBlock) = folder.try_lock() {
                return Err(StoreError::Busy { dir: dir.to_owned() });
            }
            let own = folder.metadata().map_err(io)?;
            if dir.metadata().is_ok_and(|there| (there.dev(), there.ino()) == (own.dev(), own.ino())) {
                return Ok(Self { folder, is_new });
            }
        }
    }
}

impl Drop for HeldFolder {
    fn drop(&mut self) {
        // Closing would not always do: a process that another thread is just starting has the descriptor for a moment.
        let _ = self.folder.unlock();
    }
}
