//! Exit codes: an interface that launchers, job scripts and Slurm act on.

/// What a Tercet process ends with.
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
    /// The number the process ends with.
    pub fn code(self) -> i32 {
        self as i32
    }
}
