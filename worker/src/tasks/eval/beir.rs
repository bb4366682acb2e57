//! BEIR folders: `corpus.jsonl`, `queries.jsonl` and `qrels/test.tsv` (Thakur et al., 2021).
//!
//! Every rank reads the whole folder, knows all ids and keeps the texts of its own documents. Documents are numbered
//! by id in *descending* byte order, because that is how trec_eval breaks ties: of two documents with the same score
//! the one with the smaller number ranks first.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::path::Path;

use tercet_sampler::{LinesOf, plain_or_packed};

use crate::tasks::error::TaskError;
use crate::tasks::records::{TextRecord, for_each_line};

/// Judgments of one query: document id → relevance.
pub type Judgments = HashMap<String, i64>;

/// A document's number and text.
pub type Document = (u32, String);

/// One query that has judgments.
#[derive(Debug, PartialEq, Eq)]
pub struct Query {
    /// Its `_id`.
    pub id: String,
    /// What the model reads.
    pub text: String,
}

/// One BEIR folder, as one rank sees it.
#[derive(Debug)]
pub struct Dataset {
    /// The folder's name.
    pub name: String,
    /// Id of every document, in descending byte order; a document's number is its place here.
    pub doc_ids: Vec<String>,
    /// This rank's documents: number and text.
    pub own_docs: Vec<Document>,
    /// The queries that have judgments, in the order of `queries.jsonl`.
    pub queries: Vec<Query>,
    /// Query id → judgments, for each of `queries`.
    pub qrels: BTreeMap<String, Judgments>,
    /// Queries that have judgments but are not in `queries.jsonl`; they are left out.
    pub num_unknown_queries: usize,
    /// Judgments of documents that are not in the corpus; they stay and cannot be found.
    pub num_unknown_docs: usize,
}

impl Dataset {
    /// Reads the folder at `dir` for rank `rank` of `world_size`.
    ///
    /// # Errors
    /// [`TaskError`] with file, line and reason for anything missing, malformed or named twice, and where no query is
    /// left to evaluate.
    pub fn load(dir: &Path, rank: usize, world_size: usize) -> Result<Self, TaskError> {
        let (doc_ids, own_docs) = read_corpus(&plain_or_packed(&dir.join("corpus.jsonl")), rank, world_size)?;
        let mut queries = read_queries(&plain_or_packed(&dir.join("queries.jsonl")))?;
        let qrels_path = plain_or_packed(&dir.join("qrels").join("test.tsv"));
        let mut qrels = read_qrels(&qrels_path)?;

        queries.retain(|query| qrels.contains_key(&query.id));
        if queries.is_empty() {
            let reason = "judges no query of queries.jsonl: the ids of the two files must be the same".into();
            return Err(TaskError::Data { path: qrels_path, reason });
        }
        let num_judged = qrels.len();
        let known: HashSet<&str> = queries.iter().map(|query| query.id.as_str()).collect();
        qrels.retain(|query, _| known.contains(query.as_str()));
        let judged_docs = qrels.values().flat_map(HashMap::keys);
        let num_unknown_docs = judged_docs.filter(|id| doc_number(&doc_ids, id).is_none()).count();
        Ok(Self {
            name: folder_name(dir)?,
            num_unknown_queries: num_judged - qrels.len(),
            num_unknown_docs,
            doc_ids,
            own_docs,
            queries,
            qrels,
        })
    }
}

fn doc_number(doc_ids: &[String], id: &str) -> Option<usize> {
    doc_ids.binary_search_by(|known| id.cmp(known.as_str())).ok()
}

fn folder_name(dir: &Path) -> Result<String, TaskError> {
    // `.` and `data/..` have a name once resolved.
    let full = dir.canonicalize().map_err(TaskError::file(dir))?;
    Ok(full.file_name().map_or_else(|| "dataset".into(), |name| name.to_string_lossy().into_owned()))
}

/// All ids in descending order, and the documents at lines `rank`, `rank + world_size`, … with their numbers.
fn read_corpus(path: &Path, rank: usize, world_size: usize) -> Result<(Vec<String>, Vec<Document>), TaskError> {
    let mut ids = Vec::new();
    let mut own = Vec::new();
    for_each_line(path, LinesOf::Objects, |_, line| {
        if line.trim().is_empty() {
            return Ok(());
        }
        let mut record = TextRecord::parse(line)?;
        let place = ids.len();
        ids.push(required_id(record.id.take())?);
        if place % world_size == rank {
            own.push((place, record.full_text()));
        }
        Ok(())
    })?;
    if ids.is_empty() {
        return Err(TaskError::Data { path: path.to_owned(), reason: "holds no document".into() });
    }
    let mut by_id: Vec<u32> = (0..u32::try_from(ids.len()).map_err(|_| too_large(path))?).collect();
    by_id.sort_unstable_by(|&a, &b| ids[b as usize].cmp(&ids[a as usize]));
    let mut numbers = vec![0u32; ids.len()];
    for (number, &place) in (0u32..).zip(&by_id) {
        numbers[place as usize] = number;
    }
    let own = own.into_iter().map(|(place, text)| (numbers[place], text)).collect();
    let sorted: Vec<String> = by_id.iter().map(|&place| std::mem::take(&mut ids[place as usize])).collect();
    if let Some(twice) = sorted.windows(2).find(|pair| pair[0] == pair[1]) {
        let reason = format!("two documents have the _id {:?}; ids must be unique", twice[0]);
        return Err(TaskError::Data { path: path.to_owned(), reason });
    }
    Ok((sorted, own))
}

fn too_large(path: &Path) -> TaskError {
    TaskError::Data { path: path.to_owned(), reason: format!("more than {} documents", u32::MAX) }
}

fn read_queries(path: &Path) -> Result<Vec<Query>, TaskError> {
    let mut queries = Vec::new();
    let mut seen = HashSet::new();
    for_each_line(path, LinesOf::Objects, |_, line| {
        if line.trim().is_empty() {
            return Ok(());
        }
        let mut record = TextRecord::parse(line)?;
        let id = required_id(record.id.take())?;
        if !seen.insert(id.clone()) {
            return Err(format!("a second query with the _id {id:?}; ids must be unique"));
        }
        queries.push(Query { id, text: record.full_text() });
        Ok(())
    })?;
    Ok(queries)
}

fn required_id(id: Option<String>) -> Result<String, String> {
    let id = id.ok_or("no \"_id\"")?;
    // A run file separates its columns by blanks.
    if id.is_empty() || id.contains(char::is_whitespace) {
        return Err(format!("the _id {id:?} is empty or has blanks in it, which run files cannot carry"));
    }
    Ok(id)
}

/// `query-id <tab> corpus-id <tab> relevance`, with or without the header line; of two judgments the later one holds.
fn read_qrels(path: &Path) -> Result<BTreeMap<String, Judgments>, TaskError> {
    let mut qrels = BTreeMap::<String, Judgments>::new();
    for_each_line(path, LinesOf::Text, |number, line| {
        if line.trim().is_empty() {
            return Ok(());
        }
        let columns: Vec<&str> = line.split('\t').map(str::trim).collect();
        let &[query, doc, relevance] = columns.as_slice() else {
            return Err(format!(
                "expected 3 columns between tabs (query-id, corpus-id, score), found {}",
                columns.len()
            ));
        };
        match relevance.parse() {
            Ok(relevance) => qrels.entry(query.into()).or_default().insert(doc.into(), relevance),
            Err(_) if number == 1 => None, // the header
            Err(_) => return Err(format!("the score {relevance:?} is not a whole number")),
        };
        Ok(())
    })?;
    Ok(qrels)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

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

    fn error(corpus: &str, queries: &str, qrels: &str) -> String {
        Dataset::load(folder(corpus, queries, qrels).path(), 0, 1).unwrap_err().to_string()
    }

    #[test]
    fn documents_are_numbered_by_descending_id_and_shared_by_lines() {
        let dir = folder(CORPUS, QUERIES, QRELS);
        let first = Dataset::load(dir.path(), 0, 2).unwrap();
        let second = Dataset::load(dir.path(), 1, 2).unwrap();
        assert_eq!(first.doc_ids, ["d2", "d10", "d1"]);
        assert_eq!(second.doc_ids, first.doc_ids);
        assert_eq!(first.own_docs, [(2, "T one".to_owned()), (0, "two".to_owned())]);
        assert_eq!(second.own_docs, [(1, "ten".to_owned())]);
    }

    #[test]
    fn unknown_ids_are_counted_and_unjudged_queries_left_out() {
        let data = Dataset::load(folder(CORPUS, QUERIES, QRELS).path(), 0, 1).unwrap();
        assert_eq!(data.queries, [Query { id: "q1".into(), text: "first".into() }]);
        assert_eq!(data.num_unknown_queries, 1);
        assert_eq!(data.num_unknown_docs, 1);
        assert_eq!(data.qrels["q1"]["d10"], 2);
        assert!(!data.qrels.contains_key("q9"));
    }

    #[test]
    fn a_header_is_optional() {
        let data = Dataset::load(folder(CORPUS, QUERIES, "q1\td1\t1\n").path(), 0, 1).unwrap();
        assert_eq!(data.qrels["q1"]["d1"], 1);
    }

    #[test]
    fn mistakes_name_file_line_and_reason() {
        let missing = Dataset::load(Path::new("no/such/folder"), 0, 1).unwrap_err();
        assert!(missing.to_string().contains("no/such/folder/corpus.jsonl"), "{missing}");
        let message = error("{\"_id\": \"d1\"}\n", QUERIES, QRELS);
        assert!(message.contains("corpus.jsonl:1: no \"text\""), "{message}");
        let message = error("{\"text\": \"x\"}\n", QUERIES, QRELS);
        assert!(message.contains("corpus.jsonl:1: no \"_id\""), "{message}");
        let message = error(&CORPUS.repeat(2), QUERIES, QRELS);
        assert!(message.contains("corpus.jsonl: two documents have the _id \"d2\""), "{message}");
        let message = error(CORPUS, &QUERIES.repeat(2), QRELS);
        assert!(message.contains("queries.jsonl:3: a second query with the _id \"q1\""), "{message}");
        let message = error(CORPUS, QUERIES, "h\th\th\nq1\td1\tgood\n");
        assert!(message.contains("test.tsv:2: the score \"good\""), "{message}");
        let message = error(CORPUS, QUERIES, "q1 d1 1\n");
        assert!(message.contains("test.tsv:1: expected 3 columns"), "{message}");
        let message = error(CORPUS, QUERIES, "q7\td1\t1\n");
        assert!(message.contains("judges no query"), "{message}");
        let message = error("", QUERIES, QRELS);
        assert!(message.contains("holds no document"), "{message}");
    }
}
