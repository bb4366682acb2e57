//! `eval`: how well a model retrieves on BEIR-format folders, with each head and their combinations.
//!
//! Every rank encodes and keeps its part of a corpus; queries are encoded in parts too and then shared, every rank
//! searches its part for all of them, and the best lists are merged. [`Rankings`] says what is ranked how.
//!
//! The document that has the query's very id is left out of its list, as in BEIR's own evaluation: in some data sets
//! (Quora, ArguAna) queries are documents of the corpus.
//!
//! A rank's documents stay in its memory as 32-bit floats, multi-vector ones too: 2 KB a token for a model 512 wide.

mod hits;
mod search;
mod trec;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use tercet_cluster::Collective;
use tercet_configs::CpuMatmul;
use tercet_protocol::args::EvalArgs;
use tercet_protocol::says::eval::{Metrics, Results};

pub use hits::{Hit, TopHits};
pub use search::Rankings;
pub use trec::write_run;

use crate::files::CommandError;
use crate::files::output::{must_be_free, write_together};
use crate::model::representation::Heads;
use crate::retrieval::judged::{Dataset, folder_name, metrics};
use crate::retrieval::prefixes;
use crate::retrieval::texts::{EncoderOptions, TextEncoder};
use crate::retrieval::vectors::share;

/// Head → figures, in the order of [`Rankings::by_head`].
type Figures = Vec<(&'static str, Metrics)>;

/// Evaluates the model on each folder. Every rank calls it; rank 0 writes.
///
/// # Errors
/// What is wrong with model, data or output; [`CommandError`] where it is data or output.
pub fn run(args: &EvalArgs, ranks: &dyn Collective) -> anyhow::Result<()> {
    check_folders(args)?;
    let metrics = args.out.as_ref().map(|out| out.join("metrics.json"));
    let to_screen = args.json.as_deref() == Some(Path::new("-"));
    let json_file = args.json.as_ref().filter(|_| !to_screen);
    // Run files are written earlier. Without metrics.json they are left from an evaluation that was killed.
    let outputs: Vec<&Path> = metrics.iter().chain(json_file).map(PathBuf::as_path).collect();
    must_be_free(ranks, outputs.iter().copied())?;
    let options = EncoderOptions {
        pooling: None,
        mcls: args.mcls,
        sub_batch_tokens: args.sub_batch_tokens,
        precision: args.precision.into(),
        matmul: CpuMatmul::Auto,
    };
    let encoder = TextEncoder::load(&args.model, options, ranks)?;
    let mut results = BTreeMap::new();
    for folder in &args.data {
        let mut data = Dataset::load(folder, &args.split, ranks.rank(), ranks.world_size())?;
        check_names(args, &data)?;
        leave_out_namesakes(args, &mut data, ranks);
        let mut rankings = rank_documents(args, &encoder, &mut data, ranks)?;
        list_a_miss(&data, &mut rankings.lexical);
        let figures = rankings.by_head().map(|(head, lists)| (head, figures(&data, lists))).to_vec();
        if ranks.rank() == 0 {
            data.remarks.iter().for_each(|remark| tracing::warn!("{}: {remark}", data.name));
            if let Some(out) = &args.out {
                write_runs(&out.join(&data.name), &data, &rankings)?;
            }
        }
        results.insert(data.name, (figures, data.doc_ids.len(), data.queries.len()));
    }
    if ranks.rank() == 0 {
        let by_head = |figures: &Figures| figures.iter().map(|&(head, figures)| (head.to_owned(), figures)).collect();
        let all: Results = results.iter().map(|(name, (figures, ..))| (name.clone(), by_head(figures))).collect();
        let json = serde_json::to_vec_pretty(&all)?;
        write_together(&outputs, &json)?;
        if to_screen {
            println!("{}", String::from_utf8_lossy(&json));
            return Ok(());
        }
        for (name, (figures, num_docs, num_queries)) in &results {
            print!("{}", table(name, &args.split, figures, *num_docs, *num_queries));
        }
    }
    Ok(())
}

/// Checks that every folder has what it needs, and a name of its own, before the work on the first one begins.
fn check_folders(args: &EvalArgs) -> Result<(), CommandError> {
    let mut names = Vec::new();
    for folder in &args.data {
        Dataset::check(folder, &args.split)?;
        let name = folder_name(folder)?;
        if names.contains(&name) {
            let message = format!("--data: two folders are called {name}, and so would their results be");
            return Err(CommandError::Usage(message));
        }
        names.push(name);
    }
    Ok(())
}

/// Whether the names of the texts can be written into run files, which have blanks between their columns.
fn check_names(args: &EvalArgs, data: &Dataset) -> Result<(), CommandError> {
    match (&args.out, &data.id_with_blank) {
        (Some(_), Some(id)) => Err(CommandError::Usage(format!(
            "{}: the _id {id:?} has a blank in it, which TREC's run files cannot carry: leave out --out (--json FILE has the \
             figures), or rename it",
            data.name
        ))),
        _ => Ok(()),
    }
}

/// Keeps documents that have their query's id only if the user asks for it, and reports their number.
fn leave_out_namesakes(args: &EvalArgs, data: &mut Dataset, ranks: &dyn Collective) {
    let num = data.namesakes.iter().flatten().count();
    if args.keep_identical_ids {
        data.namesakes.fill(None);
    } else if num > 0 && ranks.rank() == 0 {
        tracing::info!(
            "{}: {num} of {} queries have the id of a document, which is left out of their lists as in BEIR's own \
             evaluation (--keep-identical-ids keeps it)",
            data.name,
            data.queries.len()
        );
    }
}

/// Ranks the corpus for every query; takes the documents' texts out of `data`. Every rank calls it.
fn rank_documents(
    args: &EvalArgs,
    encoder: &TextEncoder,
    data: &mut Dataset,
    ranks: &dyn Collective,
) -> anyhow::Result<Rankings> {
    let [query_prompt, passage_prompt] = prefixes::over(&args.prefixes, encoder.prompts());
    let queries: Vec<&str> = data.queries.iter().map(|query| query.text.as_str()).collect();
    let (numbers, docs): (Vec<u32>, Vec<String>) = std::mem::take(&mut data.own_docs).into_iter().unzip();
    let docs: Vec<&str> = docs.iter().map(String::as_str).collect();
    prefixes::tell(ranks, "queries", &query_prompt, queries.iter().copied());
    prefixes::tell(ranks, "documents", &passage_prompt, docs.iter().copied());
    let queries: Vec<&str> = share(&queries, ranks).copied().collect();
    let queries = encoder.encode(&query_prompt, &queries, args.query_max_len, Heads::ALL, ranks)?.gather(ranks)?;
    let docs = encoder.encode(&passage_prompt, &docs, args.passage_max_len, Heads::ALL, ranks)?;
    search::Corpus::new(numbers, docs, encoder.device()).search(&queries, &data.namesakes, ranks)
}

/// Lists one document that is not relevant, with score 0, for each query that finds none: trec_eval leaves a query
/// without a line out of its means, but finding nothing must count as 0.
fn list_a_miss(data: &Dataset, rankings: &mut [Vec<Hit>]) {
    for (query, ranking) in data.queries.iter().zip(rankings).filter(|(_, ranking)| ranking.is_empty()) {
        let judgments = &data.qrels[&query.id];
        let is_miss = |id: &String| *id != query.id && judgments.get(id).is_none_or(|&relevance| relevance <= 0);
        if let Some(miss) = data.doc_ids.iter().position(is_miss) {
            ranking.push(Hit::new(miss as u32, 0.0));
        }
    }
}

fn figures(data: &Dataset, rankings: &[Vec<Hit>]) -> Metrics {
    let per_query: Vec<Metrics> = data
        .queries
        .iter()
        .zip(rankings)
        .map(|(query, ranking)| {
            let ids = ranking.iter().map(|hit| data.doc_ids[hit.doc as usize].as_str());
            metrics::of_query(ids, &data.qrels[&query.id])
        })
        .collect();
    metrics::mean(&per_query)
}

fn write_runs(folder: &Path, data: &Dataset, rankings: &Rankings) -> Result<(), CommandError> {
    for (head, lists) in rankings.by_head() {
        let by_query = data.queries.iter().map(|query| query.id.as_str()).zip(lists.iter().map(Vec::as_slice));
        write_run(&folder.join(format!("{head}.trec")), by_query, &data.doc_ids, head)?;
    }
    Ok(())
}

fn table(name: &str, split: &str, figures: &Figures, num_docs: usize, num_queries: usize) -> String {
    let split = if split == "test" { String::new() } else { format!(", {split}") };
    let mut table = format!("{name}{split}: {num_docs} documents, {num_queries} queries\n");
    table += &format!("  {:<14}{:>9}{:>12}{:>9}\n", "head", "nDCG@10", "Recall@100", "MRR@10");
    for (head, m) in figures {
        table += &format!("  {head:<14}{:>9.4}{:>12.4}{:>9.4}\n", m.ndcg_at_10, m.recall_at_100, m.mrr_at_10);
    }
    table
}
