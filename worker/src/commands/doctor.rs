//! `doctor`: whether the machines of a job are fit to train, measured where that takes seconds.

use tercet_cluster::Collective;
use tercet_configs::ExitCode;
use tercet_protocol::args::DoctorArgs;
use tercet_protocol::says::doctor::Level;

use crate::preflight::examine;

/// Prints the report as one JSON object (rank 0), and returns the exit code of the job. Every rank calls it.
///
/// # Errors
/// A collective that failed.
pub fn run(args: &DoctorArgs, ranks: &dyn Collective) -> anyhow::Result<ExitCode> {
    let recipe = args.load();
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
