//! What went wrong in runs, and how they went on.

use super::document::{Block, Cell, Section, Table};
use super::run::Run;
use crate::plan::{duration, grouped};
use crate::supervise::record::Line;

/// Failures, restarts and warnings of the runs that had any.
pub fn section(runs: &[Run]) -> Option<Section> {
    if runs.is_empty() {
        return None;
    }
    let mut blocks: Vec<Block> = runs.iter().flat_map(of).collect();
    if blocks.is_empty() {
        blocks.push(Block::Text("None.".into()));
    }
    Some(Section { title: "Restarts and faults".into(), blocks })
}

fn of(run: &Run) -> Vec<Block> {
    let failures = failures(run);
    let mut blocks = Vec::new();
    if !failures.rows.is_empty() {
        blocks.push(Block::Table(failures));
    }
    if !run.log.warnings.is_empty() {
        blocks.push(Block::Text("Warnings, in order:".into()));
        let mut warnings = run.log.warnings.clone();
        let others = run.log.num_warnings - warnings.len();
        warnings.extend((others > 0).then(|| format!("… and {} more", grouped(others as u64))));
        blocks.push(Block::List(warnings));
    }
    if !blocks.is_empty() {
        blocks.insert(0, Block::Heading(run.name.clone()));
    }
    blocks
}

/// A row for each failure, with how the run went on from the last of several in a row.
fn failures(run: &Run) -> Table {
    let head = [
        "after",
        "at step",
        "what",
        "on ranks",
        "known within",
        "went on from step",
        "steps done again",
        "on ranks then",
        "its first step after",
    ];
    let mut rows: Vec<Vec<Cell>> = Vec::new();
    for own in &run.restarts {
        match &own.line {
            Line::Failed { why, step, world_size, detected_secs } => {
                let after = run.began.and_then(|began| own.time.checked_sub(began));
                let mut row = vec![
                    after.map_or_else(Cell::none, |secs| duration(secs as f64).into()),
                    grouped(*step).into(),
                    why.as_str().into(),
                    world_size.to_string().into(),
                    duration(*detected_secs).into(),
                ];
                row.resize(head.len(), Cell::none());
                rows.push(row);
            }
            Line::Resumed { from_step, lost_steps, world_size, resumed_secs } => {
                let Some(row) = rows.last_mut() else { continue };
                let went_on =
                    [grouped(*from_step), grouped(*lost_steps), world_size.to_string(), duration(*resumed_secs)];
                row.splice(5.., went_on.map(Cell::from));
            }
        }
    }
    Table { head: head.map(str::to_owned).into(), rows }
}
