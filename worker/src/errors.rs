//! From an error chain to the code that the process ends with.

use tercet_cluster::CollectiveError;
use tercet_configs::{ExitCode, ModelFolderError, RecipeError};
use tercet_retrieval::IndexError;
use tercet_sampler::{PlanError, RowError, StoreError, TokenizeError};

use crate::agreement::same_weights::WeightsDiffer;
use crate::checkpoint::CheckpointError;
use crate::files::CommandError;
use crate::model::ModelError;
use crate::preflight::SickMachine;
use crate::run::budget::DoesNotFit;
use crate::run::{NotFinite, SetupError};

/// The code of the first cause that has one, of an I/O error by its kind; anything else is a bug.
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
        CommandError,
        IndexError,
        SetupError,
        NotFinite,
        WeightsDiffer,
        CollectiveError,
        DoesNotFit,
        SickMachine,
        PlanError,
        RowError,
        StoreError,
        TokenizeError
    );
    if cause.is::<RecipeError>() || cause.is::<ModelFolderError>() {
        return Some(ExitCode::Usage);
    }
    cause.downcast_ref::<std::io::Error>().map(ExitCode::of_io)
}
