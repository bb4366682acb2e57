//! What can be wrong with an index.

use std::path::{Path, PathBuf};

use tercet_configs::ExitCode;

/// An index that cannot be used. The message says where, what, and what to do.
#[derive(Debug, thiserror::Error)]
pub enum IndexError {
    /// A file could not be opened or read.
    #[error("{}: {reason}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// The operating system's reason.
        reason: std::io::Error,
    },
    /// The folder holds no index that is finished.
    #[error("{}: {reason}", path.display())]
    NotThere {
        /// The folder.
        path: PathBuf,
        /// What is there, and what to do.
        reason: String,
    },
    /// The index is of something else than what is asked of it.
    #[error("{}: {reason}", path.display())]
    Other {
        /// The folder.
        path: PathBuf,
        /// What differs, and what to do.
        reason: String,
    },
    /// A file is not what was written.
    #[error("{}: damaged: {reason}. Remove the file and type the `tercet index` or `tercet eval` command again: it makes the block anew", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
}

impl IndexError {
    /// What a process that fails with this ends with.
    pub fn exit_code(&self) -> ExitCode {
        match self {
            Self::File { reason, .. } => ExitCode::of_io(reason),
            Self::NotThere { .. } | Self::Other { .. } => ExitCode::Usage,
            Self::Damaged { .. } => ExitCode::Data,
        }
    }

    pub(crate) fn file(path: &Path) -> impl FnOnce(std::io::Error) -> Self + '_ {
        move |reason| Self::File { path: path.to_owned(), reason }
    }

    pub(crate) fn damaged(path: &Path, reason: impl Into<String>) -> Self {
        Self::Damaged { path: path.to_owned(), reason: reason.into() }
    }
}
