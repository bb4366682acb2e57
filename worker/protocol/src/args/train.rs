//! `train`.

use std::ffi::OsString;

use clap::Args;

use super::RecipeArgs;
use crate::words::Words;

/// What a user says of a run.
#[derive(Debug, Clone, PartialEq, Eq, Args)]
pub struct TrainArgs {
    /// What to train.
    #[command(flatten)]
    pub recipe: RecipeArgs,
    /// Continue from the newest good checkpoint of the recipe's run folder
    #[arg(long)]
    pub resume: bool,
}

/// What a rank is told of it.
#[derive(Debug, Clone, PartialEq, Eq, Args)]
pub struct RankTrainArgs {
    /// What a user says.
    #[command(flatten)]
    pub what: TrainArgs,
    /// Writes one JSON object per event to standard output (rank 0), and signs of life (every rank)
    #[arg(long)]
    pub events: bool,
    /// Seconds to wait for another run that is about to leave the run folder
    #[arg(long, value_name = "SECS", default_value_t = RankTrainArgs::LOCK_WAIT_SECS)]
    pub lock_wait_secs: u64,
}

impl RankTrainArgs {
    /// Unless somebody says otherwise.
    pub const LOCK_WAIT_SECS: u64 = 5;

    pub(crate) fn words(&self, words: Words) -> Vec<OsString> {
        let words = words
            .flag("--resume", self.what.resume)
            .flag("--events", self.events)
            .shown("--lock-wait-secs", self.lock_wait_secs);
        self.what.recipe.end(words)
    }
}
