//! Judgments: `qrels/SPLIT.tsv` of a BEIR folder, `query-id <tab> corpus-id <tab> score`; or TREC's qrels, four columns
//! of which the second is 0.
//!
//! BEIR's loader passes over the first line, whatever it is. Here it is passed over if it is a header: its score is a
//! word, and its ids are nobody's.

use std::borrow::Cow;
use std::collections::hash_map::Entry;
use std::collections::{BTreeMap, HashMap};
use std::path::Path;

use tercet_retrieval::Column;
use tercet_sampler::ReadAt;

use crate::files::CommandError;
use crate::files::records::for_each_line;

/// Judgments of one query: document id → relevance.
pub type Judgments = HashMap<String, i64>;

/// The judgments of a split.
#[derive(Debug, Default)]
pub(super) struct Qrels {
    /// Query id → judgments.
    pub judgments: BTreeMap<String, Judgments>,
    /// The first line, if it was passed over.
    pub header: Option<Header>,
}

/// A first line that was passed over because it names no query. It was none if it names a document.
#[derive(Debug)]
pub(super) struct Header {
    /// What stands in the document's place.
    pub doc: String,
    score: String,
    at: ReadAt,
}

impl Header {
    /// What is wrong with the line if it is a judgment.
    pub fn error(&self) -> CommandError {
        self.at.error(no_whole_number(&self.score)).into()
    }
}

/// Reads the judgments; `is_query` says whether a text names a query.
///
/// # Errors
/// [`CommandError`] with file, line and reason for a line that is no judgment, and for a second, different judgment of
/// the same query and document.
pub(super) fn read_qrels(path: &Path, is_query: impl Fn(&str) -> bool) -> Result<Qrels, CommandError> {
    let mut qrels = BTreeMap::<String, Judgments>::new();
    let (mut is_first, mut header) = (true, None);
    for_each_line(path, |at, line| {
        if line.trim().is_empty() {
            return Ok(());
        }
        let columns = columns(line);
        if std::mem::take(&mut is_first)
            && let Some([doc, score]) = header_of(&columns, &is_query)?
        {
            header = Some(Header { doc: doc.to_owned(), score: score.to_owned(), at: at.clone() });
            return Ok(());
        }
        let [query, doc, score] = judgment(&columns)?;
        let score = whole_number(score)?;
        match qrels.entry(query.to_owned()).or_default().entry(doc.to_owned()) {
            Entry::Vacant(free) => _ = free.insert(score),
            Entry::Occupied(earlier) if *earlier.get() == score => {}
            Entry::Occupied(earlier) => {
                return Err(format!(
                    "judges query {query:?} and document {doc:?} again, as {score}, which an earlier line judges as {}: \
                     keep one of the two",
                    earlier.get()
                ));
            }
        }
        Ok(())
    })?;
    match qrels.is_empty() {
        true => Err(CommandError::Data { path: path.to_owned(), reason: "holds no judgment".into() }),
        false => Ok(Qrels { judgments: qrels, header }),
    }
}

/// The columns between tabs, without the quotes that some writers put round them; between blanks where there is no tab.
fn columns(line: &str) -> Vec<Cow<'_, str>> {
    if !line.contains('\t') {
        return line.split_whitespace().map(Cow::from).collect();
    }
    line.split('\t').map(|column| unquoted(column.trim())).collect()
}

fn unquoted(column: &str) -> Cow<'_, str> {
    match column.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')) {
        Some(inside) => Cow::from(inside.replace("\"\"", "\"")),
        None => Cow::from(column),
    }
}

/// What stands in the places of document and score, if the line may be a header.
fn header_of<'a>(
    columns: &'a [Cow<'_, str>],
    is_query: &impl Fn(&str) -> bool,
) -> Result<Option<[&'a str; 2]>, String> {
    let [query, .., doc, score] = columns else { return Ok(None) };
    if !(3..=4).contains(&columns.len()) || !is_word(score) || is_query(query) {
        return Ok(None);
    }
    // TREC's second column is always the same.
    let expected: &[Column] = match columns.len() {
        4 => &[Column::Query, Column::Iteration, Column::Doc, Column::Score],
        _ => &[Column::Query, Column::Doc, Column::Score],
    };
    if Column::are_otherwise(&columns.iter().map(AsRef::as_ref).collect::<Vec<_>>(), expected) {
        let names: Vec<String> = columns.iter().map(|column| format!("{column:?}")).collect();
        return Err(format!(
            "the columns are {}: query, document and score are expected in this order (query-id, corpus-id, score), or \
             TREC's 4 (query, 0, document, score): put the columns in that order, or correct the header",
            names.join(", ")
        ));
    }
    Ok(Some([doc, score]))
}

/// Whether it is neither a number nor what stands in a number's place.
fn is_word(score: &str) -> bool {
    let in_its_place = ["nan", "inf", "infinity", "null", "none", "true", "false", "na"];
    score.starts_with(|c: char| c.is_alphabetic() || c == '_') && !in_its_place.contains(&score.to_lowercase().as_str())
}

/// Query, document and score.
fn judgment<'a>(columns: &'a [Cow<'_, str>]) -> Result<[&'a str; 3], String> {
    let (query, doc, score) = match columns {
        [query, doc, score] => (query, doc, score),
        [query, iteration, doc, score] if ["0", "Q0"].contains(&iteration.as_ref()) => (query, doc, score),
        [_, iteration, _, score] if whole_number(score).is_ok() => {
            return Err(format!(
                "the second of TREC's 4 columns (query, 0, document, score) is {iteration:?}: 0 is expected"
            ));
        }
        _ => {
            return Err(format!(
                "expected 3 columns between tabs (query-id, corpus-id, score), or TREC's 4 (query, 0, document, score), \
                 found {}",
                columns.len()
            ));
        }
    };
    if query.is_empty() || doc.is_empty() {
        return Err(format!("the {} is empty", if query.is_empty() { "query-id" } else { "corpus-id" }));
    }
    Ok([query, doc, score])
}

/// The score; 1.0 is 1.
fn whole_number(score: &str) -> Result<i64, String> {
    let whole = match score.split_once('.') {
        Some((whole, zeros)) if zeros.bytes().all(|digit| digit == b'0') => whole,
        _ => score,
    };
    whole.parse().map_err(|_| no_whole_number(score))
}

fn no_whole_number(score: &str) -> String {
    format!("the score {score:?} is not a whole number: a judgment is 0, 1, 2, …")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Vec<(String, String, i64)>, String> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("test.tsv");
        std::fs::write(&path, text).unwrap();
        let is_named = |id: &str, kind: char| id.strip_prefix(kind).is_some_and(|n| n.parse::<u32>().is_ok());
        let qrels = read_qrels(&path, |id| is_named(id, 'q')).and_then(|qrels| match &qrels.header {
            Some(header) if is_named(&header.doc, 'd') => Err(header.error()),
            _ => Ok(qrels.judgments),
        });
        let qrels = qrels.map_err(|error| {
            let message = error.to_string();
            message.split_once("test.tsv").map(|(_, rest)| rest.to_owned()).unwrap_or(message)
        })?;
        let judged =
            qrels.into_iter().flat_map(|(query, docs)| docs.into_iter().map(move |(d, s)| (query.clone(), d, s)));
        let mut judged: Vec<_> = judged.collect();
        judged.sort();
        Ok(judged)
    }

    fn judged(triples: &[(&str, &str, i64)]) -> Result<Vec<(String, String, i64)>, String> {
        Ok(triples.iter().map(|&(q, d, s)| (q.to_owned(), d.to_owned(), s)).collect())
    }

    #[test]
    fn the_first_line_is_a_header_only_if_it_is_one() {
        let both = judged(&[("q1", "d1", 1), ("q2", "d2", 0)]);
        let lines = "q1\td1\t1\nq2\td2\t0\n";
        assert_eq!(read(lines), both);
        for header in ["query-id\tcorpus-id\tscore", "\n\nqid\tdocid\trelevance", "h\th\th", "qid iter docid rel"] {
            assert_eq!(read(&format!("{header}\n{lines}")), both, "{header}");
        }
        for (first, reason) in [
            ("q1\td1\tgood", ":1: the score \"good\""),
            ("q1\td1\t", ":1: the score \"\""),
            ("q1\td1\t0.5", ":1: the score \"0.5\""),
            ("x\td1\tgood", ":1: the score \"good\""),
            ("x\ty\tnan", ":1: the score \"nan\""),
            (
                "corpus-id\tquery-id\tscore",
                ":1: the columns are \"corpus-id\", \"query-id\", \"score\": query, document",
            ),
            ("query-id\tcorpus-id\tscore\nquery-id\tcorpus-id\tscore", ":2: the score \"score\""),
        ] {
            let error = read(&format!("{first}\n{lines}")).unwrap_err();
            assert!(error.starts_with(reason), "{first}: {error}");
        }
    }

    #[test]
    fn a_header_that_names_another_order_is_refused_whatever_its_words() {
        let lines = "q1\td1\t1\n";
        for header in [
            "pid\tqid\trel",
            "did qid rel",
            "query-id\tscore\tcorpus-id",
            "score\tquery-id\tcorpus-id",
            "Passage_ID\tQuestion\tLabel",
            "docno\ttopic\tjudgment",
            "a\tqueryid\tb",
            "qid docid iter rel",
            "docid 0 qid rel",
        ] {
            let error = read(&format!("{header}\n{lines}")).unwrap_err();
            assert!(
                error.starts_with(":1: the columns are \"") && error.contains("in this order"),
                "{header}: {error}"
            );
        }
        for header in [
            "qid\tpid\trel",
            "q d s",
            "a b c",
            "question_id\tdoc_relevant\tgrade",
            "topic iter docno judgment",
            "id\tkey\trank",
        ] {
            assert_eq!(read(&format!("{header}\n{lines}")), judged(&[("q1", "d1", 1)]), "{header}");
        }
    }

    #[test]
    fn scores_are_whole_numbers_however_they_are_written() {
        for (score, expected) in [("1", 1), ("+1", 1), ("1.0", 1), ("-1", -1), ("0", 0), (" 2 ", 2), ("3.000", 3)] {
            assert_eq!(read(&format!("q1\td1\t{score}\n")), judged(&[("q1", "d1", expected)]), "{score}");
        }
        for score in ["1.5", "1e0", "", "one", "1,0", "99999999999999999999"] {
            let error = read(&format!("query-id\tcorpus-id\tscore\nq1\td1\t{score}\n")).unwrap_err();
            assert!(error.starts_with(":2: the score"), "{score}: {error}");
        }
    }

    #[test]
    fn columns_are_beirs_or_trecs() {
        let one = judged(&[("q1", "d1", 2)]);
        for line in ["q1 0 d1 2", "q1\t0\td1\t2", "q1\tQ0\td1\t2", "q1  d1  2", "\"q1\"\t\"d1\"\t\"2\""] {
            assert_eq!(read(line), one, "{line}");
        }
        assert_eq!(read("q 1\td 1\t2"), judged(&[("q 1", "d 1", 2)]));
        let error = read("q 1 d1 1").unwrap_err();
        assert!(
            error.starts_with(":1: the second of TREC's 4 columns (query, 0, document, score) is \"1\""),
            "{error}"
        );
        for line in ["q1 d1", "q1\td1\t1\tx", "q1,d1,1"] {
            let error = read(line).unwrap_err();
            assert!(error.starts_with(":1: expected 3 columns"), "{line}: {error}");
        }
        assert!(read("q1\t\t1").unwrap_err().contains("corpus-id is empty"));
    }

    #[test]
    fn a_pair_is_judged_once() {
        assert_eq!(read("q1\td1\t1\nq1\td1\t1.0\n"), judged(&[("q1", "d1", 1)]));
        let error = read("q1\td1\t1\nq1\td1\t2\n").unwrap_err();
        assert!(error.starts_with(":2: judges query \"q1\" and document \"d1\" again, as 2"), "{error}");
        assert!(read("query-id\tcorpus-id\tscore\n").unwrap_err().contains("holds no judgment"));
    }
}
