//! Why a run must not begin.

use tercet_configs::ExitCode;

/// A machine that must not take part in a run, with the exit code, which says whether another start may help.
#[derive(Debug, thiserror::Error)]
#[error("{0} (`tercet doctor` looks closer)")]
pub struct SickMachine(pub(super) String, pub(super) ExitCode);

impl SickMachine {
    /// The exit code of a process that ends with this error.
    pub fn exit_code(&self) -> ExitCode {
        self.1
    }
}
