//! How well a model ranks the documents of a data set for its queries.
//!
//! The corpus becomes an index, which is searched as `search` does it. Rank 0 judges the lists, batch by batch.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use tercet_cluster::Collective;
use tercet_configs::{Metric, MetricKind};
use tercet_protocol::args::{Lists, Ranking};
use tercet_retrieval::{Contents, Hit, Ids, Index, IndexError, Settings, Stored, run_lines};

use super::folder::{Dataset, Query};
use super::metrics::{Seen, mean};
use crate::files::CommandError;
use crate::files::atomic::AtomicFile;
use crate::retrieval::indexing::make_index;
use crate::retrieval::ranking::{self, Ranked, Search};
use crate::retrieval::texts::TextEncoder;
use crate::tensors::libtorch::parallel;

/// Added to a figure, it makes zero of minus zero, which is the sum of nothing.
const NO_SIGN: f64 = 0.0;

/// Digits of a checksum in the name of an index.
const DIGITS: usize = 16;

/// How data sets are evaluated.
#[derive(Debug, Clone)]
pub struct Evaluation {
    /// What documents are ranked by.
    pub rankings: Vec<Ranking>,
    /// How lists are made.
    pub lists: Lists,
    /// What is reported of them.
    pub metrics: Vec<Metric>,
    /// Stands directly before each query.
    pub query_prompt: String,
    /// Tokens of a query at most.
    pub query_max_len: usize,
    /// Stands directly before each passage.
    pub passage_prompt: String,
    /// Tokens of a passage at most.
    pub passage_max_len: usize,
    /// The type of the index's numbers.
    pub stored: Stored,
    /// Whether the document that has the query's very id stays in its list.
    pub keep_identical_ids: bool,
    /// Memory of a rank for queries and their lists.
    pub memory: u64,
}

/// What came of one ranking.
#[derive(Debug, Clone)]
pub struct Figures {
    /// By what documents were ranked.
    pub ranking: Ranking,
    /// Each metric of each query, in the order of `Dataset::queries` and of `Evaluation::metrics`.
    pub per_query: Vec<Vec<f64>>,
    /// The mean of each metric over all queries.
    pub means: Vec<f64>,
}

/// Evaluates `encoder` on `data`. The index of the corpus is made in a folder of its own below `indices`, or gone on
/// with; equal corpora have one. With `runs` each ranking's lists are written there, as `RANKING.trec`. Every rank
/// calls it; rank 0 has the figures, in the order of `how.rankings`.
///
/// # Errors
/// A name that a run file cannot carry; a corpus that has changed since it was loaded; what is wrong with the index or
/// with a folder. A prompt that leaves no room for a text; a rank that is gone.
pub fn evaluate(
    encoder: &TextEncoder,
    data: &Dataset,
    how: &Evaluation,
    indices: &Path,
    runs: Option<&Path>,
    ranks: &dyn Collective,
) -> anyhow::Result<Option<Vec<Figures>>> {
    if runs.is_some() {
        data.must_fit_run_files()?;
    }
    encoder.check_room(&how.query_prompt, how.query_max_len)?;
    let encoding = encoder.encoding(heads_of(how), how.stored, &how.passage_prompt, how.passage_max_len);
    let settings = Settings::new(encoder.weights_of(), data.survey.corpus.clone(), encoding.clone());
    let folder = indices.join(index_name(&settings));
    make_index(&folder, encoder, encoding, (&data.files, &data.survey), ranks)?;
    let index = Index::open(&folder)?;
    let search = Search::new(&index, encoder, &how.lists, (&how.query_prompt, how.query_max_len), ranks)?;

    let mut judge = match ranks.rank() {
        0 => Some(Judge::new(data, how, &index, runs)?),
        _ => None,
    };
    let batch_len = search.batch_len(how.memory, &how.rankings);
    let namesakes = data.namesakes.chunks(batch_len);
    for (number, (queries, namesakes)) in data.queries.chunks(batch_len).zip(namesakes).enumerate() {
        let left_out = |namesake: &'_ Option<u32>| !how.keep_identical_ids && namesake.is_some();
        let asked = queries.iter().zip(namesakes).map(|(query, namesake)| ranking::Query {
            text: &query.text,
            left_out: if left_out(namesake) { namesake.as_slice() } else { &[] },
        });
        let ranked = search.rank(&asked.collect::<Vec<_>>(), &how.rankings)?;
        if let Some(judge) = &mut judge {
            judge.take(number * batch_len, queries, &ranked)?;
        }
    }
    judge.map(Judge::end).transpose()
}

/// What an index must hold to be ranked by all that is asked for.
fn heads_of(how: &Evaluation) -> Contents {
    let has = |part: Ranking| how.rankings.iter().any(|ranking| ranking.needs_of_an_index().contains(&part));
    Contents {
        dense: has(Ranking::Dense),
        lexical: has(Ranking::Lexical),
        bm25: has(Ranking::Bm25),
        words: has(Ranking::Bm25Words),
    }
}

/// The name of an index's folder: by its corpus, and by all that it depends on.
fn index_name(settings: &Settings) -> String {
    let all = blake3::hash(&settings.to_json()).to_hex();
    format!("{:.DIGITS$}-{:.DIGITS$}", settings.corpus.blake3, all.as_str())
}

/// Rank 0's part: it looks at lists.
struct Judge<'a> {
    data: &'a Dataset,
    how: &'a Evaluation,
    index: &'a Index,
    /// Each ranking's figures so far.
    figures: Vec<Figures>,
    /// The run file of each ranking, if there are any.
    files: Vec<(PathBuf, AtomicFile)>,
}

impl<'a> Judge<'a> {
    fn new(
        data: &'a Dataset,
        how: &'a Evaluation,
        index: &'a Index,
        runs: Option<&Path>,
    ) -> Result<Self, CommandError> {
        let figures = how.rankings.iter().map(|&ranking| Figures { ranking, per_query: Vec::new(), means: Vec::new() });
        let paths = runs
            .into_iter()
            .flat_map(|runs| how.rankings.iter().map(move |ranking| runs.join(format!("{}.trec", ranking.name()))));
        let files = paths.map(|path| AtomicFile::create(&path).map(|file| (path, file)));
        Ok(Self { data, how, index, figures: figures.collect(), files: files.collect::<Result<_, _>>()? })
    }

    /// Judges the lists of `queries`, of which the first is query number `first`.
    fn take(&mut self, first: usize, queries: &[Query], ranked: &[Ranked]) -> anyhow::Result<()> {
        let answered = self.first_answers(first, queries.len(), ranked)?;
        let deepest = self.how.metrics.iter().map(|metric| metric.at).max().unwrap_or(0);
        for (i, (ranking, lists)) in ranked.iter().enumerate() {
            for (place, (query, list)) in queries.iter().zip(lists).enumerate() {
                // Ids were read as UTF-8.
                let ids = list.iter().take(deepest).map(|hit| str::from_utf8(self.index.id(hit.doc)).unwrap_or(""));
                let seen = Seen::new(ids, self.data.qrels.get(&query.id), answered[place][i]);
                self.figures[i]
                    .per_query
                    .push(self.how.metrics.iter().map(|metric| seen.figure(*metric) + NO_SIGN).collect());
                if let Some((path, file)) = self.files.get_mut(i) {
                    let miss = if list.is_empty() { a_miss(self.data, self.index, query) } else { None };
                    let list = if list.is_empty() { miss.as_slice() } else { list };
                    run_lines(file, &query.id, list, self.index, &ranking.name()).map_err(CommandError::file(path))?;
                }
            }
        }
        Ok(())
    }

    /// For each of `count` queries from number `first` on, where the first document with an answer stands in each of
    /// its lists, as far as figures look.
    fn first_answers(
        &self,
        first: usize,
        count: usize,
        ranked: &[Ranked],
    ) -> Result<Vec<Vec<Option<usize>>>, IndexError> {
        let by_answers = self.how.metrics.iter().filter(|metric| metric.kind == MetricKind::AnswerRecall);
        let Some(deepest) = by_answers.map(|metric| metric.at).max() else {
            return Ok(vec![vec![None; ranked.len()]; count]);
        };
        let of_query = |query: usize| {
            let answers = &self.data.answers[first + query];
            let mut known = HashMap::new();
            let mut has = |hit: &Hit| -> Result<bool, IndexError> {
                if let Some(has) = known.get(&hit.doc) {
                    return Ok(*has);
                }
                let has = answers.are_in(&self.index.text(hit.doc)?);
                known.insert(hit.doc, has);
                Ok(has)
            };
            let mut of_list = |list: &Vec<Hit>| -> Result<Option<usize>, IndexError> {
                for (place, hit) in list.iter().take(if answers.is_empty() { 0 } else { deepest }).enumerate() {
                    if has(hit)? {
                        return Ok(Some(place));
                    }
                }
                Ok(None)
            };
            ranked.iter().map(|(_, lists)| of_list(&lists[query])).collect()
        };
        let found: Vec<Mutex<Result<Vec<Option<usize>>, IndexError>>> =
            (0..count).map(|_| Mutex::new(Ok(Vec::new()))).collect();
        parallel(count, 1, |numbers| {
            for query in numbers {
                // A panic ends the process.
                *found[query].lock().unwrap_or_else(PoisonError::into_inner) = of_query(query);
            }
        });
        found.into_iter().map(|found| found.into_inner().unwrap_or_else(PoisonError::into_inner)).collect()
    }

    /// The means; the run files are put in their places.
    fn end(self) -> anyhow::Result<Vec<Figures>> {
        self.files.into_iter().try_for_each(|(_, file)| file.replace())?;
        let mut figures = self.figures;
        for Figures { per_query, means, .. } in &mut figures {
            *means = (0..self.how.metrics.len()).map(|i| mean(per_query.iter().map(|query| query[i]))).collect();
        }
        Ok(figures)
    }
}

/// A document that is not relevant, with the score 0, to be listed for a query that finds none: trec_eval leaves a
/// query without a line out of its means, but finding nothing must count as 0.
fn a_miss(data: &Dataset, index: &Index, query: &Query) -> Option<Hit> {
    let judgments = data.qrels.get(&query.id);
    let is_miss = |doc: &u32| {
        let id = str::from_utf8(index.id(*doc)).unwrap_or("");
        id != query.id && judgments.and_then(|judged| judged.get(id)).is_none_or(|&relevance| relevance <= 0)
    };
    (0..index.num_docs() as u32).find(is_miss).map(|doc| Hit::new(doc, 0.0))
}
