//! `mine`: hard negatives for training rows, found with the model that shall learn from them (ANCE; Xiong et al., 2020).
//!
//! All distinct passages are ranked for each query by the dense head. The query's own positives, and passages with the
//! very text of the query, are left out; of the ranks that `--range` names (the best few are often unlabelled
//! positives), `--negatives` are drawn by a hash of seed and row and put in the row's `neg`, best first. All other
//! fields stay, but for `neg_scores`, which the old negatives had. The same input gives the same rows on any number of
//! ranks, as far as rounding lets scores be the same.

use std::collections::HashMap;
use std::io::Write;
use std::path::{Path, PathBuf};

use clap::Args;
use serde_json::{Map, Value};
use tercet_cluster::Collective;
use tercet_sampler::{LinesOf, RowError};

use super::error::TaskError;
use super::eval::{Hit, TopHits, for_each_dense_row, merge_ranks};
use super::output::{AtomicFile, must_be_free};
use super::records::{TextRecord, for_each_line, parse_object};
use super::texts::TextEncoder;
use super::vectors::share;
use crate::representation::Heads;

/// Arguments of `tercet-worker mine`.
#[derive(Debug, Args)]
pub struct MineArgs {
    /// Directory of the model (Hugging Face layout)
    #[arg(long, value_name = "DIR")]
    pub model: PathBuf,
    /// Training rows to find negatives for
    #[arg(long, value_name = "FILE.jsonl")]
    pub rows: PathBuf,
    /// Where the rows go, with their negatives
    #[arg(long, value_name = "FILE.jsonl")]
    pub out: PathBuf,
    /// Passages to search, one {"text": …} a line; default: all passages of the rows
    #[arg(long, value_name = "FILE")]
    pub corpus: Option<PathBuf>,
    /// Negatives per row
    #[arg(long, value_name = "N", default_value_t = 7)]
    pub negatives: usize,
    /// Pass over the best A passages and draw from the rest of the best B
    #[arg(long, value_name = "A-B", default_value = "10-100", value_parser = rank_range)]
    pub range: RankRange,
    /// Tokens of a query at most, or as many as the model takes; longer ones are cut
    #[arg(long, value_name = "TOKENS", default_value_t = 512)]
    pub query_max_len: usize,
    /// Tokens of a passage at most, or as many as the model takes; longer ones are cut
    #[arg(long, value_name = "TOKENS", default_value_t = 8192)]
    pub passage_max_len: usize,
    /// Decides, together with the row, which negatives are drawn
    #[arg(long, default_value_t = 42)]
    pub seed: u64,
    /// Padded tokens that go through the encoder at a time
    #[arg(long, value_name = "TOKENS", default_value_t = 8192)]
    pub sub_batch_tokens: usize,
}

/// Ranks `skip..depth`, from 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RankRange {
    /// Ranks that are passed over.
    pub skip: usize,
    /// Ranks that are looked at.
    pub depth: usize,
}

fn rank_range(text: &str) -> Result<RankRange, String> {
    let ends = text.split_once('-').and_then(|(a, b)| Some((a.parse().ok()?, b.parse().ok()?)));
    match ends {
        Some((skip, depth)) if skip < depth => Ok(RankRange { skip, depth }),
        Some((skip, depth)) => Err(format!("nothing is left between {skip} and {depth}: the second must be larger")),
        None => Err("expected two ranks, e.g. 10-100".into()),
    }
}

/// Mines negatives for all rows. Every rank calls it; rank 0 writes.
///
/// # Errors
/// What is wrong with model, rows, corpus or output; [`TaskError`] where it is one of the latter three.
pub fn run(args: &MineArgs, ranks: &dyn Collective) -> anyhow::Result<()> {
    must_be_free(ranks, [args.out.as_path()])?;
    let mut rows = read_rows(&args.rows)?;
    let passages = match &args.corpus {
        Some(path) => read_corpus(path)?,
        None => Passages::of_rows(&rows),
    };
    let encoder = TextEncoder::load(&args.model, None, None, args.sub_batch_tokens, ranks)?;
    check_tokens(&args.rows, &rows, &encoder)?;
    let passages = passages.with_tokens(&encoder)?;
    let rankings = rank_passages(args, &encoder, &rows, &passages, ranks)?;
    if ranks.rank() != 0 {
        return Ok(());
    }

    let mut file = AtomicFile::create(&args.out)?;
    let (mut num_short, mut num_without) = (0, 0);
    for (i, (row, ranking)) in (0u64..).zip(rows.iter_mut().zip(&rankings)) {
        let picked = draw(ranking.get(args.range.skip..).unwrap_or_default(), args.negatives, args.seed, i);
        num_short += usize::from(picked.len() < args.negatives);
        num_without += usize::from(picked.is_empty());
        let negatives = picked.iter().map(|hit| Value::from(passages.texts[hit.doc as usize].as_str())).collect();
        row.object.insert("neg".into(), Value::Array(negatives));
        row.object.remove("neg_scores");
        let mut line = serde_json::to_string(&row.object)?;
        line.push('\n');
        file.write_all(line.as_bytes()).map_err(TaskError::file(&args.out))?;
    }
    if num_short > 0 {
        tracing::warn!(
            "{num_short} of {} rows got fewer than {} negatives, {num_without} of them none: {} passages are \
             few for --range {}-{}: lower it, or give more passages with --corpus",
            rows.len(),
            args.negatives,
            passages.texts.len(),
            args.range.skip,
            args.range.depth
        );
    }
    file.commit()?;
    println!("{} rows with negatives from {} passages in {}", rows.len(), passages.texts.len(), args.out.display());
    Ok(())
}

/// Whether the tokenizer makes something of every query and positive; passages without are left out.
fn check_tokens(path: &Path, rows: &[MinedRow], encoder: &TextEncoder) -> anyhow::Result<()> {
    let texts = |row: &'_ MinedRow| 1 + row.texts("pos").count();
    let places: Vec<usize> = rows.iter().enumerate().flat_map(|(i, row)| std::iter::repeat_n(i, texts(row))).collect();
    let all: Vec<&str> =
        rows.iter().flat_map(|row| std::iter::once(row.query.as_str()).chain(row.texts("pos"))).collect();
    let Some(&first) = encoder.tokenless(&all)?.first() else { return Ok(()) };
    let reason = format!("a text of which the tokenizer makes no token has no meaning to search by: {:?}", all[first]);
    let line = rows[places[first]].line as u64;
    Err(TaskError::from(RowError::Line { path: path.to_owned(), line, reason }).into())
}

/// The best passages for each row, without its own, on every rank. Every rank calls it.
fn rank_passages(
    args: &MineArgs,
    encoder: &TextEncoder,
    rows: &[MinedRow],
    passages: &Passages,
    ranks: &dyn Collective,
) -> anyhow::Result<Vec<Vec<Hit>>> {
    let queries: Vec<&str> = share(rows, ranks).map(|row| row.query.as_str()).collect();
    let queries = encoder.encode(&queries, args.query_max_len, Heads::DENSE)?.gather(ranks)?;
    let own: Vec<&str> = share(&passages.texts, ranks).map(String::as_str).collect();
    let own = encoder.encode(&own, args.passage_max_len, Heads::DENSE)?;
    let mut lists = Vec::with_capacity(rows.len());
    for_each_dense_row(&queries.dense, &own.dense, encoder.device(), |row, scores| {
        let left_out = passages.left_out(&rows[row]);
        let mut top = TopHits::new(args.range.depth);
        for (i, &score) in scores.iter().enumerate() {
            let passage = (ranks.rank() + i * ranks.world_size()) as u32;
            if !left_out.contains(&passage) {
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

/// One row, with all its fields.
#[derive(Debug)]
struct MinedRow {
    object: Map<String, Value>,
    /// What the model reads: the prompt, if there is one, and the query.
    query: String,
    /// Its line, from 1; 0 until it is known.
    line: usize,
}

impl MinedRow {
    fn parse(line: &str) -> Result<Self, String> {
        let object = parse_object(line)?;
        let query = object.get("query").and_then(Value::as_str).ok_or("no \"query\"")?;
        if query.trim().is_empty() {
            return Err("\"query\" is empty".into());
        }
        let query = format!("{}{query}", object.get("prompt").and_then(Value::as_str).unwrap_or_default());
        let is_text = |value: &Value| value.as_str().is_some_and(|text| !text.trim().is_empty());
        match object.get("pos").and_then(Value::as_array) {
            Some(pos) if !pos.is_empty() && pos.iter().all(is_text) => {}
            _ => return Err("\"pos\" must be a list of at least one text, none of them empty".into()),
        }
        Ok(Self { object, query, line: 0 })
    }

    /// The texts in the list `field`.
    fn texts(&self, field: &str) -> impl Iterator<Item = &str> {
        self.object.get(field).and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str)
    }
}

fn read_rows(path: &Path) -> Result<Vec<MinedRow>, TaskError> {
    let mut rows = Vec::new();
    for_each_line(path, LinesOf::Objects, |number, line| {
        if !line.trim().is_empty() {
            rows.push(MinedRow { line: number, ..MinedRow::parse(line)? });
        }
        Ok(())
    })?;
    match rows.is_empty() {
        true => Err(TaskError::Data { path: path.to_owned(), reason: "holds no row".into() }),
        false => Ok(rows),
    }
}

fn read_corpus(path: &Path) -> Result<Passages, TaskError> {
    let mut passages = Passages::default();
    for_each_line(path, LinesOf::Objects, |_, line| {
        if !line.trim().is_empty() {
            passages.add(&TextRecord::parse(line)?.full_text());
        }
        Ok(())
    })?;
    match passages.texts.is_empty() {
        true => Err(TaskError::Data { path: path.to_owned(), reason: "holds no passage".into() }),
        false => Ok(passages),
    }
}

/// Distinct passages, in the order in which they first appear.
#[derive(Debug, Default)]
struct Passages {
    texts: Vec<String>,
    numbers: HashMap<String, u32>,
}

impl Passages {
    fn of_rows(rows: &[MinedRow]) -> Self {
        let mut passages = Self::default();
        rows.iter().flat_map(|row| row.texts("pos").chain(row.texts("neg"))).for_each(|text| passages.add(text));
        passages
    }

    fn add(&mut self, text: &str) {
        if !text.trim().is_empty() && !self.numbers.contains_key(text) {
            self.numbers.insert(text.to_owned(), self.texts.len() as u32);
            self.texts.push(text.to_owned());
        }
    }

    /// Those that the tokenizer makes something of.
    fn with_tokens(self, encoder: &TextEncoder) -> anyhow::Result<Self> {
        let texts: Vec<&str> = self.texts.iter().map(String::as_str).collect();
        let tokenless = encoder.tokenless(&texts)?;
        if tokenless.is_empty() {
            return Ok(self);
        }
        let mut passages = Self::default();
        let is_kept = |(i, _): &(usize, &&str)| tokenless.binary_search(i).is_err();
        texts.iter().enumerate().filter(is_kept).for_each(|(_, text)| passages.add(text));
        Ok(passages)
    }

    /// Passages that are no negatives of `row`.
    fn left_out(&self, row: &MinedRow) -> Vec<u32> {
        let own = row.texts("pos").chain(row.object.get("query").and_then(Value::as_str));
        own.filter_map(|text| self.numbers.get(text).copied()).collect()
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

    #[test]
    fn own_positives_and_the_query_itself_are_left_out_by_their_text() {
        let row = |line: &str| MinedRow::parse(line).unwrap();
        let rows = [
            row(r#"{"query": "a", "pos": ["b", "c"], "neg": ["d"]}"#),
            row(r#"{"query": "b", "pos": ["c", "e"], "prompt": "find: "}"#),
        ];
        let passages = Passages::of_rows(&rows);
        assert_eq!(passages.texts, ["b", "c", "d", "e"]);
        assert_eq!(passages.left_out(&rows[0]), [0, 1]);
        assert_eq!(passages.left_out(&rows[1]), [1, 3, 0]);
        assert_eq!(rows[1].query, "find: b");
    }

    #[test]
    fn bad_rows_say_why() {
        let reason = |line: &str| MinedRow::parse(line).unwrap_err();
        assert_eq!(reason(r#"{"pos": ["a"]}"#), "no \"query\"");
        assert!(reason(r#"{"query": "q", "pos": []}"#).starts_with("\"pos\" must be"));
        assert!(reason(r#"{"query": "q", "pos": ["a", ""]}"#).starts_with("\"pos\" must be"));
        assert!(reason("[1]").starts_with("not a JSON object"));
        assert_eq!(rank_range("10-100").unwrap(), RankRange { skip: 10, depth: 100 });
        assert!(rank_range("100-10").is_err() && rank_range("10").is_err());
    }
}
