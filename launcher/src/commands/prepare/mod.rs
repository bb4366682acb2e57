//! `tercet prepare`: from what was typed to [`tercet_sampler::prepare`], and from its report to tables.

mod lengths;
mod picture;
mod progress;
mod tables;

use std::path::Path;
use std::time::Instant;

use tercet_sampler::{DatasetMeta, Holds, Long, OnError, PrepareInput, PrepareOptions, TextOptions};

use self::lengths::LengthCounts;
use self::progress::Progress;
use crate::args::{self, DataSetInput, Prepare};
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
    screen.say(&tables::texts(datasets));
    if report.num_texts_cut > 0 {
        let (query, passage) = (args.query_max_len, args.passage_max_len);
        let at = match args.texts.is_empty() {
            true => format!("queries at {query} tokens, passages at {passage}"),
            false => format!("at {} tokens", args.text_max_len),
        };
        screen.say(&format!("{} texts were cut ({at})\n", report.num_texts_cut));
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
    let inputs = |inputs: &[DataSetInput], holds| {
        let input = |input: &DataSetInput| PrepareInput { name: input.name.clone(), holds, paths: input.paths.clone() };
        inputs.iter().map(input).collect::<Vec<_>>()
    };
    PrepareOptions {
        tokenizer: args.tokenizer.clone(),
        inputs: [inputs(&args.inputs, Holds::Pairs), inputs(&args.texts, Holds::Texts)].concat(),
        out: args.out.clone(),
        query_max_len: args.query_max_len,
        passage_max_len: args.passage_max_len,
        texts: TextOptions {
            max_len: args.text_max_len,
            long: match args.long {
                args::Long::Cut => Long::Cut,
                args::Long::Split => Long::Split,
            },
            pack: args.pack,
        },
        on_error: match args.on_error {
            args::OnError::Stop => OnError::Stop,
            args::OnError::Skip => OnError::Skip,
        },
        drop_duplicates: args.drop_duplicates,
        rows_per_shard: args.rows_per_shard.get(),
    }
}
