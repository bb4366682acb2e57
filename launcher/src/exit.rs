//! Exit codes: which one an error of ours means, and what the code that the ranks ended with means.

use tercet_configs::{ExitCode, RecipeError};

/// An error whose exit code is known where it arises.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub struct Fail {
    code: ExitCode,
    message: String,
}

impl Fail {
    /// An error with `code`; `message` says what, where and what to do.
    pub fn new(code: ExitCode, message: impl Into<String>) -> Self {
        Self { code, message: message.into() }
    }
}

/// The exit code that an error of the launcher itself means.
pub fn code_of(error: &anyhow::Error) -> ExitCode {
    for cause in error.chain() {
        if let Some(fail) = cause.downcast_ref::<Fail>() {
            return fail.code;
        }
        if cause.is::<RecipeError>() {
            return ExitCode::Usage;
        }
        if cause.is::<std::io::Error>() {
            return ExitCode::Machine;
        }
    }
    ExitCode::Bug
}
