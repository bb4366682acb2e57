//! BEIR folders: `corpus.jsonl`, `queries.jsonl` and `qrels/SPLIT.tsv` (Thakur et al., 2021), as BEIR's own loader
//! reads them: a document is its title, a space and its text, a query its text alone, `_id` its name; queries that the
//! split does not judge are left out. Unlike that loader, two texts of one name are refused, and the first two files
//! may be packed, or have columns.
//!
//! Rank 0 reads the folder. It keeps the places of the corpus' documents that have to do with a query.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use tercet_cluster::{Collective, broadcast_bytes};
use tercet_configs::Metric;
use tercet_retrieval::Answers;
use tercet_sampler::{EvalFolder, NamedBy};

use super::answers::read_answers;
use super::names::required_id;
use super::qrels::{Judgments, Qrels, read_qrels};
use crate::files::CommandError;
use crate::files::records::TextRecord;
use crate::retrieval::corpus::{CorpusFiles, Survey, blank_in};

/// A query.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Query {
    /// Its `_id`.
    pub id: String,
    /// What the model reads.
    pub text: String,
}

/// One BEIR folder.
pub struct Dataset {
    /// The folder's name.
    pub name: String,
    /// The corpus.
    pub files: CorpusFiles,
    /// What it is.
    pub survey: Survey,
    /// The queries that have judgments, in the order of `queries.jsonl`.
    pub queries: Vec<Query>,
    /// The document that has the query's very id, for each of `queries`: its place in the corpus.
    pub namesakes: Vec<Option<u32>>,
    /// An id with a blank in it, which a run file cannot carry.
    pub id_with_blank: Option<String>,
    /// Query id → judgments, for each of `queries`; on rank 0.
    pub qrels: BTreeMap<String, Judgments>,
    /// The answers of each of `queries`, if figures need them; on rank 0.
    pub answers: Vec<Answers>,
    /// What was left out, with numbers and what follows from them; on rank 0.
    pub remarks: Vec<String>,
}

/// What every rank knows of a folder.
#[derive(Default, Serialize, Deserialize)]
struct Known {
    queries: Vec<Query>,
    namesakes: Vec<Option<u32>>,
    id_with_blank: Option<String>,
}

/// What rank 0 has read of a folder, until the corpus is known.
#[derive(Default)]
struct Read {
    queries: Vec<Query>,
    /// The file of judgments, and what it holds; none if figures go by answers alone.
    qrels: Option<(PathBuf, Qrels)>,
    /// The answers of each query that has some, if figures need them.
    answers: Option<HashMap<String, Vec<String>>>,
    /// Documents that are judged, or have the id of a query, and where they are in the corpus.
    places: HashMap<String, Option<u32>>,
    id_with_blank: Option<String>,
    remarks: Vec<String>,
}

impl Dataset {
    /// Refuses names that run files cannot carry.
    ///
    /// # Errors
    /// [`CommandError::Data`] with the first of them.
    pub fn must_fit_run_files(&self) -> Result<(), CommandError> {
        match &self.id_with_blank {
            Some(id) => Err(CommandError::Data { path: PathBuf::from(&self.name), reason: blank_in(id) }),
            None => Ok(()),
        }
    }

    /// Reads the folder at `dir`, with what `metrics` need of the judgments of `split`. Every rank calls it.
    ///
    /// # Errors
    /// On rank 0 [`CommandError`] with file, line and reason for anything missing, malformed or named twice, and where
    /// no query or no document is left to evaluate. A rank that is gone.
    pub fn load(dir: &Path, split: &str, metrics: &[Metric], ranks: &dyn Collective) -> anyhow::Result<Self> {
        let mut read = match ranks.rank() {
            0 => Read::of(dir, split, metrics)?,
            _ => Read::default(),
        };
        let files = CorpusFiles::of(&[dir.to_owned()]);
        let survey = files.survey_with(ranks, |number, passage| {
            if let Some(place) = read.places.get_mut(&passage.id) {
                *place = Some(u32::try_from(number).map_err(|_| "more than 4 billion documents")?);
            }
            if read.id_with_blank.is_none() && passage.id.contains(char::is_whitespace) {
                read.id_with_blank = Some(passage.id.clone());
            }
            Ok(())
        })?;
        let (mut known, mut bytes) = (Known::default(), Vec::new());
        if ranks.rank() == 0 {
            read.leave_out_strangers()?;
            known = read.known();
            bytes = serde_json::to_vec(&known)?;
        }
        broadcast_bytes(ranks, &mut bytes, 0)?;
        if ranks.rank() != 0 {
            known = serde_json::from_slice(&bytes)?;
        }
        let Known { queries, namesakes, id_with_blank } = known;
        let (answers, remarks) = (read.answers_of(&queries), read.remarks);
        let qrels = read.qrels.map_or_else(BTreeMap::new, |(_, qrels)| qrels.judgments);
        Ok(Self {
            name: of_options(dir).name().map_err(CommandError::file(dir))?,
            files,
            survey,
            queries,
            namesakes,
            id_with_blank,
            qrels,
            answers,
            remarks,
        })
    }
}

impl Read {
    /// Reads all but the corpus.
    fn of(dir: &Path, split: &str, metrics: &[Metric]) -> Result<Self, CommandError> {
        let folder = of_options(dir);
        folder.check(split, metrics).map_err(CommandError::Usage)?;
        let queries_path = folder.file("queries.jsonl").map_err(CommandError::Usage)?;
        let mut queries = read_queries(&queries_path)?;
        let known: HashSet<&str> = queries.iter().map(|query| query.id.as_str()).collect();
        let mut places = HashMap::new();
        let qrels = match folder.needs_qrels(split, metrics) {
            true => {
                let path = folder.qrels(split).map_err(CommandError::Usage)?;
                let qrels = read_qrels(&path, |id| known.contains(id))?;
                let docs = qrels.judgments.values().flat_map(HashMap::keys).chain(qrels.judgments.keys());
                places.extend(docs.chain(qrels.header.iter().map(|header| &header.doc)).map(|id| (id.clone(), None)));
                Some((path, qrels))
            }
            false => None,
        };
        drop(known);
        let answers = match metrics.iter().any(|metric| metric.needs_answers()) {
            true => Some(read_answers(&folder.find("answers.jsonl").unwrap_or(queries_path.clone()))?),
            false => None,
        };
        if let (None, Some(answers)) = (&qrels, &answers) {
            queries.retain(|query| answers.contains_key(&query.id));
            if queries.is_empty() {
                let reason = "no query of it has answers: they stand in its own \"answers\", or in answers.jsonl beside \
                              it under the same ids";
                return Err(CommandError::Data { path: queries_path, reason: reason.into() });
            }
            places.extend(queries.iter().map(|query| (query.id.clone(), None)));
        }
        Ok(Self { queries, qrels, answers, places, id_with_blank: None, remarks: Vec::new() })
    }

    fn is_doc(&self, id: &str) -> bool {
        self.places.get(id).is_some_and(Option::is_some)
    }

    /// Leaves out queries that are not judged and judgments of queries that are not there, and counts.
    fn leave_out_strangers(&mut self) -> Result<(), CommandError> {
        let Some((path, Qrels { judgments, header })) = self.qrels.take() else { return Ok(()) };
        if let Some(header) = header.filter(|header| self.is_doc(&header.doc)) {
            return Err(header.error());
        }
        let mut qrels = judgments;
        let known: HashSet<&str> = self.queries.iter().map(|query| query.id.as_str()).collect();
        let unknown_queries: Vec<String> = qrels.keys().filter(|id| !known.contains(id.as_str())).cloned().collect();
        let mut remarks = Vec::new();
        if unknown_queries.len() == qrels.len() {
            let swapped =
                if qrels.keys().all(|id| self.is_doc(id)) { "; its first column holds documents' ids" } else { "" };
            let reason =
                format!("judges no query of queries.jsonl: the ids of the two files must be the same{swapped}");
            return Err(CommandError::Data { path, reason });
        }
        if let Some(first) = unknown_queries.first() {
            let (lacking, all) = (unknown_queries.len(), qrels.len());
            remarks.push(format!(
                "{lacking} of {all} judged queries are not in queries.jsonl ({first:?}); they are left out of the means"
            ));
            qrels.retain(|query, _| known.contains(query.as_str()));
        }
        let judged: HashSet<&str> = qrels.values().flat_map(HashMap::keys).map(String::as_str).collect();
        let unknown: Vec<&str> = judged.iter().copied().filter(|id| !self.is_doc(id)).collect();
        if unknown.len() == judged.len() {
            let reason = "judges no document of corpus.jsonl: the ids of the two files must be the same".into();
            return Err(CommandError::Data { path, reason });
        }
        if let Some(first) = unknown.iter().min() {
            remarks.push(format!(
                "{} of {} judged documents are not in corpus.jsonl ({first:?}); they count as not found",
                unknown.len(),
                judged.len()
            ));
        }
        let num_without = qrels.values().filter(|docs| docs.values().all(|&score| score <= 0)).count();
        if num_without > 0 {
            remarks.push(format!("{num_without} queries have no document judged above 0; they score 0"));
        }
        self.queries.retain(|query| qrels.contains_key(&query.id));
        if let Some(answers) = &self.answers {
            let num_without = self.queries.iter().filter(|query| !answers.contains_key(&query.id)).count();
            if num_without == self.queries.len() {
                let reason = "no judged query has answers: they stand in a query's own \"answers\", or in answers.jsonl \
                              beside the queries under the same ids";
                return Err(CommandError::Data { path, reason: reason.into() });
            }
            if num_without > 0 {
                remarks.push(format!("{num_without} queries have no answers; their answer recall is 0"));
            }
        }
        self.remarks = remarks;
        self.qrels = Some((path, Qrels { judgments: qrels, header: None }));
        Ok(())
    }

    /// What all ranks need of it.
    fn known(&mut self) -> Known {
        let queries = std::mem::take(&mut self.queries);
        let namesakes = queries.iter().map(|query| self.places.get(&query.id).copied().flatten()).collect();
        let blank = queries.iter().map(|query| &query.id).find(|id| id.contains(char::is_whitespace));
        Known { namesakes, id_with_blank: self.id_with_blank.take().or_else(|| blank.cloned()), queries }
    }

    fn answers_of(&self, queries: &[Query]) -> Vec<Answers> {
        let Some(answers) = &self.answers else { return Vec::new() };
        let of = |query: &Query| answers.get(&query.id).map_or_else(Answers::default, |own| Answers::new(own));
        queries.iter().map(of).collect()
    }
}

/// The folder at `dir`. A recipe's was looked at before, with messages of its own.
fn of_options(dir: &Path) -> EvalFolder<'_> {
    EvalFolder { dir, named_by: NamedBy::Options }
}

/// The queries of a file of records with `_id` and `text`, in its order.
///
/// # Errors
/// A file that cannot be read, or a record without an id or a text.
pub fn read_queries(path: &Path) -> Result<Vec<Query>, CommandError> {
    let mut queries = Vec::new();
    let mut seen = HashSet::new();
    TextRecord::for_each(path, |_, mut record, line| {
        let id = required_id(record.id.take(), line)?;
        if !seen.insert(id.clone()) {
            return Err(format!("a second query with the _id {id:?}; ids must be unique"));
        }
        queries.push(Query { id, text: record.text });
        Ok(())
    })?;
    Ok(queries)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use tercet_cluster::Solo;

    use super::*;

    const CORPUS: &str = "{\"_id\": \"d1\", \"title\": \"T\", \"text\": \"one\"}\n{\"_id\": \"d10\", \"text\": \"ten\"}\n{\"_id\": \"d2\", \"text\": \"two\"}\n";
    const QUERIES: &str = "{\"_id\": \"q1\", \"text\": \"first\"}\n{\"_id\": \"q2\", \"text\": \"unjudged\"}\n";
    const QRELS: &str = "query-id\tcorpus-id\tscore\nq1\td10\t2\nq1\tgone\t1\nq9\td1\t1\n";

    fn folder(corpus: &str, queries: &str, qrels: &str) -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("corpus.jsonl"), corpus).unwrap();
        fs::write(dir.path().join("queries.jsonl"), queries).unwrap();
        fs::create_dir(dir.path().join("qrels")).unwrap();
        fs::write(dir.path().join("qrels/test.tsv"), qrels).unwrap();
        dir
    }

    fn load(dir: &Path, split: &str) -> anyhow::Result<Dataset> {
        Dataset::load(dir, split, &Metric::DEFAULT, &Solo::new())
    }

    fn error(corpus: &str, queries: &str, qrels: &str) -> String {
        load(folder(corpus, queries, qrels).path(), "test").err().unwrap().to_string()
    }

    #[test]
    fn unknown_ids_are_counted_and_unjudged_queries_left_out() {
        let data = load(folder(CORPUS, QUERIES, QRELS).path(), "test").unwrap();
        assert_eq!(data.queries, [Query { id: "q1".into(), text: "first".into() }]);
        assert_eq!(data.remarks.len(), 2, "{:?}", data.remarks);
        assert!(data.remarks[0].contains("1 of 2 judged queries") && data.remarks[0].contains("\"q9\""));
        assert!(data.remarks[1].contains("1 of 2 judged documents") && data.remarks[1].contains("\"gone\""));
        assert_eq!(data.qrels["q1"]["d10"], 2);
        assert!(!data.qrels.contains_key("q9"));
        let data = load(folder(CORPUS, QUERIES, "q1\td1\t0\n").path(), "test").unwrap();
        assert!(data.remarks[0].contains("1 queries have no document judged above 0"), "{:?}", data.remarks);
    }

    #[test]
    fn a_query_is_its_text_and_may_be_a_document() {
        let queries = "{\"_id\": \"d2\", \"title\": \"T\", \"text\": \"two\"}\n{\"_id\": \"q 1\", \"text\": \"one\"}\n";
        let qrels = "d2\td1\t1\nq 1\td1\t1\n";
        let data = load(folder(CORPUS, queries, qrels).path(), "test").unwrap();
        assert_eq!(data.queries[0].text, "two");
        assert_eq!(data.namesakes, [Some(2), None]);
        assert_eq!(data.id_with_blank.as_deref(), Some("q 1"));
    }

    #[test]
    fn without_judgments_queries_are_those_with_answers() {
        let queries =
            "{\"_id\": \"q1\", \"text\": \"a\", \"answers\": [\"Ten\"]}\n{\"_id\": \"q2\", \"text\": \"b\"}\n";
        let dir = folder(CORPUS, queries, QRELS);
        let by_answers = ["answer_recall@5".parse().unwrap()];
        let load = || Dataset::load(dir.path(), "test", &by_answers, &Solo::new()).unwrap();
        assert_eq!(load().remarks.len(), 2, "what is judged is read where it is");
        fs::remove_dir_all(dir.path().join("qrels")).unwrap();
        let data = load();
        assert_eq!((data.queries.len(), data.queries[0].id.as_str(), data.qrels.len()), (1, "q1", 0));
        assert!(data.answers[0].are_in("one, TEN") && !data.answers[0].are_in("one"));
        fs::write(dir.path().join("answers.jsonl"), "{\"_id\": \"q2\", \"answers\": [\"one\", \"two\"]}\n").unwrap();
        let data = load();
        assert_eq!(data.queries[0].id, "q2");
        assert!(data.answers[0].are_in("two"));
        let message = Dataset::load(dir.path(), "test", &Metric::DEFAULT, &Solo::new()).err().unwrap().to_string();
        assert!(message.contains("qrels/test.tsv: no such file"), "{message}");
    }

    #[test]
    fn mistakes_name_file_line_and_reason() {
        let message = error("{\"_id\": \"d1\"}\n", QUERIES, QRELS);
        assert!(message.contains("corpus.jsonl:1: no \"text\""), "{message}");
        let message = error("{\"text\": \"x\"}\n", QUERIES, QRELS);
        assert!(message.contains("corpus.jsonl:1: no \"_id\""), "{message}");
        let message = error("{\"_id\": \" d1\", \"text\": \"x\"}\n", QUERIES, QRELS);
        assert!(message.contains("corpus.jsonl:1: the _id \" d1\""), "{message}");
        let message = error(&CORPUS.repeat(2), QUERIES, QRELS);
        assert!(message.contains("corpus.jsonl:4: a second passage with the _id \"d1\""), "{message}");
        let message = error(CORPUS, &QUERIES.repeat(2), QRELS);
        assert!(message.contains("queries.jsonl:3: a second query with the _id \"q1\""), "{message}");
        let message = error(CORPUS, QUERIES, "q7\td1\t1\n");
        assert!(message.contains("judges no query"), "{message}");
        let message = error(CORPUS, QUERIES, "d1\tq1\t1\n");
        assert!(message.contains("first column holds documents' ids"), "{message}");
        let message = error(CORPUS, QUERIES, "q1\tgone\t1\n");
        assert!(message.contains("judges no document"), "{message}");
        let message = error("", QUERIES, QRELS);
        assert!(message.contains("holds no passage"), "{message}");
    }
}
