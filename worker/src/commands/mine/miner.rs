//! A batch of rows: ranked by all ranks together, then filtered, scored and written run by run.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use tercet_cluster::{Collective, gather_ragged};
use tercet_protocol::args::MineArgs;
use tercet_retrieval::{Hit, Index, LexicalWeights, Stored};

use super::candidates::{Candidates, Drawn};
use super::known::{Known, RowIds, identities};
use super::rows::MinedRow;
use super::sieve::{Passages, Sieve, needs_positive_scores};
use super::tally::Tally;
use crate::files::CommandError;
use crate::retrieval::prefixes;
use crate::retrieval::ranking::{PairScorer, Query, RUN, Search};
use crate::retrieval::texts::TextEncoder;
use crate::retrieval::vectors::gather;

/// The language of rows that do not name one.
const UNKNOWN: &str = "und";

/// What mining goes by.
pub(super) struct Miner<'a> {
    pub args: &'a MineArgs,
    pub index: &'a Index,
    pub search: &'a Search<'a>,
    pub known: &'a Known,
    pub teacher: Option<&'a TextEncoder<'a>>,
    pub ranks: &'a dyn Collective,
}

/// Counts as a whole and by parts.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(super) struct Tallies {
    pub all: Tally,
    pub by_file: BTreeMap<String, Tally>,
    pub by_language: BTreeMap<String, Tally>,
}

impl Tallies {
    /// Those of all ranks together. Every rank calls it.
    pub fn gather(&self, ranks: &dyn Collective) -> anyhow::Result<Self> {
        let mut sum = Self::default();
        for bytes in gather_ragged(ranks, &serde_json::to_vec(self)?)? {
            let own: Self = serde_json::from_slice(&bytes)?;
            sum.all.add_all(&own.all);
            own.by_file.into_iter().for_each(|(name, tally)| sum.by_file.entry(name).or_default().add_all(&tally));
            for (name, tally) in own.by_language {
                sum.by_language.entry(name).or_default().add_all(&tally);
            }
        }
        Ok(sum)
    }

    fn add(&mut self, file: &str, language: &str, add: impl Fn(&mut Tally)) {
        add(&mut self.all);
        add(self.by_file.entry(file.to_owned()).or_default());
        add(self.by_language.entry(language.to_owned()).or_default());
    }
}

/// Consecutive rows that one rank looks after.
struct Run<'a> {
    /// The place of the first in the batch.
    start: usize,
    rows: &'a [MinedRow],
    candidates: Vec<Candidates>,
}

impl Miner<'_> {
    /// The lines of `rows` of the file `path`, whose first has the number `first`, on rank 0. Every rank calls it.
    pub fn mine(&self, first: u64, path: &Path, rows: &[MinedRow], tallies: &mut Tallies) -> anyhow::Result<Vec<u8>> {
        let ids: Vec<RowIds> =
            identities(rows, self.search.encoder(), self.ranks)?.iter().map(|ids| RowIds::of(ids)).collect();
        let queries: Vec<Query> = rows.iter().map(|row| Query { text: &row.query, left_out: &[] }).collect();
        let mut runs = self.own_runs(rows, &ids, &self.lists(&queries)?);
        self.look_deeper(rows, &ids, &mut runs)?;

        let same_name = |other: &&PathBuf| other.file_name() == path.file_name();
        let name = path.file_name().filter(|_| self.args.rows.iter().filter(same_name).count() < 2);
        let file = name.map_or_else(|| path.to_string_lossy(), |name| name.to_string_lossy());
        let mut own = Vec::new();
        for run in &runs {
            let lines = self.lines(first + run.start as u64, run, |language, add| tallies.add(&file, language, add))?;
            own.extend((lines.len() as u64).to_le_bytes());
            own.extend(lines);
        }
        self.in_order(rows.len().div_ceil(RUN), &own)
    }

    fn lists(&self, queries: &[Query]) -> anyhow::Result<Vec<Vec<Hit>>> {
        let ranked = self.search.rank(queries, &[self.args.ranking])?;
        Ok(ranked.into_iter().next().map(|(_, lists)| lists).unwrap_or_default())
    }

    /// This rank's runs, with what is left of their lists.
    fn own_runs<'r>(&self, rows: &'r [MinedRow], ids: &[RowIds], lists: &[Vec<Hit>]) -> Vec<Run<'r>> {
        let of_rank = rows.chunks(RUN).enumerate().skip(self.ranks.rank()).step_by(self.ranks.world_size());
        let candidates = |row: usize| self.candidates(&lists[row], &ids[row]);
        of_rank
            .map(|(number, rows)| {
                let start = number * RUN;
                Run { start, rows, candidates: (start..start + rows.len()).map(candidates).collect() }
            })
            .collect()
    }

    fn candidates(&self, list: &[Hit], ids: &RowIds) -> Candidates {
        let range = self.args.range.skip..self.args.range.depth;
        Candidates::of(list, |doc| self.index.identities(doc), ids, self.known.answers(ids.queries[0]), range)
    }

    /// Ranks again, without what is known, for rows of whose lists too little is left because so much of them is known.
    fn look_deeper(&self, rows: &[MinedRow], ids: &[RowIds], runs: &mut [Run]) -> anyhow::Result<()> {
        let lists = &self.args.lists;
        let depth = if self.args.ranking.encodes_again() { lists.rerank.min(lists.top) } else { lists.top };
        let is_short = |found: &Candidates| {
            let is_full = found.ranked.len() + found.removed.len() >= depth;
            is_full && found.ranked.len() < self.args.range.depth
        };
        let short = runs.iter().flat_map(|run| {
            let places = run.start..;
            places.zip(&run.candidates).filter(|(_, found)| is_short(found)).map(|(place, _)| place as i64)
        });
        let mut short: Vec<i64> = gather(self.ranks, &short.collect::<Vec<_>>())?.concat();
        if short.is_empty() {
            return Ok(());
        }
        short.sort_unstable();
        let places: Vec<usize> = short.into_iter().map(|place| place as usize).collect();
        let left_out: Vec<Vec<u32>> = places.iter().map(|place| self.known.docs(ids[*place].queries[0])).collect();
        let queries =
            places.iter().zip(&left_out).map(|(place, left_out)| Query { text: &rows[*place].query, left_out });
        let lists = self.lists(&queries.collect::<Vec<_>>())?;
        for (place, list) in places.iter().zip(&lists) {
            if let Some(run) = runs.iter_mut().find(|run| (run.start..run.start + run.rows.len()).contains(place)) {
                // What was left out of the first list stays counted.
                run.candidates[place - run.start].ranked = self.candidates(list, &ids[*place]).ranked;
            }
        }
        Ok(())
    }

    /// The lines of a run, whose first row has the number `first`.
    fn lines(
        &self,
        first: u64,
        run: &Run,
        mut count: impl FnMut(&str, &dyn Fn(&mut Tally)),
    ) -> anyhow::Result<Vec<u8>> {
        let args = self.args;
        let own_scores = needs_positive_scores(&args.filters) || (args.write_scores && self.teacher.is_none());
        let positive_scores =
            if own_scores { self.positive_scores(run.rows)? } else { vec![Vec::new(); run.rows.len()] };
        let mut passages = Passages::new(self.index);
        let mut drawn = Vec::new();
        for (((number, row), candidates), scores) in (first..).zip(run.rows).zip(&run.candidates).zip(&positive_scores)
        {
            let mut sieve = Sieve::of(row, own_scores.then_some(scores), &args.filters)
                .map_err(|reason| CommandError::from(row.at.error(reason)))?;
            drawn.push(Drawn::of(&candidates.ranked, args, number, |hit| sieve.judge(hit, &mut passages))?);
        }
        let mut negatives = Vec::new();
        for drawn in &drawn {
            let texts = drawn.picked.iter().map(|(_, hit)| Ok(passages.text(hit.doc)?.to_owned()));
            negatives.push(texts.collect::<anyhow::Result<Vec<String>>>()?);
        }
        let written = self.written_scores(run.rows, (&drawn, &negatives), &positive_scores)?;
        let mut lines = Vec::new();
        for (i, row) in run.rows.iter().enumerate() {
            let language = row.row.language.as_deref().unwrap_or(UNKNOWN);
            let (candidates, drawn, scores) = (&run.candidates[i], &drawn[i], &positive_scores[i]);
            count(language, &|tally| tally.add(candidates, drawn, scores, args.negatives));
            if drawn.is_dropped {
                continue;
            }
            let texts: Vec<&str> = negatives[i].iter().map(String::as_str).collect();
            let scores = written.as_ref().map(|written| written[i].each_ref().map(Vec::as_slice));
            lines.extend(row.with_negatives(&texts, scores).into_bytes());
            lines.push(b'\n');
        }
        Ok(lines)
    }

    fn positive_scores(&self, rows: &[MinedRow]) -> anyhow::Result<Vec<Vec<f32>>> {
        let queries: Vec<&str> = rows.iter().map(|row| row.query.as_str()).collect();
        self.search.score_pairs(self.args.ranking, &queries, &positives(rows))
    }

    /// The scores of each row's positives and negatives, if they are to be written.
    fn written_scores(
        &self,
        rows: &[MinedRow],
        (drawn, negatives): (&[Drawn], &[Vec<String>]),
        positive_scores: &[Vec<f32>],
    ) -> anyhow::Result<Option<Vec<[Vec<f32>; 2]>>> {
        if !self.args.write_scores {
            return Ok(None);
        }
        let scores: Vec<[Vec<f32>; 2]> = match self.teacher {
            None => {
                let of_negatives = drawn.iter().map(|drawn| drawn.picked.iter().map(|(_, hit)| hit.score).collect());
                positive_scores.iter().cloned().zip(of_negatives).map(<[_; 2]>::from).collect()
            }
            Some(teacher) => self.taught(teacher, rows, negatives)?,
        };
        let divided =
            |scores: Vec<f32>| scores.iter().map(|score| (f64::from(*score) / self.args.temperature) as f32).collect();
        Ok(Some(scores.into_iter().map(|scores| scores.map(divided)).collect()))
    }

    fn taught(
        &self,
        teacher: &TextEncoder,
        rows: &[MinedRow],
        negatives: &[Vec<String>],
    ) -> anyhow::Result<Vec<[Vec<f32>; 2]>> {
        let [query_prompt, mut passage_prompt] = prefixes::over(&Default::default(), teacher.prompts());
        // As in training; with other rows among them nobody knows which prompt is meant.
        match rows.iter().filter(|row| row.row.is_symmetric()).count() {
            0 => {}
            n if n == rows.len() || query_prompt == passage_prompt => passage_prompt.clone_from(&query_prompt),
            _ => {
                let message = "--teacher: its prompts for queries and passages differ, and only some rows are of a \
                               symmetric type: mine them by themselves";
                return Err(CommandError::Usage(message.into()).into());
            }
        }
        teacher.check_room(&query_prompt, self.args.query_max_len)?;
        teacher.check_room(&passage_prompt, self.args.passage_max_len)?;
        let weights = match teacher.has_all_heads() {
            true => self.args.lists.all_weights.0.map(|weight| weight as f32),
            false => [1.0, 0.0, 0.0],
        };
        let scorer = PairScorer {
            encoder: teacher,
            query: (&query_prompt, self.args.query_max_len),
            passage: (&passage_prompt, self.args.passage_max_len),
            stored: Stored::Fp32,
            lexical: LexicalWeights::Exact,
            weights,
        };
        let queries: Vec<&str> = rows.iter().map(|row| row.query.as_str()).collect();
        let mut texts = positives(rows);
        texts.iter_mut().zip(negatives).for_each(|(texts, own)| texts.extend(own.iter().map(String::as_str)));
        let scores = scorer.score(&queries, &texts)?;
        Ok(scores
            .into_iter()
            .zip(rows)
            .map(|(mut scores, row)| {
                let of_negatives = scores.split_off(row.row.pos.len());
                [scores, of_negatives]
            })
            .collect())
    }

    /// All ranks' `num_runs` runs of lines, each with its length before it, one after another.
    fn in_order(&self, num_runs: usize, own: &[u8]) -> anyhow::Result<Vec<u8>> {
        let gathered = gather_ragged(self.ranks, own)?;
        if self.ranks.rank() > 0 {
            return Ok(Vec::new());
        }
        let mut rest: Vec<&[u8]> = gathered.iter().map(Vec::as_slice).collect();
        let mut lines = Vec::new();
        for run in 0..num_runs {
            let rest = &mut rest[run % gathered.len()];
            let Some((len, behind)) = rest.split_first_chunk::<8>() else { continue };
            let (own, behind) = behind.split_at(u64::from_le_bytes(*len) as usize);
            lines.extend(own);
            *rest = behind;
        }
        Ok(lines)
    }
}

fn positives(rows: &[MinedRow]) -> Vec<Vec<&str>> {
    rows.iter().map(|row| row.row.pos.iter().map(String::as_str).collect()).collect()
}
