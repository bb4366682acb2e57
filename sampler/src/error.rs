//! What can be wrong with rows, tokenizers and stores.

use std::path::PathBuf;

use tercet_configs::ExitCode;

/// A store that cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// A file could not be read.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// The operating system's reason.
        source: std::io::Error,
    },
    /// A file is not what the manifest says, or not Arrow.
    #[error("{}: {reason}", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What was expected and found.
        reason: String,
    },
    /// A row or position beyond the data set's end.
    #[error("data set {dataset}: row {row} is out of range: it has {num_rows} rows")]
    OutOfRange {
        /// The data set's name.
        dataset: String,
        /// The row or position asked for.
        row: u64,
        /// The data set's rows.
        num_rows: u64,
    },
}

impl StoreError {
    /// What a process that meets it ends with.
    pub fn exit_code(&self) -> ExitCode {
        match self {
            Self::Io { .. } => ExitCode::Machine,
            Self::Damaged { .. } => ExitCode::Data,
            Self::OutOfRange { .. } => ExitCode::Bug,
        }
    }
}
