//! The plan of a run beside what happened.
//!
//! The plan is made again, of the recipe in the run folder, as many steps as are done, and the ranks of the last start.

use std::num::NonZeroUsize;

use tercet_configs::{Device, error_line};

use super::document::{Block, Cell, Section, Table};
use super::run::Run;
use crate::plan::{self, Target, scaled};

/// A table for each run of which a plan can be made.
pub fn section(runs: &[Run]) -> Option<Section> {
    let blocks: Vec<Block> = runs.iter().filter(|run| run.steps() > 0).flat_map(of).collect();
    if blocks.is_empty() {
        return None;
    }
    let text = "The plan is made again of the run folder's recipe, for the steps that are done. Bytes are a rank's, what \
                it hands to the collectives in a step, the mean over steps and ranks. Memory is the largest rank's at its \
                peak, which the plan estimates.";
    let blocks = std::iter::once(Block::Text(text.into())).chain(blocks).collect();
    Some(Section { title: "The plan and what happened".into(), blocks })
}

fn of(run: &Run) -> Vec<Block> {
    let table = table(run).map_or_else(|why| Block::Text(format!("There is no plan: {why}.")), Block::Table);
    vec![Block::Heading(run.name.clone()), table]
}

fn table(run: &Run) -> Result<Table, String> {
    let mut recipe = run.recipe.clone().ok_or("the run folder's recipe.toml is missing, or of another version")?;
    let ranks = run.log.starts.last().copied().and_then(NonZeroUsize::new);
    let ranks = ranks.ok_or("train.log, which has the number of ranks, is missing")?;
    let device = if run.sums.device_peak_bytes.is_some() { Device::Cuda } else { Device::Cpu };
    recipe.precision = recipe.precision.on(device, true);
    recipe.steps = run.steps();
    let (planned, _) = plan::report(&recipe, Target::new(ranks, device), None, |_, _| Ok(None))
        .map_err(|error| error_line(error.as_ref()))?;
    let totals = planned.totals.ok_or_else(|| planned.errors.join("; "))?;
    let sums = &run.sums;
    let mut rows = Vec::new();
    let mut row = |name: &str, planned: Option<f64>, found: Option<f64>, write: &dyn Fn(f64) -> String| {
        let write = |value: Option<f64>| value.map_or_else(Cell::none, |value| write(value).into());
        rows.push(vec![name.into(), write(planned), write(found)]);
    };
    let bytes = |value: f64| scaled(value.round(), "B");
    row("tokens", Some(totals.tokens), Some(sums.tokens), &|tokens| scaled(tokens.round(), ""));
    row("largest over mean cost of ranks", Some(totals.imbalance), sums.mean(sums.imbalance), &|v| format!("{v:.4}"));
    let traffic = planned.traffic.filter(|_| planned.memory.is_some());
    let handed = traffic.map(|traffic| [traffic.all_reduce_bytes, traffic.ring_bytes, traffic.gather_bytes]);
    for (at, name) in ["bytes to all-reduces", "bytes to the ring", "bytes to all-gathers"].into_iter().enumerate() {
        row(name, handed.map(|bytes| bytes[at]), sums.mean(sums.bytes[at]), &bytes);
    }
    let found = sums.device_peak_bytes.unwrap_or(sums.peak_rss_bytes) as f64;
    row("peak memory", planned.memory.map(|memory| memory.total_bytes), Some(found), &bytes);
    let head = [format!("on {ranks} rank{}", if ranks.get() == 1 { "" } else { "s" }), "plan".into(), "run".into()];
    Ok(Table { head: head.into(), rows })
}
