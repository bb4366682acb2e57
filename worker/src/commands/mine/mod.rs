//! `mine`: hard negatives for training rows, found with the model that is to learn from them (ANCE; Xiong et al.,
//! 2020).
//!
//! The dense head ranks all distinct passages for each query. Passages that are known to answer the query, and those
//! that are the query itself, are left out (`known.rs`). A hash of seed and row draws `--negatives` passages from the
//! ranks that `--range` names, because the best few are often unlabelled positives. They become the row's `neg`, best
//! first. All other fields stay as they are written, except for `neg_scores`, which belonged to the old negatives. The
//! same input gives the same rows on any number of ranks, as far as rounding lets scores be the same.

mod known;
mod rows;

use std::io::Write;
use std::path::Path;

use tercet_cluster::Collective;
use tercet_configs::CpuMatmul;
use tercet_protocol::args::MineArgs;

use self::known::{Known, Passages};
use self::rows::{MinedRow, distinct, read_rows};
use super::eval::{Hit, TopHits, for_each_dense_row, merge_ranks};
use crate::files::CommandError;
use crate::files::output::{AtomicFile, must_be_free, must_be_lines};
use crate::files::records::{TextRecord, tell_near_keys};
use crate::model::representation::Heads;
use crate::retrieval::prefixes;
use crate::retrieval::texts::{EncoderOptions, TextEncoder};
use crate::retrieval::vectors::share;

/// Mines negatives for all rows. Every rank calls it; rank 0 writes.
///
/// # Errors
/// What is wrong with model, rows, corpus or output; [`CommandError`] where it is one of the latter three.
pub fn run(args: &MineArgs, ranks: &dyn Collective) -> anyhow::Result<()> {
    must_be_lines(&args.out)?;
    must_be_free(ranks, [args.out.as_path()])?;
    let rows = read_rows(&args.rows)?;
    let corpus = args.corpus.as_deref().map(read_corpus).transpose()?;
    let options = EncoderOptions {
        pooling: None,
        mcls: None,
        sub_batch_tokens: args.sub_batch_tokens,
        precision: args.precision.into(),
        matmul: CpuMatmul::Auto,
    };
    let encoder = TextEncoder::load(&args.model, options, ranks)?;

    let own = || rows.iter().flat_map(|row| row.row.pos.iter().chain(&row.row.neg)).map(String::as_str);
    let queries = rows.iter().flat_map(MinedRow::queries);
    let of_corpus = corpus.iter().flatten().flat_map(|text| [Some(&text.full), text.untitled.as_ref()]).flatten();
    let (texts, places) = distinct(queries.chain(own()).chain(of_corpus.map(String::as_str)));
    let ids = encoder.identities(&texts, ranks)?;
    let id_of = |text: &str| ids[places[text]];
    let passages = match &corpus {
        Some(corpus) => Passages::new(corpus.iter().map(|text| (text.full.as_str(), text.untitled.as_deref())), id_of),
        None => Passages::new(own().map(|text| (text, None)), id_of),
    };
    check_tokens(&rows, id_of)?;
    let known = Known::of_rows(&rows, &passages, id_of);
    let left_out = |row: usize| id_of(&rows[row].query).map_or(&[][..], |query| known.answers(query));
    let rankings = rank_passages(args, &encoder, &rows, &passages, left_out, ranks)?;
    if ranks.rank() == 0 {
        tell_near_keys(&args.rows, rows.iter().map(|row| &row.row));
        tell_of_strangers(args, &rows, &passages, id_of);
        write_rows(args, &rows, &passages, &rankings)?;
        println!("{} rows with negatives from {} passages in {}", rows.len(), passages.texts.len(), args.out.display());
    }
    Ok(())
}

/// Checks that the tokenizer leaves a token of every query and every positive.
fn check_tokens(rows: &[MinedRow], id_of: impl Fn(&str) -> Option<u64>) -> Result<(), CommandError> {
    for row in rows {
        let positives = row.row.pos.iter().enumerate().map(|(i, text)| (format!("pos[{i}]"), text.as_str()));
        let texts = std::iter::once(("query".to_owned(), row.query.as_str())).chain(positives);
        if let Some((field, text)) = texts.into_iter().find(|(_, text)| id_of(text).is_none()) {
            let reason = format!("{field:?} has no token, so it has no representation: {text:?}");
            return Err(row.at.error(reason).into());
        }
    }
    Ok(())
}

/// Reports how many positives are no passage of the corpus. One may stand there in slightly other words, and be drawn.
fn tell_of_strangers(args: &MineArgs, rows: &[MinedRow], passages: &Passages<'_>, id_of: impl Fn(&str) -> Option<u64>) {
    let Some(corpus) = &args.corpus else { return };
    let positives = || rows.iter().flat_map(|row| &row.row.pos);
    let is_there = |text: &str| id_of(text).is_some_and(|id| passages.that_are(id).next().is_some());
    let num_strangers = positives().filter(|text| !is_there(text)).count();
    if num_strangers > 0 {
        tracing::warn!(
            "{num_strangers} of {} positives are no passage of {}: one that stands there in other words may be drawn as its \
             own negative",
            positives().count(),
            corpus.display()
        );
    }
}

fn write_rows(
    args: &MineArgs,
    rows: &[MinedRow],
    passages: &Passages<'_>,
    rankings: &[Vec<Hit>],
) -> Result<(), CommandError> {
    let mut file = AtomicFile::create(&args.out)?;
    let (mut num_short, mut num_without) = (0, 0);
    for (i, (row, ranking)) in (0u64..).zip(rows.iter().zip(rankings)) {
        let picked = draw(ranking.get(args.range.skip..).unwrap_or_default(), args.negatives, args.seed, i);
        num_short += usize::from(picked.len() < args.negatives);
        num_without += usize::from(picked.is_empty());
        let negatives: Vec<&str> = picked.iter().map(|hit| passages.texts[hit.doc as usize]).collect();
        writeln!(file, "{}", row.with_negatives(&negatives)).map_err(CommandError::file(&args.out))?;
    }
    file.commit()?;
    let (all, num_passages) = (rows.len(), passages.texts.len());
    if num_short > 0 {
        let (wanted, range) = (args.negatives, args.range);
        tracing::warn!(
            "{num_short} of {all} rows got fewer than {wanted} negatives, {num_without} of them none: {num_passages} passages \
             are few for --range {range}: lower it, or give more passages with --corpus"
        );
    }
    if passages.num_tokenless > 0 {
        tracing::warn!("{} passages have no token; they are drawn for no row", passages.num_tokenless);
    }
    let num_scored =
        rows.iter().filter(|row| row.row.neg_scores.as_ref().is_some_and(|scores| !scores.is_empty())).count();
    if num_scored > 0 {
        tracing::warn!("the neg_scores of {num_scored} rows belonged to their old negatives and are removed");
    }
    Ok(())
}

/// What stands before queries and before passages. Rows of a symmetric type have the query's prompt before both, as in
/// training.
fn prompts_of(args: &MineArgs, encoder: &TextEncoder, rows: &[MinedRow]) -> Result<[String; 2], CommandError> {
    let [query, passage] = prefixes::over(&args.prefixes, encoder.prompts());
    let is_symmetric = |row: &MinedRow| row.row.kind.as_deref().is_some_and(|kind| kind.starts_with("symmetric"));
    let num_symmetric = rows.iter().filter(|row| is_symmetric(row)).count();
    match num_symmetric {
        0 => Ok([query, passage]),
        _ if query == passage => Ok([query, passage]),
        n if n == rows.len() => Ok([query.clone(), query]),
        n => {
            let all = rows.len();
            let reason = format!(
                "{n} of {all} rows are of a symmetric type, whose passages take the query's prefix: mine them by themselves"
            );
            Err(CommandError::Data { path: args.rows.clone(), reason })
        }
    }
}

/// The best passages for each row but those that `left_out` gives for it, on every rank. Every rank calls it.
fn rank_passages<'a>(
    args: &MineArgs,
    encoder: &TextEncoder,
    rows: &[MinedRow],
    passages: &Passages<'_>,
    left_out: impl Fn(usize) -> &'a [u32],
    ranks: &dyn Collective,
) -> anyhow::Result<Vec<Vec<Hit>>> {
    let [query_prompt, passage_prompt] = prompts_of(args, encoder, rows)?;
    prefixes::tell(ranks, "queries", &query_prompt, rows.iter().map(|row| row.query.as_str()));
    prefixes::tell(ranks, "passages", &passage_prompt, passages.texts.iter().copied());
    let queries: Vec<&str> = share(rows, ranks).map(|row| row.query.as_str()).collect();
    let queries = encoder.encode(&query_prompt, &queries, args.query_max_len, Heads::DENSE, ranks)?.gather(ranks)?;
    let own: Vec<&str> = share(&passages.texts, ranks).copied().collect();
    let own = encoder.encode(&passage_prompt, &own, args.passage_max_len, Heads::DENSE, ranks)?;
    let mut lists = Vec::with_capacity(rows.len());
    for_each_dense_row(&queries.dense, &own.dense, encoder.device(), |row, scores| {
        let left_out = left_out(row);
        let mut top = TopHits::new(args.range.depth);
        for (i, &score) in scores.iter().enumerate() {
            let passage = (ranks.rank() + i * ranks.world_size()) as u32;
            if left_out.binary_search(&passage).is_err() {
                top.push(Hit::new(passage, score));
            }
        }
        lists.push(top.into_ranking());
    });
    merge_ranks(ranks, lists, args.range.depth)
}

/// `count` of `candidates`, in their order, drawn by a hash of `seed` and `row`; all of them if there are fewer.
fn draw(candidates: &[Hit], count: usize, seed: u64, row: u64) -> Vec<Hit> {
    let mut keyed: Vec<(u64, usize)> = (0..candidates.len()).map(|rank| (mix(seed, row, rank as u64), rank)).collect();
    keyed.sort_unstable();
    let mut ranks: Vec<usize> = keyed.into_iter().take(count).map(|(_, rank)| rank).collect();
    ranks.sort_unstable();
    ranks.into_iter().map(|rank| candidates[rank]).collect()
}

/// The first 8 bytes of BLAKE3 over the three numbers.
fn mix(seed: u64, row: u64, rank: u64) -> u64 {
    let bytes = [seed, row, rank].map(u64::to_le_bytes).concat();
    let mut first = [0; 8];
    first.copy_from_slice(&blake3::hash(&bytes).as_bytes()[..8]);
    u64::from_le_bytes(first)
}

/// A passage of a corpus.
#[derive(Debug, PartialEq, Eq)]
struct CorpusText {
    /// What the model reads.
    full: String,
    /// That without its title, if it has one.
    untitled: Option<String>,
}

impl CorpusText {
    fn of(record: TextRecord) -> Result<Self, String> {
        let text = record.text.clone();
        let full = record.full_text()?;
        let untitled = (full != text).then_some(text);
        Ok(Self { full, untitled })
    }
}

/// The texts of a file of passages.
fn read_corpus(path: &Path) -> Result<Vec<CorpusText>, CommandError> {
    let mut passages = Vec::new();
    TextRecord::for_each(path, |_, record, _| {
        passages.push(CorpusText::of(record)?);
        Ok(())
    })?;
    match passages.is_empty() {
        true => Err(CommandError::Data { path: path.to_owned(), reason: "holds no passage".into() }),
        false => Ok(passages),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ranking(len: u32) -> Vec<Hit> {
        (0..len).map(|doc| Hit::new(doc, -(doc as f32))).collect()
    }

    #[test]
    fn a_draw_is_fixed_by_seed_and_row_and_keeps_the_order() {
        let first = draw(&ranking(90), 7, 42, 5);
        assert_eq!(first, draw(&ranking(90), 7, 42, 5));
        assert_ne!(first, draw(&ranking(90), 7, 42, 6));
        assert_ne!(first, draw(&ranking(90), 7, 43, 5));
        assert_eq!(first.len(), 7);
        assert!(first.windows(2).all(|pair| pair[0].doc < pair[1].doc));
    }

    #[test]
    fn every_rank_is_drawn_about_equally_often() {
        let mut counts = [0; 20];
        (0..4000).flat_map(|row| draw(&ranking(20), 5, 1, row)).for_each(|hit| counts[hit.doc as usize] += 1);
        assert!(counts.iter().all(|count| (850..1150).contains(count)), "{counts:?}");
    }

    #[test]
    fn too_few_candidates_are_all_taken() {
        assert_eq!(draw(&ranking(3), 7, 42, 0), ranking(3));
        assert!(draw(&[], 7, 42, 0).is_empty());
    }
}
