//! Several GPUs compute what one does, over NCCL, and how their speed adds up.

use std::time::Instant;

use super::{golden, speed};
use crate::cases::{CASES, Model};
use crate::found::{Found, NothingToDo};
use crate::stage::Stage;

/// Ranks of the golden batch, which has four queries.
const MOST_RANKS: usize = 4;

pub fn run(stage: &Stage, found: &mut Found, until: Instant) -> anyhow::Result<()> {
    if stage.num_gpus == 1 {
        return Err(NothingToDo("there is one GPU".into()).into());
    }
    let ranks = stage.num_gpus.min(MOST_RANKS);
    let cases: Vec<_> = CASES.iter().filter(|case| case.small || case.model == Model::Wide).collect();
    golden::on_ranks(stage, found, until, &cases, ranks)?;
    let len = stage.sizes.usual_len;
    let one = speed::timed(stage, len, 1, &[], until)?;
    let all = speed::timed(stage, len, stage.num_gpus, &["backend=nccl"], until)?;
    found.table(&[
        speed::head(),
        speed::row(&format!("{len}, one GPU"), &one),
        speed::row(&format!("{len}, {} GPUs", stage.num_gpus), &all),
    ]);
    let share = all.median.tokens_per_sec / (one.median.tokens_per_sec * stage.num_gpus as f64);
    found.line(format!("{:.1} % of {} times one GPU's tokens a second\n", 100.0 * share, stage.num_gpus));
    found.figure("share", share);
    found.figures.bench = [("one".to_owned(), one), ("all".to_owned(), all)].into();
    Ok(())
}
