//! From an error chain to the code that the process ends with.

use tercet_cluster::CollectiveError;
use tercet_configs::{ExitCode, ModelFolderError, RecipeError};
use tercet_sampler::{PlanError, RowError, StoreError, TokenizeError};

use crate::budget::TooSmall;
use crate::checkpoint::CheckpointError;
use crate::model::ModelError;
use crate::preflight::SickMachine;
use crate::tasks::TaskError;
use crate::train::{NotFinite, SetupError};

/// The code of the first cause that has one; an I/O error without more is the machine's, anything else a bug.
pub fn code_of(error: &anyhow::Error) -> ExitCode {
    error.chain().find_map(known_code).unwrap_or(ExitCode::Bug)
}

fn known_code(cause: &(dyn std::error::Error + 'static)) -> Option<ExitCode> {
    macro_rules! known {
        ($($kind:ty),*) => {
            $(if let Some(error) = cause.downcast_ref::<$kind>() {
                return Some(error.exit_code());
            })*
        };
    }
    known!(
        ModelError,
        CheckpointError,
        TaskError,
        SetupError,
        NotFinite,
        TooSmall,
        SickMachine,
        PlanError,
        RowError,
        StoreError,
        TokenizeError
    );
    if cause.is::<RecipeError>() || cause.is::<ModelFolderError>() {
        return Some(ExitCode::Usage);
    }
    (cause.is::<CollectiveError>() || cause.is::<std::io::Error>()).then_some(ExitCode::Machine)
}
