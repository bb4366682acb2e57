//! Benchmarks' texts: what no row may have.
//!
//! A benchmark is an evaluation folder as `tercet eval` reads it, or a file of texts. A folder's queries count
//! that a split other than `train` judges (BEIR's folders have the training queries in the same file), all if there are
//! no judgments, and so do its documents. A document counts with its title and without: a row's passage may be either.

use std::collections::{BTreeMap, HashSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde_json::{Map, Value};
use tercet_sampler::{LineReader, LinesOf, ReadAt, is_of_objects, plain_or_packed, utf8};

use super::recipe::Documents;
use crate::error::CurateError;
use crate::input::{for_each_cells, for_each_object, is_header, matching, titled};

/// Texts of a file's objects, by their usual names; of training rows the query and its positives.
const TEXTS: [&str; 6] = ["text", "query", "question", "passage", "content", "contents"];
const LISTS: [&str; 2] = ["pos", "answers"];

/// One.
#[derive(Debug)]
pub struct Benchmark {
    /// Its name, which no other has.
    pub name: String,
    /// The folder, or the file.
    pub path: PathBuf,
}

type Visit<'a> = dyn FnMut(&str) -> Result<(), CurateError> + 'a;

/// What `against` names below `base`, in the order of their paths.
///
/// # Errors
/// A pattern is none, or matches nothing; what it matches is no benchmark.
pub fn benchmarks(against: &[String], base: &Path) -> Result<Vec<Benchmark>, CurateError> {
    let wrong = |reason| CurateError::Usage(format!("duplicates.against: {reason}"));
    let paths = matching(base, against, |_| true, wrong)?;
    let names = names(&paths);
    let named = paths.into_iter().zip(names).map(|(path, name)| Benchmark { name, path });
    named.map(|benchmark| benchmark.check().map(|()| benchmark)).collect()
}

/// The last part of each path, or as many more as tell them apart.
fn names(paths: &[PathBuf]) -> Vec<String> {
    let last = |path: &PathBuf, count: usize| {
        let parts: Vec<_> = path.iter().map(|part| part.to_string_lossy()).collect();
        // As reasons are spelt.
        let kept = |c: char| if c.is_alphanumeric() || "_.-".contains(c) { c } else { '_' };
        parts[parts.len().saturating_sub(count)..].join("_").chars().map(kept).collect::<String>()
    };
    let longest = paths.iter().map(|path| path.iter().count()).max().unwrap_or(1);
    let of = |count| paths.iter().map(|path| last(path, count)).collect::<Vec<_>>();
    let are_distinct = |names: &Vec<String>| names.iter().collect::<HashSet<_>>().len() == names.len();
    (1..longest).map(of).find(are_distinct).unwrap_or_else(|| of(longest))
}

impl Benchmark {
    fn file(&self, name: &str) -> Option<PathBuf> {
        Some(plain_or_packed(&self.path.join(name))).filter(|path| path.is_file())
    }

    /// The error of somebody who names another.
    fn is_none(&self, reason: &str) -> CurateError {
        CurateError::Usage(format!("duplicates.against: {}: {reason}", self.path.display()))
    }

    fn check(&self) -> Result<(), CurateError> {
        if self.path.is_dir() {
            return match self.file("queries.jsonl").or(self.file("corpus.jsonl")) {
                Some(_) => Ok(()),
                None => Err(self.is_none("the folder has neither queries.jsonl nor corpus.jsonl, plain or packed")),
            };
        }
        match is_of_objects(&self.path) || self.is_of_lines() {
            true => Ok(()),
            false => Err(self.is_none("no evaluation folder, and no file of texts: .txt, .jsonl, .parquet or .arrow")),
        }
    }

    fn is_of_lines(&self) -> bool {
        tercet_sampler::unpacked_name(&self.path).extension().is_some_and(|ending| ending == "txt")
    }

    /// Calls `visit` with each of its texts.
    ///
    /// # Errors
    /// A file cannot be read or holds something else, it holds no text, or what `visit` ends with.
    pub fn for_each_text(&self, documents: Documents, visit: &mut Visit<'_>) -> Result<(), CurateError> {
        let mut count = 0u64;
        self.visit(documents, &mut |text| {
            count += 1;
            visit(text)
        })?;
        match count {
            0 => Err(self.is_none("it has no text that counts")),
            _ => Ok(()),
        }
    }

    /// The same, of which there may be none.
    ///
    /// # Errors
    /// A file cannot be read or holds something else, or what `visit` ends with.
    pub fn visit(&self, documents: Documents, visit: &mut Visit<'_>) -> Result<(), CurateError> {
        let mut some = |text: &str| if text.trim().is_empty() { Ok(()) } else { visit(text) };
        match (self.path.is_dir(), self.is_of_lines()) {
            (true, _) => self.folder(documents, &mut some),
            (false, true) => lines(&self.path, &mut some),
            (false, false) => objects(&self.path, &mut some),
        }
    }

    fn folder(&self, documents: Documents, visit: &mut Visit<'_>) -> Result<(), CurateError> {
        let judged = self.judged()?;
        if let Some(queries) = self.file("queries.jsonl") {
            let counts = |id: &str| judged.as_ref().is_none_or(|judged| judged.queries.contains(id));
            texts(&queries, &counts, visit)?;
        }
        let Some(corpus) = self.file("corpus.jsonl").filter(|_| documents != Documents::None) else { return Ok(()) };
        let judged = match (documents, judged) {
            (Documents::Judged, None) => {
                return Err(self.is_none("no judgments in qrels, which documents = \"judged\" needs"));
            }
            (Documents::Judged, judged) => judged.map(|judged| judged.documents),
            _ => None,
        };
        let counts = |id: &str| judged.as_ref().is_none_or(|judged| judged.contains(id));
        texts(&corpus, &counts, visit)
    }

    /// What the folder's judgments name, those for training aside; none if there are no others.
    fn judged(&self) -> Result<Option<Judged>, CurateError> {
        let folder = self.path.join("qrels");
        let entries = match std::fs::read_dir(&folder) {
            Ok(entries) => entries,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(CurateError::io(&folder)(error)),
        };
        // By their names, so that the same file is the first to be wrong.
        let mut files = BTreeMap::new();
        for entry in entries {
            let path = entry.map_err(CurateError::io(&folder))?.path();
            let name = tercet_sampler::unpacked_name(&path);
            if name.extension().is_some_and(|ending| ending == "tsv") && name.file_stem().is_some_and(|s| s != "train")
            {
                files.insert(name, path);
            }
        }
        let mut judged = Judged::default();
        for path in files.values() {
            judged.read(path)?;
        }
        Ok((!files.is_empty()).then_some(judged))
    }
}

/// What judgments name, by id.
#[derive(Debug, Default)]
struct Judged {
    queries: HashSet<String>,
    /// Those that are relevant to a query.
    documents: HashSet<String>,
}

impl Judged {
    fn read(&mut self, path: &Path) -> Result<(), CurateError> {
        let mut is_first = true;
        for_each_cells(path, |_, cells| {
            if std::mem::take(&mut is_first) && is_header(cells) {
                return Ok(());
            }
            let (query, document, score) = match cells {
                [query, document, score] | [query, _, document, score] => (query, document, score),
                _ => {
                    return Err(format!("expected 3 columns (query, document, score), found {}", cells.len()).into());
                }
            };
            self.queries.insert(query.trim().to_owned());
            if score.trim().parse::<f64>().is_ok_and(|score| score > 0.0) {
                self.documents.insert(document.trim().to_owned());
            }
            Ok(())
        })
    }
}

/// Queries or documents of a folder.
fn texts(path: &Path, counts: &dyn Fn(&str) -> bool, visit: &mut Visit<'_>) -> Result<(), CurateError> {
    for_each_object(path, &["_id", "title", "text"], |_, record: Map<String, Value>| {
        let string = |name: &str| record.get(name).and_then(Value::as_str);
        let id = match record.get("_id") {
            Some(Value::String(id)) => id.clone(),
            Some(id @ Value::Number(_)) => id.to_string(),
            _ => return Err("no \"_id\": the id of a text is expected there".into()),
        };
        let text = string("text").ok_or("no \"text\": a text is expected there")?;
        if counts(&id) {
            visit(text)?;
            let title = string("title").filter(|title| !title.trim().is_empty());
            if title.is_some() {
                visit(&titled(title, text))?;
            }
        }
        Ok(())
    })
}

fn objects(path: &Path, visit: &mut Visit<'_>) -> Result<(), CurateError> {
    let used = [&TEXTS[..], &LISTS[..], &["title"]].concat();
    for_each_object(path, &used, |_, record: Map<String, Value>| {
        let own = TEXTS.iter().filter_map(|name| record.get(*name));
        let listed = LISTS.iter().filter_map(|name| record.get(*name)).filter_map(Value::as_array).flatten();
        let texts: Vec<&str> = own.chain(listed).filter_map(Value::as_str).collect();
        if texts.is_empty() {
            let usual = [&TEXTS[..], &LISTS[..]].concat().join(", ");
            return Err(format!("no text under a usual name: {usual}").into());
        }
        let title = record.get("title").and_then(Value::as_str).filter(|title| !title.trim().is_empty());
        for text in texts {
            visit(text)?;
            if title.is_some() {
                visit(&titled(title, text))?;
            }
        }
        Ok(())
    })
}

/// A text a line.
fn lines(path: &Path, visit: &mut Visit<'_>) -> Result<(), CurateError> {
    let mut reader = LineReader::open(path, LinesOf::Text)?;
    let shared: Arc<Path> = Arc::from(path);
    let mut line = Vec::new();
    loop {
        line.clear();
        let Some(number) = reader.read_line(&mut line)? else { return Ok(()) };
        let text = utf8(&line).map_err(|reason| ReadAt::line(&shared, number).error(reason))?;
        visit(text)?;
    }
}
