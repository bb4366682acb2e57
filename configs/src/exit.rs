//! How a process ends: exit codes, on which launchers, job scripts and Slurm act, and the one line that says why.

use std::error::Error;

/// The exit code of a Tercet process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(i32)]
pub enum ExitCode {
    /// The run did what was asked.
    Success = 0,
    /// The user's mistake: a recipe, an argument, a model that does not fit. Never restarted.
    Usage = 2,
    /// A peer or a machine failed, or a disk filled up: a restart may help.
    Machine = 3,
    /// The data is bad. Never restarted.
    Data = 4,
    /// Preempted: requeue and resume.
    Preempted = 75,
    /// A bug of ours.
    Bug = 101,
}

impl ExitCode {
    /// The number with which the process ends.
    pub fn code(self) -> i32 {
        self as i32
    }

    /// The exit code for a failed operation on a file, if nothing more is known. A missing file, or one that may not be
    /// read or written, is the user's mistake, because a restart helps only after somebody has changed something. (A
    /// file system that has become read-only usually has a broken disk, so it counts as the machine's failure.)
    pub fn of_io(error: &std::io::Error) -> Self {
        use std::io::ErrorKind as Kind;
        match error.kind() {
            Kind::NotFound
            | Kind::PermissionDenied
            | Kind::AlreadyExists
            | Kind::NotADirectory
            | Kind::IsADirectory
            | Kind::InvalidFilename
            | Kind::InvalidInput => Self::Usage,
            _ => Self::Machine,
        }
    }
}

/// An error and its causes in one line. A cause that the text so far already contains is not repeated.
pub fn error_line(error: &(dyn Error + 'static)) -> String {
    let mut line = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let text = error.to_string();
        if !line.contains(&text) {
            line = format!("{line}: {text}");
        }
        cause = error.source();
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::RecipeError;

    #[test]
    fn a_cause_is_told_once() {
        let source = std::io::Error::other("no such file");
        let error = RecipeError::Read { path: "a.toml".into(), source };
        assert_eq!(error_line(&error), "recipe a.toml: no such file");
        // With what was being done before it.
        #[derive(Debug, thiserror::Error)]
        #[error("reading")]
        struct Reading(#[source] RecipeError);
        assert_eq!(error_line(&Reading(error)), "reading: recipe a.toml: no such file");
    }
}
