//! `search`: queries in, ranked documents of an index out, as TREC run files (docs/know/retrieval.md).

use std::io::Write;
use std::path::PathBuf;

use tercet_cluster::Collective;
use tercet_configs::CpuMatmul;
use tercet_protocol::args::{Prefixes, Ranking, SearchArgs};
use tercet_protocol::says;
use tercet_protocol::says::dry_run::SearchSample;
use tercet_protocol::says::search::SearchRecord;
use tercet_retrieval::{Index, run_lines};

use crate::files::CommandError;
use crate::files::atomic::{AtomicFile, is_begun, remove_begun};
use crate::files::output::must_be_free;
use crate::machine::device::device_kind;
use crate::retrieval::judged::{self, read_queries};
use crate::retrieval::prefixes;
use crate::retrieval::ranking::{Query, Ranked, Search, possible};
use crate::retrieval::texts::{EncoderOptions, TextEncoder};

/// Queries that `--dry-run` times, and those that it searches before.
const DRY_RUN: usize = 256;
const WARM_UP: usize = 4;

/// Searches. Every rank calls it; rank 0 writes.
///
/// # Errors
/// What is wrong with model, index, queries or output.
pub fn run(args: &SearchArgs, ranks: &dyn Collective) -> anyhow::Result<()> {
    let index = Index::open(&args.index)?;
    let rankings = possible(&args.rankings, &index)?;
    let (record, paths) = (args.out.join("search.json"), run_files(args, &rankings));
    if !args.dry_run {
        // Beside a record that was begun, run files are left from a search that was killed. Others are somebody's.
        let others = if is_begun(&record) { &[] } else { &paths[..] };
        must_be_free(ranks, [&record].into_iter().chain(others).map(PathBuf::as_path))?;
    }
    let queries = read_queries(&args.queries)?;
    check_queries(args, &queries)?;
    let encoding = &index.settings().encoding;
    let options = EncoderOptions {
        pooling: Some(encoding.pooling),
        mcls: encoding.mcls.and_then(std::num::NonZeroUsize::new),
        sub_batch_tokens: args.sub_batch_tokens,
        precision: args.precision.into(),
        matmul: CpuMatmul::Onednn,
    };
    let encoder = TextEncoder::load(&args.model, options, ranks)?;
    index.must_be_of(&encoder.weights_of())?;
    let asked = Prefixes { query_prefix: args.query_prefix.clone(), passage_prefix: None };
    let [prompt, _] = prefixes::over(&asked, encoder.prompts());
    prefixes::tell(ranks, "queries", &prompt, queries.iter().map(|query| query.text.as_str()));
    if ranks.rank() == 0 {
        tell_of_empty(&encoder, &queries)?;
    }
    let search = Search::new(&index, &encoder, &args.lists, (&prompt, args.query_max_len), ranks)?;
    let batch = search.batch_len(args.memory, &rankings);
    if args.dry_run {
        return dry_run(&search, &queries, &rankings, batch);
    }
    // Before any run file is in its place.
    let record_file = (ranks.rank() == 0).then(|| AtomicFile::create(&record)).transpose()?;
    let mut files = match ranks.rank() {
        0 => {
            // The record is held, so whoever began these is dead: also those that this search does not write.
            run_files(args, &Ranking::ALL).iter().try_for_each(|path| remove_begun(path))?;
            paths.iter().map(|path| AtomicFile::create(path)).collect::<Result<Vec<_>, _>>()?
        }
        _ => Vec::new(),
    };
    for batch in queries.chunks(batch) {
        let asked: Vec<Query> = batch.iter().map(|query| Query { text: &query.text, left_out: &[] }).collect();
        let ranked = search.rank(&asked, &rankings)?;
        for ((file, path), ranked) in files.iter_mut().zip(&paths).zip(&ranked) {
            write(file, batch, ranked, &index).map_err(CommandError::file(path))?;
        }
    }
    if let Some(mut file) = record_file {
        files.into_iter().try_for_each(AtomicFile::replace)?;
        let (num_queries, num_docs) = (queries.len(), index.num_docs());
        let said = record_of(args, &index, &rankings, num_queries, prompt);
        file.write_all(&serde_json::to_vec_pretty(&said)?).map_err(CommandError::file(&record))?;
        file.commit()?;
        println!("{num_queries} queries, {num_docs} documents: {} run files in {}", paths.len(), args.out.display());
    }
    Ok(())
}

/// Says how many queries say nothing.
fn tell_of_empty(encoder: &TextEncoder, queries: &[judged::Query]) -> anyhow::Result<()> {
    let texts: Vec<&str> = queries.iter().map(|query| query.text.as_str()).collect();
    let num_empty = encoder.tokenless(&texts)?.len();
    if num_empty > 0 {
        tracing::warn!("{num_empty} queries are blank or without a token: they all get the same representation");
    }
    Ok(())
}

/// Searches some of `queries` part by part, and prints how long that took.
fn dry_run(search: &Search, queries: &[judged::Query], rankings: &[Ranking], batch: usize) -> anyhow::Result<()> {
    let asked = |count: usize| -> Vec<Query> {
        queries.iter().take(count).map(|query| Query { text: &query.text, left_out: &[] }).collect()
    };
    // The first pages, and what libtorch sets up once.
    search.time(&asked(WARM_UP), rankings)?;
    let asked = asked(DRY_RUN);
    let times = search.time(&asked, rankings)?;
    let index = search.index();
    if search.ranks().rank() == 0 {
        let sample = SearchSample {
            world_size: search.ranks().world_size(),
            device: device_kind(search.encoder().device()),
            passages: index.num_docs() as u64,
            index_bytes: index.num_bytes(),
            dense_width: search.encoder().dims().0 as u64,
            queries: asked.len() as u64,
            batch: batch as u64,
            encode_secs: times.encode,
            first_secs: times.first_by_name(),
            again_secs: times.again,
            candidates: times.candidates as u64,
            rerank: search.lists().rerank,
            top: search.lists().top,
        };
        println!("{}", says::line(&sample));
    }
    Ok(())
}

fn run_files(args: &SearchArgs, rankings: &[Ranking]) -> Vec<PathBuf> {
    rankings.iter().map(|ranking| args.out.join(format!("{}.trec", ranking.name()))).collect()
}

fn record_of(
    args: &SearchArgs,
    index: &Index,
    rankings: &[Ranking],
    queries: usize,
    query_prompt: String,
) -> SearchRecord {
    let (settings, lists) = (index.settings(), &args.lists);
    SearchRecord {
        weights: settings.model.weights.clone(),
        corpus: settings.corpus.blake3.clone(),
        passages: settings.corpus.passages,
        queries,
        rankings: rankings.iter().map(|ranking| ranking.name()).collect(),
        top: lists.top,
        rerank: lists.rerank,
        dense_lexical_weights: lists.dense_lexical_weights.0,
        all_weights: lists.all_weights.0,
        lexical: lists.lexical.to_string(),
        bm25_k1: lists.bm25_k1,
        bm25_b: lists.bm25_b,
        bm25_lengths: lists.bm25_lengths.to_string(),
        query_prompt,
        query_max_len: args.query_max_len,
    }
}

/// Refuses what a run file cannot carry, and no query at all.
fn check_queries(args: &SearchArgs, queries: &[judged::Query]) -> Result<(), CommandError> {
    let data = |reason: String| Err(CommandError::Data { path: args.queries.clone(), reason });
    if queries.is_empty() {
        return data("holds no query".into());
    }
    match queries.iter().find(|query| query.id.contains(char::is_whitespace)) {
        Some(query) => {
            data(format!("the _id {:?} has a blank in it, which TREC's run files cannot carry: rename it", query.id))
        }
        None => Ok(()),
    }
}

fn write(
    file: &mut AtomicFile,
    queries: &[judged::Query],
    (ranking, lists): &Ranked,
    index: &Index,
) -> std::io::Result<()> {
    let tag = ranking.name();
    queries.iter().zip(lists).try_for_each(|(query, list)| run_lines(file, &query.id, list, index, &tag))
}
