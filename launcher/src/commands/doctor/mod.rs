//! `tercet doctor`: are the machines fit for a run, and what is to be done about those that are not?
//!
//! The ranks look and measure (`worker/src/preflight`); here their report becomes a table. What is shown is a part of it:
//! `--json` keeps all.

mod table;

use std::path::{Path, PathBuf};

use anyhow::Context;
use serde::Deserialize;
use serde_json::Value;

use crate::args::DoctorArgs;
use crate::place::Placement;
use crate::screen::Screen;
use crate::{run, worker_args};

/// What is shown of the ranks' report.
#[derive(Debug, Deserialize)]
pub struct Report {
    world_size: usize,
    verdict: Level,
    findings: Vec<Finding>,
    ranks: Vec<Rank>,
    network: Network,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Level {
    Ok,
    Warning,
    Mistake,
    Sick,
}

#[derive(Debug, Deserialize)]
struct Finding {
    level: Level,
    /// Empty: all of them.
    host: String,
    text: String,
}

#[derive(Debug, Deserialize)]
struct Rank {
    rank: usize,
    host: String,
    versions: std::collections::BTreeMap<String, String>,
    machine: Option<Machine>,
    product: Option<Product>,
}

#[derive(Debug, Clone, Default, Deserialize)]
struct Machine {
    num_cores: usize,
    load: f64,
    memory_bytes: u64,
    available_bytes: u64,
    gpus: Vec<Gpu>,
    folder: Option<Folder>,
}

#[derive(Debug, Clone, Deserialize)]
struct Gpu {
    name: String,
}

#[derive(Debug, Clone, Deserialize)]
struct Folder {
    path: PathBuf,
    free_bytes: u64,
    write_bytes_per_sec: Option<f64>,
}

#[derive(Debug, Deserialize)]
struct Product {
    flops_per_sec: f64,
}

#[derive(Debug, Default, Deserialize)]
struct Network {
    all_reduce_bytes_per_sec: f64,
    links: Vec<Link>,
}

#[derive(Debug, Deserialize)]
struct Link {
    from_host: String,
    to_host: String,
    bytes_per_sec: f64,
}

/// Examines the machines and prints a table, or JSON.
///
/// # Errors
/// A machine that is sick (exit code 3), a recipe that cannot be used on any (2), or ranks that did not end well.
pub fn run(args: &DoctorArgs) -> anyhow::Result<()> {
    let placement = Placement::find(&args.ranks)?;
    let screen = Screen::new();
    let mut output = Vec::new();
    let ended = run::ranks(&placement, &worker_args::doctor(args), &screen, |line| output.extend_from_slice(line));
    if output.is_empty() {
        return ended.context("not all ranks could be started, so none was examined");
    }
    let report: Value = serde_json::from_slice(&output).context("reading what tercet-worker doctor wrote")?;
    let json = serde_json::to_string_pretty(&report)? + "\n";
    if args.json.as_deref() == Some(Path::new("-")) {
        screen.pass(json.as_bytes());
        return ended;
    }
    if let Some(path) = &args.json {
        tercet_sampler::write_durably(path, json.as_bytes()).with_context(|| format!("writing {}", path.display()))?;
    }
    let report = serde_json::from_value(report).context("reading what tercet-worker doctor wrote")?;
    screen.pass(table::table(&report).as_bytes());
    // Why it ends with 2 or 3 is in the table.
    ended
}
