//! `search`: queries in, ranked documents of an index out, as TREC run files (docs/know/retrieval.md).

use std::io::Write;
use std::path::PathBuf;

use tercet_cluster::Collective;
use tercet_configs::CpuMatmul;
use tercet_protocol::args::{Prefixes, Ranking, SearchArgs};
use tercet_protocol::says::search::SearchRecord;
use tercet_retrieval::{Index, run_lines};

use crate::files::CommandError;
use crate::files::output::{AtomicFile, must_be_free};
use crate::retrieval::judged::{self, read_queries};
use crate::retrieval::prefixes;
use crate::retrieval::ranking::{Query, Ranked, Search, at_a_time, possible};
use crate::retrieval::texts::{EncoderOptions, TextEncoder};

/// Searches. Every rank calls it; rank 0 writes.
///
/// # Errors
/// What is wrong with model, index, queries or output.
pub fn run(args: &SearchArgs, ranks: &dyn Collective) -> anyhow::Result<()> {
    let index = Index::open(&args.index)?;
    let rankings = possible(&args.rankings, &index)?;
    // Run files are put in their places earlier. Without the record they are left from a search that was killed.
    let (record, paths) = (args.out.join("search.json"), run_files(args, &rankings));
    must_be_free(ranks, [record.as_path()])?;
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
    let search = Search::new(&index, &encoder, &args.lists, (&prompt, args.query_max_len), ranks)?;
    let mut files = match ranks.rank() {
        0 => paths.iter().map(|path| AtomicFile::create(path)).collect::<Result<Vec<_>, _>>()?,
        _ => Vec::new(),
    };
    for batch in queries.chunks(at_a_time(args.memory, (&args.lists, &rankings), args.query_max_len, &encoder)) {
        let asked: Vec<Query> = batch.iter().map(|query| Query { text: &query.text, left_out: &[] }).collect();
        let ranked = search.rank(&asked, &rankings)?;
        for ((file, path), ranked) in files.iter_mut().zip(&paths).zip(&ranked) {
            write(file, batch, ranked, &index).map_err(CommandError::file(path))?;
        }
    }
    if ranks.rank() == 0 {
        files.into_iter().try_for_each(AtomicFile::replace)?;
        let (num_queries, num_docs) = (queries.len(), index.num_docs());
        let said = record_of(args, &index, &rankings, num_queries, prompt);
        let mut file = AtomicFile::create(&record)?;
        file.write_all(&serde_json::to_vec_pretty(&said)?).map_err(CommandError::file(&record))?;
        file.commit()?;
        println!("{num_queries} queries, {num_docs} documents: {} run files in {}", paths.len(), args.out.display());
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
