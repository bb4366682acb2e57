//! `tercet prepare`: from what was typed to [`tercet_sampler::prepare`], and from its report to tables.

mod lengths;
mod picture;
mod progress;
mod tables;

use std::path::Path;
use std::time::Instant;

use tercet_sampler::{DatasetMeta, OnError, PrepareInput, PrepareOptions};

use self::lengths::LengthCounts;
use self::progress::Progress;
use crate::args::{self, Prepare};
use crate::screen::Screen;
use crate::screen::progress::short;

/// The picture of the rows' lengths, in the store.
const LENGTHS_FILE: &str = "lengths.svg";

/// Writes the token store and prints what is in it.
///
/// # Errors
/// As [`tercet_sampler::prepare`].
pub fn run(args: &Prepare) -> anyhow::Result<()> {
    let screen = Screen::new();
    let (started, mut progress) = (Instant::now(), Progress::new(screen.clone()));
    // A store without its picture is still a store.
    let mut picture = Ok(());
    let mut companions = |datasets: &[DatasetMeta]| match picture::svg(datasets) {
        Ok(svg) => vec![(LENGTHS_FILE, svg)],
        Err(error) => {
            picture = Err(error);
            Vec::new()
        }
    };
    let report = tercet_sampler::prepare_with(&options(args), &mut |so_far| progress.show(so_far), &mut companions);
    screen.close_bar();
    let report = report.map_err(|e| going_on(e.into(), &args.out))?;
    let datasets = &report.manifest.datasets;
    let tables = [tables::data_sets(&report), tables::languages(datasets), LengthCounts::of(datasets).table()];
    screen.pass(tables.join("\n").as_bytes());
    picture?;
    for warning in &report.warnings {
        screen.say(&format!("warning: {warning}\n"));
    }
    if report.num_texts_cut > 0 {
        let (query, passage) = (args.query_max_len, args.passage_max_len);
        let cut = report.num_texts_cut;
        screen.say(&format!("{cut} texts were cut (queries at {query} tokens, passages at {passage})\n"));
    }
    if let Some(list) = report.skipped_list.as_deref().filter(|_| report.num_skipped > 0) {
        screen.say(&tables::skipped(report.num_skipped, list)?);
    }
    screen.say(&format!("token store {} written in {}\n", args.out.display(), short(started.elapsed())));
    Ok(())
}

/// Says how to go on, if something is there to go on with.
fn going_on(error: anyhow::Error, out: &Path) -> anyhow::Error {
    if !tercet_sampler::is_unfinished(out) {
        return error;
    }
    error.context(format!(
        "{} keeps what is finished: the same command goes on with it, but for data sets whose files have changed",
        out.display()
    ))
}

fn options(args: &Prepare) -> PrepareOptions {
    PrepareOptions {
        tokenizer: args.tokenizer.clone(),
        inputs: args
            .inputs
            .iter()
            .map(|input| PrepareInput { name: input.name.clone(), paths: input.paths.clone() })
            .collect(),
        out: args.out.clone(),
        query_max_len: args.query_max_len,
        passage_max_len: args.passage_max_len,
        on_error: match args.on_error {
            args::OnError::Stop => OnError::Stop,
            args::OnError::Skip => OnError::Skip,
        },
        drop_duplicates: args.drop_duplicates,
        rows_per_shard: args.rows_per_shard.get(),
    }
}
