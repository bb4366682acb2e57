//! `search`: queries in, ranked documents of an index out, as TREC run files (docs/know/retrieval.md).

use tercet_cluster::Collective;
use tercet_configs::CpuMatmul;
use tercet_protocol::args::{Prefixes, Ranking, SearchArgs};
use tercet_retrieval::{Index, run_lines};

use super::error::CommandError;
use super::eval::{self, read_queries};
use super::output::{AtomicFile, commit_together, must_be_free};
use super::prefixes;
use super::ranking::{Query, RUN, Ranked, Search, possible};
use super::texts::{EncoderOptions, TextEncoder};

/// Queries of a batch at most, however much memory there is.
const LARGEST_BATCH: u64 = 8192;

/// Searches. Every rank calls it; rank 0 writes.
///
/// # Errors
/// What is wrong with model, index, queries or output.
pub fn run(args: &SearchArgs, ranks: &dyn Collective) -> anyhow::Result<()> {
    let index = Index::open(&args.index)?;
    let rankings = possible(&args.rankings, &index)?;
    let paths: Vec<_> = rankings.iter().map(|ranking| args.out.join(format!("{}.trec", ranking.name()))).collect();
    must_be_free(ranks, paths.iter().map(|path| path.as_path()))?;
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
    for batch in queries.chunks(batch_len(args, &rankings, &encoder)) {
        let asked: Vec<Query> = batch.iter().map(|query| Query { text: &query.text, left_out: None }).collect();
        let ranked = search.rank(&asked, &rankings)?;
        for ((file, path), ranked) in files.iter_mut().zip(&paths).zip(&ranked) {
            write(file, batch, ranked, &index).map_err(CommandError::file(path))?;
        }
    }
    if ranks.rank() == 0 {
        commit_together(files)?;
        let (num_queries, num_docs) = (queries.len(), index.num_docs());
        println!("{num_queries} queries, {num_docs} documents: {} run files in {}", paths.len(), args.out.display());
    }
    Ok(())
}

/// Refuses what a run file cannot carry, and no query at all.
fn check_queries(args: &SearchArgs, queries: &[eval::Query]) -> Result<(), CommandError> {
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

/// How many queries there is room for.
fn batch_len(args: &SearchArgs, rankings: &[Ranking], encoder: &TextEncoder) -> usize {
    let (dense, multi_vector) = encoder.dims();
    let encodes_again = rankings.iter().any(|ranking| matches!(ranking, Ranking::MultiVector | Ranking::All));
    // A list is open to twice its length while it is made, and there once more when ranks' lists are merged.
    let lists = 4 * 8 * args.lists.top as u64 * rankings.len() as u64;
    // This rank's queries, and all ranks'.
    let vectors = if encodes_again { 2 * 4 * args.query_max_len as u64 * multi_vector as u64 } else { 0 };
    let room = (args.memory / (lists + vectors + 8 * dense as u64)).min(LARGEST_BATCH) as usize;
    // Whole runs, so that a query is encoded beside the same ones whatever room there is.
    (room / RUN * RUN).max(RUN)
}

fn write(
    file: &mut AtomicFile,
    queries: &[eval::Query],
    (ranking, lists): &Ranked,
    index: &Index,
) -> std::io::Result<()> {
    let tag = ranking.name();
    queries.iter().zip(lists).try_for_each(|(query, list)| run_lines(file, &query.id, list, index, &tag))
}
