//! `doctor`: whether the machines of a job are fit to train, measured where that takes seconds.

use std::path::PathBuf;

use clap::Args;
use tercet_cluster::Collective;
use tercet_configs::{ExitCode, Recipe};

use crate::preflight::{Level, examine};

/// Arguments of `tercet-worker doctor`.
#[derive(Debug, Args)]
pub struct DoctorArgs {
    /// The recipe that shall run
    pub recipe: Option<PathBuf>,
    /// Overrides a recipe's key, e.g. run_dir=runs/a
    #[arg(long = "set", value_name = "KEY=VALUE")]
    pub settings: Vec<String>,
}

/// Prints the report as one JSON object (rank 0); what the job shall end with. Every rank calls it.
///
/// # Errors
/// A collective that failed.
pub fn run(args: &DoctorArgs, ranks: &dyn Collective) -> anyhow::Result<ExitCode> {
    let recipe = args.recipe.as_ref().map(|path| Recipe::load(path, &args.settings));
    let recipe = recipe.as_ref().map(|loaded| loaded.as_ref().map_err(ToString::to_string));
    let (report, level) = examine(recipe, ranks)?;
    if let Some(report) = report {
        println!("{}", serde_json::to_string(&report)?);
    }
    Ok(match level {
        Level::Ok | Level::Warning => ExitCode::Success,
        Level::Mistake => ExitCode::Usage,
        Level::Sick => ExitCode::Machine,
    })
}
