//! Joins queries and documents by lists of their ids, and writes them as rows in the order of the queries.
//!
//! In memory are the ids of the queries that are judged and of the documents that are named for them. The documents'
//! texts are on disk ([`TextsOnDisk`]), so a collection may be larger than memory.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use tercet_retrieval::Column;

use crate::args::Judged;
use crate::error::CurateError;
use crate::input::{Text, TextFields, TextsOnDisk, for_each_cells, for_each_text, is_header};
use crate::output::{Row, Rows};

/// The documents of a query, by number.
#[derive(Debug, Default)]
struct Documents {
    pos: Vec<u32>,
    neg: Vec<u32>,
    /// Judged to be neither.
    between: Vec<u32>,
    /// How many of `neg` are from lists of negatives.
    listed: usize,
    /// The query's text was met.
    is_met: bool,
}

/// Which documents belong to which queries.
#[derive(Debug, Default)]
pub struct Join {
    queries: HashMap<String, Documents>,
    docs: HashMap<String, u32>,
    /// The files that name positives.
    lists: Vec<PathBuf>,
}

/// Files of texts with ids, and where in them these stand.
pub struct Texts<'a> {
    /// The files.
    pub paths: &'a [PathBuf],
    /// Where id and text stand; none: in the usual places.
    pub fields: Option<&'a TextFields>,
}

impl Join {
    fn doc(&mut self, id: &str) -> Result<u32, String> {
        if let Some(&number) = self.docs.get(id) {
            return Ok(number);
        }
        let number = u32::try_from(self.docs.len()).map_err(|_| "more than 4 billion documents are named")?;
        self.docs.insert(id.to_owned(), number);
        Ok(number)
    }

    fn query(&mut self, id: &str) -> &mut Documents {
        if !self.queries.contains_key(id) {
            self.queries.insert(id.to_owned(), Documents::default());
        }
        self.queries.entry(id.to_owned()).or_default()
    }

    /// Reads judgments. A document is a positive from `min_score` on, and a negative if it is judged 0 or less; what is
    /// between is neither.
    ///
    /// # Errors
    /// The file cannot be read, or a line is no judgment.
    pub fn judgments(&mut self, path: &Path, min_score: i64) -> Result<(), CurateError> {
        self.lists.push(path.to_owned());
        if path.extension().is_some_and(|ending| ending == "json") {
            return self.labels(path);
        }
        let mut is_first = true;
        for_each_cells(path, |_, cells| {
            let columns: &[Column] = match cells.len() {
                4 => &[Column::Query, Column::Iteration, Column::Doc, Column::Score],
                _ => &[Column::Query, Column::Doc, Column::Score],
            };
            if std::mem::take(&mut is_first) && is_header_of(cells, columns)? {
                return Ok(());
            }
            let (query, doc, score) = match cells {
                [query, doc] => (query, doc, "1"),
                [query, doc, score] | [query, _, doc, score] => (query, doc, *score),
                _ => {
                    let expected = "expected 2 columns (query, document), 3 (query, document, score) or TREC's 4 \
                                    (query, 0, document, score)";
                    return Err(format!("{expected}, found {}", cells.len()).into());
                }
            };
            let (query, doc) = (query.trim(), doc.trim());
            let score: f64 = match score.trim().parse::<f64>() {
                Ok(score) if score.is_finite() => score,
                _ => return Err(format!("the score {score:?} is no number").into()),
            };
            if query.is_empty() || doc.is_empty() {
                return Err("the id of the query or of the document is empty".into());
            }
            let number = self.doc(doc)?;
            let Documents { pos, neg, between, .. } = self.query(query);
            let (own, others) = if score >= min_score as f64 {
                (pos, [neg, between])
            } else if score <= 0.0 {
                (neg, [pos, between])
            } else {
                (between, [pos, neg])
            };
            if others.iter().any(|judged| judged.contains(&number)) {
                let reason = "is judged otherwise by an earlier line: keep one of the two";
                return Err(format!("query {query:?} and document {doc:?}: {reason}").into());
            }
            own.push(number);
            Ok(())
        })
    }

    /// Reads COLIEE's labels: one object with a list of documents for each query.
    fn labels(&mut self, path: &Path) -> Result<(), CurateError> {
        #[derive(Deserialize)]
        struct Labels(HashMap<String, Vec<String>>);
        let text = std::fs::read(path).map_err(CurateError::io(path))?;
        let labels: Labels = serde_json::from_slice(&text).map_err(|error| {
            let expected = "one object with a list of documents' ids for each query's id is expected";
            CurateError::data(path, format!("{error}: {expected}"))
        })?;
        for (query, docs) in labels.0 {
            for doc in docs {
                let number = self.doc(&doc).map_err(|reason| CurateError::data(path, reason))?;
                self.query(&query).pos.push(number);
            }
        }
        Ok(())
    }

    /// Reads lines of a query, a positive and a negative. A query takes at most `max` of the negatives.
    ///
    /// # Errors
    /// The file cannot be read, or a line has other columns.
    pub fn triples(&mut self, path: &Path, max: usize) -> Result<(), CurateError> {
        self.lists.push(path.to_owned());
        let mut is_first = true;
        for_each_cells(path, |_, cells| {
            if std::mem::take(&mut is_first) && is_header_of(cells, &[Column::Query, Column::Doc, Column::Doc])? {
                let says =
                    |place: usize, word: &str| cells.get(place).is_some_and(|name| name.to_lowercase().contains(word));
                if says(1, "neg") || says(2, "pos") {
                    return Err(other_order(cells).into());
                }
                return Ok(());
            }
            let [query, pos, neg] = cells else {
                return Err(format!("expected 3 columns (query, positive, negative), found {}", cells.len()).into());
            };
            let pos = self.doc(pos.trim())?;
            let documents = self.query(query.trim());
            if !documents.pos.contains(&pos) {
                documents.pos.push(pos);
            }
            Ok(self.negative(query.trim(), neg.trim(), max)?)
        })
    }

    /// Reads lines of a query and a negative, whatever follows them, or a TREC run, best first. Queries without
    /// judgments are passed over.
    ///
    /// # Errors
    /// The file cannot be read, or a line has other columns.
    pub fn negatives(&mut self, path: &Path, max: usize) -> Result<(), CurateError> {
        let (mut is_first, mut lowest) = (true, HashMap::new());
        for_each_cells(path, |_, cells| {
            if std::mem::take(&mut is_first) && is_header_of(cells, &[Column::Query])? {
                return Ok(());
            }
            let (query, doc) = match cells {
                [query, _, doc, rank, score, _]
                    if rank.trim().parse::<i64>().is_ok() && score.trim().parse::<f64>().is_ok() =>
                {
                    descends(&mut lowest, query.trim(), score.trim())?;
                    (query, doc)
                }
                [query, "Q0", doc, ..] | [query, doc, ..] => (query, doc),
                _ => return Err("expected 2 columns or more (query, document), or a TREC run, found one".into()),
            };
            Ok(self.negative(query.trim(), doc.trim(), max)?)
        })
    }

    fn negative(&mut self, query: &str, doc: &str, max: usize) -> Result<(), String> {
        if self.queries.get(query).is_none_or(|documents| documents.pos.is_empty() || documents.listed >= max) {
            return Ok(());
        }
        let number = self.doc(doc)?;
        let documents = self.query(query);
        if ![&documents.pos, &documents.neg, &documents.between].iter().any(|judged| judged.contains(&number)) {
            documents.neg.push(number);
            documents.listed += 1;
        }
        Ok(())
    }

    /// Writes the rows of the queries that have a positive.
    ///
    /// # Errors
    /// A file cannot be read or written, an id is there twice, or the ids of the files are not the same.
    pub fn write(mut self, collection: &Texts, queries: &Texts, out: &Path) -> Result<String, CurateError> {
        let texts = self.collected(collection, out)?;
        let mut rows = Rows::create(out)?;
        let mut lacking = 0;
        for path in queries.paths {
            for_each_text(path, queries.fields, |_, Text { id, text }| {
                let Some(documents) = self.queries.get_mut(&id) else { return Ok(()) };
                if std::mem::replace(&mut documents.is_met, true) {
                    return Err(format!("a second query with the id {id:?}").into());
                }
                if documents.pos.is_empty() {
                    rows.leave_out("queries without a document that is judged high enough", 1);
                    return Ok(());
                }
                let read = |numbers: &[u32]| -> Result<Vec<String>, CurateError> {
                    let texts = numbers.iter().map(|&number| texts.get(number).map_err(CurateError::io(out)));
                    Ok(texts.collect::<Result<Vec<_>, _>>()?.into_iter().flatten().collect())
                };
                let (pos, neg) = (read(&documents.pos)?, read(&documents.neg)?);
                lacking += (documents.pos.len() + documents.neg.len() - pos.len() - neg.len()) as u64;
                match pos.is_empty() {
                    true => rows.leave_out("queries none of whose positives the collection has", 1),
                    false => rows.write(Row { query: text, pos, neg })?,
                }
                Ok(())
            })?;
        }
        rows.leave_out("times that a judged document is not in the collection", lacking);
        let unmet = self.queries.values().filter(|documents| !documents.is_met).count();
        // Lists of other queries name other documents.
        if rows.is_empty() && unmet == 0 {
            self.name_what_is_not_there(&texts)?;
        }
        rows.leave_out("judged queries that the queries' files do not have", unmet as u64);
        rows.finish()
    }

    /// Says where a document is named that the collection does not have.
    ///
    /// # Errors
    /// There is one: the list and the line that name it.
    fn name_what_is_not_there(&self, texts: &TextsOnDisk) -> Result<(), CurateError> {
        let is_lacking = |doc: &str| self.docs.get(doc).is_some_and(|&number| !texts.has(number));
        let reason = |doc: &str| format!("no row can be made: the collection has no document {doc:?}");
        for path in &self.lists {
            if path.extension().is_some_and(|ending| ending == "json") {
                let lacking = self.docs.keys().filter(|doc| is_lacking(doc)).min();
                lacking.map_or(Ok(()), |doc| Err(CurateError::data(path, reason(doc))))?;
                continue;
            }
            for_each_cells(path, |_, cells| {
                let ([_, _, doc, _] | [_, doc, ..]) = cells else { return Ok(()) };
                if is_lacking(doc.trim()) { Err(reason(doc.trim()).into()) } else { Ok(()) }
            })?;
        }
        Ok(())
    }

    /// The texts of the documents that are named, on the disk of `out`.
    fn collected(&self, collection: &Texts, out: &Path) -> Result<TextsOnDisk, CurateError> {
        let mut texts = TextsOnDisk::new(self.docs.len(), out).map_err(CurateError::io(out))?;
        for path in collection.paths {
            for_each_text(path, collection.fields, |_, Text { id, text }| {
                let Some(&number) = self.docs.get(&id) else { return Ok(()) };
                if texts.has(number) {
                    return Err(format!("a second document with the id {id:?}").into());
                }
                Ok(texts.put(number, &text).map_err(CurateError::io(out))?)
            })?;
        }
        texts.complete().map_err(CurateError::io(out))?;
        Ok(texts)
    }
}

/// Whether `cells` are a first line that names its columns.
///
/// # Errors
/// By their names they are in another order than `columns`.
fn is_header_of(cells: &[&str], columns: &[Column]) -> Result<bool, String> {
    if !is_header(cells) {
        return Ok(false);
    }
    if Column::are_otherwise(cells, columns) { Err(other_order(cells)) } else { Ok(true) }
}

fn other_order(cells: &[&str]) -> String {
    let names: Vec<String> = cells.iter().map(|cell| format!("{cell:?}")).collect();
    format!(
        "the columns are {}, which are expected in another order (query, document and score; query, positive and negative): \
         put them in that order, or correct the first line",
        names.join(", ")
    )
}

/// Checks that a run's scores of `query` do not rise; `lowest` has the last of each query.
fn descends(lowest: &mut HashMap<String, f64>, query: &str, score: &str) -> Result<(), String> {
    let number = score.parse().ok().filter(|score: &f64| score.is_finite());
    let number = number.ok_or_else(|| format!("the score {score:?} is no finite number"))?;
    match lowest.get_mut(query) {
        Some(last) if number > *last => Err(format!(
            "query {query:?} has the score {score} behind {last}: a run's best documents are expected first: sort it by \
             query and score"
        )),
        Some(last) => {
            *last = number;
            Ok(())
        }
        None => {
            lowest.insert(query.to_owned(), number);
            Ok(())
        }
    }
}

/// Reads the negatives that are asked for.
///
/// # Errors
/// As [`Join::negatives`].
pub fn add_negatives(join: &mut Join, judged: &Judged) -> Result<(), CurateError> {
    judged.negatives.as_deref().map_or(Ok(()), |path| join.negatives(path, judged.max_negatives))
}
