//! `eval`: how well a model retrieves on BEIR-format folders, with each head and their combinations.
//!
//! Every rank encodes and keeps its part of a corpus; queries are encoded in parts too and then shared, every rank
//! searches its part for all of them, and the best lists are merged. [`Rankings`] says what is ranked how.
//!
//! A rank's documents stay in its memory as 32-bit floats, multi-vector ones too: 2 KB a token for a model 512 wide.

mod beir;
mod hits;
mod metrics;
mod search;
mod trec;

use std::collections::BTreeMap;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};

use clap::Args;
use tercet_cluster::Collective;

pub use beir::{Dataset, Judgments, Query};
pub use hits::{Hit, TopHits};
pub use metrics::Metrics;
pub use search::Rankings;
pub(super) use search::{for_each_dense_row, merge_ranks};
pub use trec::write_run;

use super::error::TaskError;
use super::output::{must_be_free, write_together};
use super::texts::TextEncoder;
use super::vectors::share;
use crate::representation::Heads;

/// Arguments of `tercet-worker eval`.
#[derive(Debug, Args)]
pub struct EvalArgs {
    /// Directory of the model (Hugging Face layout)
    #[arg(long, value_name = "DIR")]
    pub model: PathBuf,
    /// BEIR-format folders (corpus.jsonl, queries.jsonl, qrels/test.tsv)
    #[arg(long, value_name = "FOLDER", required = true, num_args = 1..)]
    pub data: Vec<PathBuf>,
    /// Where the TREC run files (DATASET/HEAD.trec) and metrics.json go
    #[arg(long, value_name = "DIR")]
    pub out: Option<PathBuf>,
    /// Tokens of a query at most, or as many as the model takes; longer ones are cut
    #[arg(long, value_name = "TOKENS", default_value_t = 512)]
    pub query_max_len: usize,
    /// Tokens of a document at most, or as many as the model takes; longer ones are cut
    #[arg(long, value_name = "TOKENS", default_value_t = 8192)]
    pub passage_max_len: usize,
    /// Insert a CLS every N tokens and average them for the dense vector (long texts)
    #[arg(long, value_name = "N")]
    pub mcls: Option<NonZeroUsize>,
    /// Also write the figures as JSON
    #[arg(long, value_name = "FILE")]
    pub json: Option<PathBuf>,
    /// Padded tokens that go through the encoder at a time
    #[arg(long, value_name = "TOKENS", default_value_t = 8192)]
    pub sub_batch_tokens: usize,
}

/// Head → figures, in the order of [`Rankings::by_head`].
type Figures = Vec<(&'static str, Metrics)>;

/// Evaluates the model on each folder. Every rank calls it; rank 0 writes.
///
/// # Errors
/// What is wrong with model, data or output; [`TaskError`] where it is data or output.
pub fn run(args: &EvalArgs, ranks: &dyn Collective) -> anyhow::Result<()> {
    let metrics = args.out.as_ref().map(|out| out.join("metrics.json"));
    let outputs: Vec<&Path> = metrics.iter().chain(&args.json).map(PathBuf::as_path).collect();
    must_be_free(ranks, outputs.iter().copied())?;
    let encoder = TextEncoder::load(&args.model, None, args.mcls, args.sub_batch_tokens, ranks)?;
    let mut results = BTreeMap::new();
    for folder in &args.data {
        let mut data = Dataset::load(folder, ranks.rank(), ranks.world_size())?;
        if results.contains_key(&data.name) {
            let message = format!("--data: two folders are called {}, and so would their results be", data.name);
            return Err(TaskError::Usage(message).into());
        }
        let mut rankings = rank_documents(args, &encoder, &mut data, ranks)?;
        list_a_miss(&data, &mut rankings.lexical);
        let figures = rankings.by_head().map(|(head, lists)| (head, figures(&data, lists))).to_vec();
        if ranks.rank() == 0 {
            warn_of_unknown_ids(&data);
            if let Some(out) = &args.out {
                write_runs(&out.join(&data.name), &data, &rankings)?;
            }
        }
        results.insert(data.name, (figures, data.doc_ids.len(), data.queries.len()));
    }
    if ranks.rank() == 0 {
        let json = serde_json::to_vec_pretty(
            &results
                .iter()
                .map(|(name, result)| (name, result.0.iter().copied().collect()))
                .collect::<BTreeMap<_, BTreeMap<_, _>>>(),
        )?;
        write_together(&outputs, &json)?;
        for (name, (figures, num_docs, num_queries)) in &results {
            print!("{}", table(name, figures, *num_docs, *num_queries));
        }
    }
    Ok(())
}

/// Ranks the corpus for every query; takes the documents' texts out of `data`. Every rank calls it.
fn rank_documents(
    args: &EvalArgs,
    encoder: &TextEncoder,
    data: &mut Dataset,
    ranks: &dyn Collective,
) -> anyhow::Result<Rankings> {
    let queries: Vec<&str> = share(&data.queries, ranks).map(|query| query.text.as_str()).collect();
    let queries = encoder.encode(&queries, args.query_max_len, Heads::ALL)?.gather(ranks)?;
    let (numbers, docs): (Vec<u32>, Vec<String>) = std::mem::take(&mut data.own_docs).into_iter().unzip();
    let docs: Vec<&str> = docs.iter().map(String::as_str).collect();
    let docs = encoder.encode(&docs, args.passage_max_len, Heads::ALL)?;
    search::Corpus::new(numbers, docs, encoder.device()).search(&queries, ranks)
}

/// Lists one document that is not relevant, with score 0, for each query that finds none: trec_eval leaves a query
/// without a line out of its means, and finding nothing shall count as 0.
fn list_a_miss(data: &Dataset, rankings: &mut [Vec<Hit>]) {
    for (query, ranking) in data.queries.iter().zip(rankings).filter(|(_, ranking)| ranking.is_empty()) {
        let judgments = &data.qrels[&query.id];
        let miss = data.doc_ids.iter().position(|id| judgments.get(id).is_none_or(|&relevance| relevance <= 0));
        ranking.push(Hit::new(miss.unwrap_or(0) as u32, 0.0));
    }
}

fn figures(data: &Dataset, rankings: &[Vec<Hit>]) -> Metrics {
    let per_query: Vec<Metrics> = data
        .queries
        .iter()
        .zip(rankings)
        .map(|(query, ranking)| {
            let ids = ranking.iter().map(|hit| data.doc_ids[hit.doc as usize].as_str());
            Metrics::of_query(ids, &data.qrels[&query.id])
        })
        .collect();
    Metrics::mean(&per_query)
}

fn write_runs(folder: &Path, data: &Dataset, rankings: &Rankings) -> Result<(), TaskError> {
    for (head, lists) in rankings.by_head() {
        let by_query = data.queries.iter().map(|query| query.id.as_str()).zip(lists.iter().map(Vec::as_slice));
        write_run(&folder.join(format!("{head}.trec")), by_query, &data.doc_ids, head)?;
    }
    Ok(())
}

fn warn_of_unknown_ids(data: &Dataset) {
    if data.num_unknown_queries > 0 {
        tracing::warn!(
            "{}: qrels judge {} queries that queries.jsonl lacks; they are left out",
            data.name,
            data.num_unknown_queries
        );
    }
    if data.num_unknown_docs > 0 {
        tracing::warn!(
            "{}: qrels judge {} documents that corpus.jsonl lacks; they count as not found",
            data.name,
            data.num_unknown_docs
        );
    }
}

fn table(name: &str, figures: &Figures, num_docs: usize, num_queries: usize) -> String {
    let mut table = format!("{name}: {num_docs} documents, {num_queries} queries\n");
    table += &format!("  {:<14}{:>9}{:>12}{:>9}\n", "head", "nDCG@10", "Recall@100", "MRR@10");
    for (head, m) in figures {
        table += &format!("  {head:<14}{:>9.4}{:>12.4}{:>9.4}\n", m.ndcg_at_10, m.recall_at_100, m.mrr_at_10);
    }
    table
}
