//! Exit codes: which one an error of ours means. What the ranks ended with is [`crate::start`]'s to say.

use tercet_configs::{ExitCode, ModelFolderError, RecipeError};
use tercet_sampler::{PlanError, PrepareError, StoreError};

/// An error whose exit code is known where it arises.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub struct Fail {
    code: i32,
    message: String,
}

impl Fail {
    /// An error with `code`; `message` says what, where and what to do.
    pub fn new(code: ExitCode, message: impl Into<String>) -> Self {
        Self { code: code.code(), message: message.into() }
    }

    /// As [`Fail::new`], with the code that another error means.
    pub fn with_code(code: i32, message: impl Into<String>) -> Self {
        Self { code, message: message.into() }
    }

    /// Whether the ranks have said why.
    pub fn was_said(&self) -> bool {
        self.message.is_empty()
    }

    /// What the process ends with.
    pub fn code(&self) -> i32 {
        self.code
    }

    /// The ranks have ended with `code` and have said why: nothing more is to be printed.
    pub fn said(code: i32) -> Self {
        Self { code, message: String::new() }
    }
}

/// The exit code that an error means.
pub fn code_of(error: &anyhow::Error) -> i32 {
    for cause in error.chain() {
        if let Some(fail) = cause.downcast_ref::<Fail>() {
            return fail.code;
        }
        if cause.is::<RecipeError>() || cause.is::<ModelFolderError>() {
            return ExitCode::Usage.code();
        }
        if let Some(error) = cause.downcast_ref::<PrepareError>() {
            return error.exit_code().code();
        }
        if let Some(error) = cause.downcast_ref::<PlanError>() {
            return error.exit_code().code();
        }
        if let Some(error) = cause.downcast_ref::<StoreError>() {
            return error.exit_code().code();
        }
        if let Some(error) = cause.downcast_ref::<std::io::Error>() {
            return ExitCode::of_io(error).code();
        }
    }
    ExitCode::Bug.code()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_that_are_not_there_are_the_users_and_full_disks_the_machines() {
        use std::io::ErrorKind;
        let code = |kind: ErrorKind| code_of(&anyhow::Error::from(std::io::Error::from(kind)).context("writing x"));
        assert_eq!([ErrorKind::NotFound, ErrorKind::PermissionDenied, ErrorKind::NotADirectory].map(code), [2; 3]);
        assert_eq!([ErrorKind::StorageFull, ErrorKind::TimedOut, ErrorKind::OutOfMemory].map(code), [3; 3]);
    }
}
