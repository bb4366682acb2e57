//! Why a model cannot be read or written, or not be used as asked.

use std::path::PathBuf;

use tercet_configs::{ExitCode, ModelFolderError};

/// Why a model cannot be read or written.
#[derive(Debug, thiserror::Error)]
pub enum ModelError {
    /// A folder or config.json that is unreadable or of another architecture.
    #[error(transparent)]
    Folder(#[from] ModelFolderError),
    /// A file of the model directory that cannot be read.
    #[error("{}: {reason}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// Weights that do not make the model that config.json describes.
    #[error("{}: the weights do not fit config.json:{}", path.display(), problems.iter().map(|p| format!("\n  {p}")).collect::<String>())]
    Weights {
        /// The weights' file.
        path: PathBuf,
        /// Name, expected and found shape of each weight that does not fit.
        problems: Vec<String>,
    },
    /// Writing failed.
    #[error("writing {}: {source}", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// The operating system's reason.
        source: std::io::Error,
    },
    /// Settings that the model cannot follow.
    #[error("{0}")]
    Setting(String),
}

impl ModelError {
    /// The exit code of a process that ends with this error.
    pub fn exit_code(&self) -> ExitCode {
        match self {
            Self::Write { .. } => ExitCode::Machine,
            _ => ExitCode::Usage,
        }
    }
}
