//! BEIR folders: `corpus.jsonl`, `queries.jsonl` and `qrels/SPLIT.tsv` (Thakur et al., 2021), as BEIR's own loader
//! reads them: a document is its title, a space and its text, a query its text alone, `_id` its name; queries that the
//! split does not judge are left out. Unlike that loader, two texts of one name are refused, and the first two files
//! may be packed, or have columns.
//!
//! Every rank reads the whole folder, knows all ids and keeps the texts of its own documents. Documents are numbered
//! by id in *descending* byte order, because that is how trec_eval breaks ties: of two documents with the same score
//! the one with the smaller number ranks first.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::path::{Path, PathBuf};

use tercet_sampler::plain_or_packed;

use super::qrels::{Judgments, read_qrels};
use crate::files::CommandError;
use crate::files::records::{TextRecord, no_id};

/// Endings of the files of columns that stand in for JSON Lines.
const COLUMNS: [&str; 2] = ["parquet", "arrow"];

/// Names in a folder that a message lists.
const LISTED_NAMES: usize = 12;

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
    /// The document that has the query's very id, for each of `queries`.
    pub namesakes: Vec<Option<u32>>,
    /// What was left out, with numbers and what follows from them.
    pub remarks: Vec<String>,
    /// An id with a blank in it, which a run file cannot carry.
    pub id_with_blank: Option<String>,
}

impl Dataset {
    /// Whether the folder at `dir` has the files of `split`.
    ///
    /// # Errors
    /// [`CommandError::Usage`] with what is missing and what is there.
    pub fn check(dir: &Path, split: &str) -> Result<(), CommandError> {
        qrels_of(dir, split)?;
        file_of(dir, "corpus.jsonl")?;
        file_of(dir, "queries.jsonl").map(drop)
    }

    /// Reads the folder at `dir`, with the judgments of `split`, for rank `rank` of `world_size`.
    ///
    /// # Errors
    /// [`CommandError`] with file, line and reason for anything missing, malformed or named twice, and where no query
    /// or no document is left to evaluate.
    pub fn load(dir: &Path, split: &str, rank: usize, world_size: usize) -> Result<Self, CommandError> {
        let qrels_path = qrels_of(dir, split)?;
        let mut remarks = Vec::new();
        let (doc_ids, own_docs) = read_corpus(&file_of(dir, "corpus.jsonl")?, rank, world_size)?;
        let mut queries = read_queries(&file_of(dir, "queries.jsonl")?)?;
        let known: HashSet<&str> = queries.iter().map(|query| query.id.as_str()).collect();
        let is_doc = |id: &str| doc_number(&doc_ids, id).is_some();
        let mut qrels = read_qrels(&qrels_path, |id| [known.contains(id), is_doc(id)])?;

        let unknown_queries: Vec<String> = qrels.keys().filter(|id| !known.contains(id.as_str())).cloned().collect();
        if unknown_queries.len() == qrels.len() {
            let swapped =
                if qrels.keys().all(|id| is_doc(id)) { "; its first column holds documents' ids" } else { "" };
            let reason =
                format!("judges no query of queries.jsonl: the ids of the two files must be the same{swapped}");
            return Err(CommandError::Data { path: qrels_path, reason });
        }
        if let Some(first) = unknown_queries.first() {
            let (lacking, all) = (unknown_queries.len(), qrels.len());
            remarks.push(format!(
                "{lacking} of {all} judged queries are not in queries.jsonl ({first:?}); they are left out of the means"
            ));
            qrels.retain(|query, _| known.contains(query.as_str()));
        }
        let judged: HashSet<&str> = qrels.values().flat_map(HashMap::keys).map(String::as_str).collect();
        let unknown: Vec<&str> = judged.iter().copied().filter(|id| !is_doc(id)).collect();
        if unknown.len() == judged.len() {
            let reason = "judges no document of corpus.jsonl: the ids of the two files must be the same".into();
            return Err(CommandError::Data { path: qrels_path, reason });
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
        drop(known);
        queries.retain(|query| qrels.contains_key(&query.id));
        let namesakes =
            queries.iter().map(|query| doc_number(&doc_ids, &query.id).map(|number| number as u32)).collect();
        let ids = || doc_ids.iter().chain(queries.iter().map(|query| &query.id));
        let id_with_blank = ids().find(|id| id.contains(char::is_whitespace)).cloned();
        Ok(Self { name: folder_name(dir)?, namesakes, remarks, id_with_blank, doc_ids, own_docs, queries, qrels })
    }
}

/// The file `name` of the folder, plain or packed; or, of JSON Lines, the same name as columns; if there is one.
pub fn find(dir: &Path, name: &str) -> Option<PathBuf> {
    let path = plain_or_packed(&dir.join(name));
    let stem = name.strip_suffix(".jsonl");
    let columns = stem.into_iter().flat_map(|stem| COLUMNS.map(|ending| dir.join(format!("{stem}.{ending}"))));
    [path].into_iter().chain(columns).find(|path| path.exists())
}

/// The file `name` of the folder.
fn file_of(dir: &Path, name: &str) -> Result<PathBuf, CommandError> {
    if let Some(found) = find(dir, name) {
        return Ok(found);
    }
    if !dir.is_dir() {
        return Err(CommandError::Usage(format!("--data {}: there is no such folder", dir.display())));
    }
    let below: Vec<String> = names_in(dir).into_iter().filter(|below| dir.join(below).join(name).exists()).collect();
    let remedy = match below.first() {
        Some(below) => format!("{} has one: give that to --data", dir.join(below).display()),
        None => format!("there are: {}", listed(&names_in(dir))),
    };
    Err(CommandError::Usage(format!("{}: no such file; {remedy}", dir.join(name).display())))
}

/// The judgments of a split.
fn qrels_of(dir: &Path, split: &str) -> Result<PathBuf, CommandError> {
    let folder = dir.join("qrels");
    let named = folder.join(format!("{split}.tsv"));
    let path = plain_or_packed(&named);
    if path.exists() || !folder.is_dir() {
        // A folder without judgments may lack more: its other files are reported first.
        file_of(dir, "corpus.jsonl")?;
        return file_of(dir, &format!("qrels/{split}.tsv"));
    }
    let names = names_in(&folder);
    let splits: Vec<&str> = names.iter().filter_map(|name| name.split_once(".tsv").map(|(split, _)| split)).collect();
    let remedy = match splits.first() {
        Some(first) => format!("{} has {}: choose one with --split {first}", folder.display(), listed(&splits)),
        None => format!("{} holds {}", folder.display(), listed(&names)),
    };
    Err(CommandError::Usage(format!("{}: no such file; {remedy}", named.display())))
}

/// The names in a folder, in order; none if it cannot be read.
fn names_in(dir: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(dir).into_iter().flatten().flatten();
    let mut names: Vec<String> = entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    names
}

fn listed<T: AsRef<str>>(names: &[T]) -> String {
    let shown: Vec<&str> = names.iter().map(AsRef::as_ref).take(LISTED_NAMES).collect();
    match names.len().saturating_sub(LISTED_NAMES) {
        0 if names.is_empty() => "nothing".into(),
        0 => shown.join(", "),
        more => format!("{} and {more} more", shown.join(", ")),
    }
}

fn doc_number(doc_ids: &[String], id: &str) -> Option<usize> {
    doc_ids.binary_search_by(|known| id.cmp(known.as_str())).ok()
}

/// The folder's name.
pub fn folder_name(dir: &Path) -> Result<String, CommandError> {
    // `.` and `data/..` have a name once resolved.
    let full = dir.canonicalize().map_err(CommandError::file(dir))?;
    Ok(full.file_name().map_or_else(|| "dataset".into(), |name| name.to_string_lossy().into_owned()))
}

/// All ids in descending order, and the documents at lines `rank`, `rank + world_size`, … with their numbers.
fn read_corpus(path: &Path, rank: usize, world_size: usize) -> Result<(Vec<String>, Vec<Document>), CommandError> {
    let (mut ids, mut own) = (Vec::new(), Vec::new());
    TextRecord::for_each(path, |_, mut record, line| {
        let place = ids.len();
        ids.push(required_id(record.id.take(), line)?);
        let text = record.full_text()?;
        if place % world_size == rank {
            own.push((place, text));
        }
        Ok(())
    })?;
    if ids.is_empty() {
        return Err(CommandError::Data { path: path.to_owned(), reason: "holds no document".into() });
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
        return Err(CommandError::Data { path: path.to_owned(), reason });
    }
    Ok((sorted, own))
}

fn too_large(path: &Path) -> CommandError {
    CommandError::Data { path: path.to_owned(), reason: format!("more than {} documents", u32::MAX) }
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

/// The name of the text on `line`.
pub fn required_id(id: Option<String>, line: &str) -> Result<String, String> {
    let id = id.ok_or_else(|| no_id(line))?;
    // Judgments put names between tabs, one a line.
    if id.trim().is_empty() || id.trim() != id || id.contains(['\t', '\n', '\r']) {
        return Err(format!(
            "the _id {id:?} is empty, or has a blank at an end or a tab in it, which judgments cannot carry"
        ));
    }
    Ok(id)
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
        Dataset::load(folder(corpus, queries, qrels).path(), "test", 0, 1).unwrap_err().to_string()
    }

    #[test]
    fn documents_are_numbered_by_descending_id_and_shared_by_lines() {
        let dir = folder(CORPUS, QUERIES, QRELS);
        let first = Dataset::load(dir.path(), "test", 0, 2).unwrap();
        let second = Dataset::load(dir.path(), "test", 1, 2).unwrap();
        assert_eq!(first.doc_ids, ["d2", "d10", "d1"]);
        assert_eq!(second.doc_ids, first.doc_ids);
        assert_eq!(first.own_docs, [(2, "T one".to_owned()), (0, "two".to_owned())]);
        assert_eq!(second.own_docs, [(1, "ten".to_owned())]);
    }

    #[test]
    fn unknown_ids_are_counted_and_unjudged_queries_left_out() {
        let data = Dataset::load(folder(CORPUS, QUERIES, QRELS).path(), "test", 0, 1).unwrap();
        assert_eq!(data.queries, [Query { id: "q1".into(), text: "first".into() }]);
        assert_eq!(data.remarks.len(), 2, "{:?}", data.remarks);
        assert!(data.remarks[0].contains("1 of 2 judged queries") && data.remarks[0].contains("\"q9\""));
        assert!(data.remarks[1].contains("1 of 2 judged documents") && data.remarks[1].contains("\"gone\""));
        assert_eq!(data.qrels["q1"]["d10"], 2);
        assert!(!data.qrels.contains_key("q9"));
        let data = Dataset::load(folder(CORPUS, QUERIES, "q1\td1\t0\n").path(), "test", 0, 1).unwrap();
        assert!(data.remarks[0].contains("1 queries have no document judged above 0"), "{:?}", data.remarks);
    }

    #[test]
    fn a_query_is_its_text_and_may_be_a_document() {
        let queries = "{\"_id\": \"d2\", \"title\": \"T\", \"text\": \"two\"}\n{\"_id\": \"q 1\", \"text\": \"one\"}\n";
        let qrels = "d2\td1\t1\nq 1\td1\t1\n";
        let data = Dataset::load(folder(CORPUS, queries, qrels).path(), "test", 0, 1).unwrap();
        assert_eq!(data.queries[0].text, "two");
        assert_eq!(data.namesakes, [Some(0), None]);
        assert_eq!(data.id_with_blank.as_deref(), Some("q 1"));
    }

    #[test]
    fn what_is_missing_is_named_with_what_is_there() {
        let missing = |dir: &Path, split: &str| Dataset::load(dir, split, 0, 1).unwrap_err();
        let message = missing(Path::new("no/such/folder"), "test").to_string();
        assert!(message.contains("no/such/folder: there is no such folder"), "{message}");
        let dir = folder(CORPUS, QUERIES, QRELS);
        let error = missing(dir.path(), "dev");
        assert!(error.to_string().contains("qrels/dev.tsv: no such file"), "{error}");
        assert!(error.to_string().contains("has test: choose one with --split test"), "{error}");
        assert_eq!(error.exit_code(), tercet_configs::ExitCode::Usage);
        let outer = tempfile::tempdir().unwrap();
        fs::rename(dir.path(), outer.path().join("small")).unwrap();
        let message = missing(outer.path(), "test").to_string();
        assert!(message.contains("small has one: give that to --data"), "{message}");
        fs::remove_file(outer.path().join("small/queries.jsonl")).unwrap();
        let message = missing(&outer.path().join("small"), "test").to_string();
        assert!(message.contains("queries.jsonl: no such file; there are: corpus.jsonl, qrels"), "{message}");
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
        assert!(message.contains("corpus.jsonl: two documents have the _id \"d2\""), "{message}");
        let message = error(CORPUS, &QUERIES.repeat(2), QRELS);
        assert!(message.contains("queries.jsonl:3: a second query with the _id \"q1\""), "{message}");
        let message = error(CORPUS, QUERIES, "q7\td1\t1\n");
        assert!(message.contains("judges no query"), "{message}");
        let message = error(CORPUS, QUERIES, "d1\tq1\t1\n");
        assert!(message.contains("first column holds documents' ids"), "{message}");
        let message = error(CORPUS, QUERIES, "q1\tgone\t1\n");
        assert!(message.contains("judges no document"), "{message}");
        let message = error("", QUERIES, QRELS);
        assert!(message.contains("holds no document"), "{message}");
    }
}
