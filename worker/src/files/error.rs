//! What can be wrong with a command's input.

use std::path::{Path, PathBuf};

use tercet_configs::ExitCode;
use tercet_sampler::RowError;

/// An input that a command cannot use. The message says where, what, and what to do.
#[derive(Debug, thiserror::Error)]
pub enum CommandError {
    /// A file could not be opened, read or written.
    #[error("{}: {reason}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// The operating system's reason; part of the message, so no further cause behind it.
        reason: std::io::Error,
    },
    /// A file of lines, or one of its lines, that cannot be used.
    #[error(transparent)]
    Lines(#[from] RowError),
    /// A file whose lines are well-formed but make no sense together.
    #[error("{}: {reason}", path.display())]
    Data {
        /// The file or folder.
        path: PathBuf,
        /// The reason and the remedy.
        reason: String,
    },
    /// An output that would take another file's place.
    #[error("{} is there already and is not overwritten: choose another name, or move it away", .0.display())]
    Exists(PathBuf),
    /// An argument that cannot be used.
    #[error("{0}")]
    Usage(String),
}

impl CommandError {
    /// What a process that fails with this ends with.
    pub fn exit_code(&self) -> ExitCode {
        match self {
            Self::File { reason, .. } => ExitCode::of_io(reason),
            Self::Lines(e) => e.exit_code(),
            Self::Data { .. } => ExitCode::Data,
            Self::Usage(_) | Self::Exists(_) => ExitCode::Usage,
        }
    }

    /// Names `path` in an I/O error.
    pub(crate) fn file(path: &Path) -> impl FnOnce(std::io::Error) -> Self + '_ {
        move |reason| Self::File { path: path.to_owned(), reason }
    }
}
