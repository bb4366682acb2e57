//! `mine`: hard negatives for training rows, found with the model that is to learn from them (ANCE; Xiong et al.,
//! 2020).
//!
//! Passages are those of an index, or one is made for this (`searched.rs`). They are ranked for each row's query. Known
//! answers (`known.rs`) are left out, what is left has ranks, filters go through the ranks that `--range` names, and
//! `--negatives` of what they leave are drawn by a hash of seed and row (`candidates.rs`). They become the row's `neg`,
//! best first. All other fields stay as they are written (`rows.rs`). What was drawn, and what was not, is counted
//! (`tally.rs`).
//!
//! The same input gives the same bytes on any number of ranks: rows go in runs of [`RUN`], each by one rank, and
//! nothing that is computed together is put together by rank.

mod candidates;
mod known;
mod miner;
mod outputs;
mod rows;
mod said;
mod searched;
mod sieve;
mod tally;

use std::collections::BTreeMap;
use std::io::Write;

use tercet_cluster::Collective;
use tercet_configs::CpuMatmul;
use tercet_protocol::args::{Few, MineArgs};
use tercet_protocol::says::mine::{MineReport, Mined};
use tercet_retrieval::Index;

use self::known::Known;
use self::miner::{Miner, Tallies};
use self::outputs::Outputs;
use self::rows::for_each_batch;
use crate::files::CommandError;
use crate::files::atomic::{AtomicFile, commit_together};
use crate::files::output::{must_be_free, remove_left};
use crate::retrieval::indexing::{must_be_an_index_or_free, remove_index};
use crate::retrieval::ranking::{RUN, Search};
use crate::retrieval::texts::{EncoderOptions, TextEncoder};

/// Rows at a time at most: more would be no faster, and their lines wait for all of them.
const LARGEST_BATCH: usize = 32 * RUN;

/// Mines negatives for all rows. Every rank calls it; rank 0 writes.
///
/// # Errors
/// What is wrong with model, rows, passages or output; [`CommandError`] where it is one of the latter three.
pub fn run(args: &MineArgs, ranks: &dyn Collective) -> anyhow::Result<()> {
    let outputs = Outputs::of(args)?;
    must_be_free(ranks, outputs.paths())?;
    check_depth(args)?;
    if ranks.rank() == 0 {
        tell_of_short_range(args);
    }
    let given = args.index.as_deref().map(Index::open).transpose()?;
    if given.is_none() {
        must_be_an_index_or_free(&outputs.index, ranks)?;
    }
    let encoding = given.as_ref().map(|index| &index.settings().encoding);
    let options = EncoderOptions {
        pooling: encoding.map(|encoding| encoding.pooling),
        mcls: encoding.and_then(|encoding| encoding.mcls).and_then(std::num::NonZeroUsize::new),
        sub_batch_tokens: args.sub_batch_tokens,
        precision: args.precision.into(),
        matmul: CpuMatmul::Onednn,
    };
    let encoder = TextEncoder::load(&args.model, options, ranks)?;
    given.as_ref().map_or(Ok(()), |index| index.must_be_of(&encoder.weights_of()))?;
    let teacher = args.teacher.as_deref().map(|dir| {
        let options = EncoderOptions { pooling: None, mcls: None, ..options };
        TextEncoder::load(dir, options, ranks)
    });
    let teacher = teacher.transpose()?;

    if ranks.rank() == 0 {
        remove_left(&outputs.paths().collect::<Vec<_>>())?;
    }
    let mut known = Known::of_rows(&args.rows, &encoder, ranks)?;
    if args.filters.answers && known.num_answered == 0 {
        let message =
            "--answers: no row has \"answers\", so nothing would be left out by them: a list of strings is expected";
        return Err(CommandError::Usage(message.into()).into());
    }
    let (index, query_prompt) = searched::index(args, given, (&encoder, &known), &outputs.index, ranks)?;
    known.find(&index);
    if ranks.rank() == 0 {
        known.tell(&searched::name(args));
    }
    let search = Search::new(&index, &encoder, &args.lists, (&query_prompt, args.query_max_len), ranks)?;
    let miner = Miner { args, index: &index, search: &search, known: &known, teacher: teacher.as_ref(), ranks };
    let (files, tallies) = mine_all(&miner, &outputs)?;
    let tallies = tallies.gather(ranks)?;
    let report = report(args, &index, &tallies);
    // A folder cannot be removed on every file system while somebody has its files open.
    drop(index);
    ranks.barrier()?;
    if ranks.rank() == 0 {
        let mut file = AtomicFile::create(&outputs.report)?;
        let bytes = [&serde_json::to_vec_pretty(&report)?[..], b"\n"].concat();
        file.write_all(&bytes).map_err(CommandError::file(&outputs.report))?;
        // Before the rows are in their places: a command that is killed between the two begins anew, and nothing stays.
        if args.index.is_none() {
            // What was mined counts for more than what cannot be removed.
            if let Err(error) = remove_index(&outputs.index) {
                tracing::warn!("{}: not removed: {error}", outputs.index.display());
            }
        }
        commit_together(files.into_iter().chain([file]).collect())?;
        said::say(args, &known, &report);
    }
    Ok(())
}

/// Mines file by file; on rank 0 the files, which are not in their places yet, and on every rank its own counts.
fn mine_all(miner: &Miner, outputs: &Outputs) -> anyhow::Result<(Vec<AtomicFile>, Tallies)> {
    let Miner { args, search, ranks, .. } = *miner;
    let room = search.batch_len(args.memory, &[args.ranking]);
    let (mut files, mut tallies) = (Vec::new(), Tallies::default());
    for (out, inputs) in &outputs.files {
        let mut file = (ranks.rank() == 0).then(|| AtomicFile::create(out)).transpose()?;
        for_each_batch(inputs, room.min(LARGEST_BATCH), |first, path, rows| {
            let lines = miner.mine(first, path, rows, &mut tallies)?;
            if let Some(file) = &mut file {
                file.write_all(&lines).map_err(CommandError::file(out))?;
            }
            Ok(())
        })?;
        files.extend(file);
    }
    Ok((files, tallies))
}

/// Refuses a range that no list reaches.
fn check_depth(args: &MineArgs) -> Result<(), CommandError> {
    let lists = &args.lists;
    let (depth, option) =
        if args.ranking.encodes_again() { (lists.rerank.min(lists.top), "rerank") } else { (lists.top, "top") };
    match args.range.depth > depth {
        true => Err(CommandError::Usage(format!(
            "--range {}: lists end at rank {depth}: lower it, or raise --{option}",
            args.range
        ))),
        false => Ok(()),
    }
}

/// Says what becomes of rows that want more negatives than the range has ranks.
fn tell_of_short_range(args: &MineArgs) {
    let (range, negatives) = (args.range.depth - args.range.skip, args.negatives);
    if negatives > range {
        let follows = match args.few {
            Few::Widen => "the others come from further down",
            Few::Keep => "no row gets more",
            Few::Drop => "every row is left out",
        };
        tracing::warn!("--range {} has {range} ranks for {negatives} negatives: {follows} (--few)", args.range);
    }
}

fn report(args: &MineArgs, index: &Index, tallies: &Tallies) -> MineReport {
    let range = args.range.skip..args.range.depth;
    let parts = |parts: &BTreeMap<String, tally::Tally>| -> BTreeMap<String, Mined> {
        parts.iter().map(|(name, tally)| (name.clone(), tally.mined(range.clone()))).collect()
    };
    let settings = index.settings();
    MineReport {
        weights: settings.model.weights.clone(),
        corpus: settings.corpus.blake3.clone(),
        passages: settings.corpus.passages,
        ranking: args.ranking.name(),
        range: [range.start, range.end],
        negatives: args.negatives,
        all: tallies.all.mined(range.clone()),
        by_file: parts(&tallies.by_file),
        by_language: parts(&tallies.by_language),
    }
}
