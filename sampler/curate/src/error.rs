//! What keeps this program from doing what is asked, and the exit code of a process that ends with it.

use std::io;
use std::path::{Path, PathBuf};

use tercet_configs::ExitCode;
use tercet_sampler::RowError;

/// Why it is not done.
#[derive(Debug, thiserror::Error)]
pub enum CurateError {
    /// A file of the data, or a line of it, is not what it should be.
    #[error(transparent)]
    Input(#[from] RowError),
    /// Files can be read, and together they are not what they should be.
    #[error("{}: {reason}", path.display())]
    Data {
        /// The file, or the folder.
        path: PathBuf,
        /// What is wrong with it, and what to do.
        reason: String,
    },
    /// Something else must be asked for.
    #[error("{0}")]
    Usage(String),
    /// Another machine, or another program, does not do its part; trying again can help.
    #[error("{0}")]
    Machine(String),
    /// Ranks did not do what this program asked them for. They have said why.
    #[error("tercet {command} ended with {}: what it says stands above", ended(*code, *signal))]
    Ranks {
        /// What they were asked for.
        command: &'static str,
        /// The exit code, if there is one.
        code: Option<i32>,
        /// The signal that ended it otherwise.
        signal: Option<i32>,
    },
    /// A file cannot be read or written.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// The operating system's reason.
        source: io::Error,
    },
}

impl CurateError {
    /// The data at `path` are wrong for `reason`.
    pub fn data(path: &Path, reason: impl Into<String>) -> Self {
        Self::Data { path: path.to_owned(), reason: reason.into() }
    }

    /// A function that makes an error of the operating system's about `path`.
    pub fn io(path: &Path) -> impl Fn(io::Error) -> Self + '_ {
        |source| Self::Io { path: path.to_owned(), source }
    }

    /// The exit code of a process that ends with this error.
    pub fn exit_code(&self) -> ExitCode {
        let known = [ExitCode::Usage, ExitCode::Data, ExitCode::Preempted, ExitCode::Bug];
        match self {
            Self::Ranks { code, .. } => {
                known.into_iter().find(|known| Some(known.code()) == *code).unwrap_or(ExitCode::Machine)
            }
            Self::Input(error) => error.exit_code(),
            Self::Data { .. } => ExitCode::Data,
            Self::Usage(_) => ExitCode::Usage,
            Self::Machine(_) => ExitCode::Machine,
            Self::Io { source, .. } => ExitCode::of_io(source),
        }
    }
}

fn ended(code: Option<i32>, signal: Option<i32>) -> String {
    match (code, signal) {
        (Some(code), _) => format!("code {code}"),
        (None, signal) => format!("signal {}", signal.unwrap_or_default()),
    }
}
