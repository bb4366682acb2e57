//! Errors that say with which exit code the demo ends.

use tercet_configs::{ExitCode, RecipeError};

/// An error whose exit code is known where it arises.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub(crate) struct Fail {
    code: i32,
    message: String,
}

impl Fail {
    /// An error with `code`; `message` says what, where and what to do.
    pub fn new(code: ExitCode, message: impl Into<String>) -> Self {
        Self::with_code(code.code(), message)
    }

    /// As [`Fail::new`], with the code of a command that failed; no message if it has said why.
    pub fn with_code(code: i32, message: impl Into<String>) -> Self {
        Self { code, message: message.into() }
    }
}

/// The exit code that an error means.
pub(crate) fn code_of(error: &anyhow::Error) -> i32 {
    for cause in error.chain() {
        if let Some(fail) = cause.downcast_ref::<Fail>() {
            return fail.code;
        }
        if cause.is::<RecipeError>() {
            return ExitCode::Usage.code();
        }
        if let Some(error) = cause.downcast_ref::<std::io::Error>() {
            return ExitCode::of_io(error).code();
        }
    }
    ExitCode::Bug.code()
}
