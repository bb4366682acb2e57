//! Lines of a table: comma-separated with quotes (RFC 4180), between tabs without quotes, or between blanks.
//!
//! A file's name and its first line tell which. Between tabs quotes are ordinary characters, as the tables of MS MARCO
//! and T2Ranking have them.

use std::io::{self, Read};
use std::path::Path;
use std::sync::Arc;
use std::sync::Mutex;

use tercet_sampler::{LineReader, LinesOf, ReadAt, RowError, unpacked_name};

use super::lines::next_line;
use super::refusal::{Kept, Refusal};
use crate::error::CurateError;

/// What stands between cells.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Between {
    /// A comma; cells may be in quotes.
    Comma,
    /// A tab.
    Tab,
    /// Any number of blanks.
    Blanks,
}

/// Calls `visit` with the cells of each line of `path`, and where it is. Blank lines are passed over.
///
/// # Errors
/// The file cannot be read or is evidently no table, a line is not UTF-8, or what `visit` ends with.
pub fn for_each_cells(
    path: &Path,
    mut visit: impl FnMut(&ReadAt, &[&str]) -> Result<(), Refusal>,
) -> Result<(), CurateError> {
    for_each_row(path, None, |at, cells| visit(at, cells?))
}

/// As [`for_each_cells`], with what stands between cells if it is known, and a reason in the place of a line that has
/// no cells.
///
/// # Errors
/// The file cannot be read or is evidently no table, or what `visit` ends with.
pub fn for_each_row(
    path: &Path,
    known: Option<Between>,
    mut visit: impl FnMut(&ReadAt, Result<&[&str], String>) -> Result<(), Refusal>,
) -> Result<(), CurateError> {
    let mut lines = LineReader::open(path, LinesOf::Text)?;
    let between = match known {
        Some(between) => between,
        None => between(path, lines.peek()?),
    };
    let path: Arc<Path> = Arc::from(path);
    let mut kept = Kept::default();
    let mut visited = |line: u64, cells: Result<&[&str], String>| {
        let at = ReadAt::line(&path, line);
        visit(&at, cells).map_err(|refusal| at.error(kept.reason(refusal)))
    };
    let read = match between {
        Between::Comma => commas(&path, lines, &mut visited),
        Between::Tab | Between::Blanks => plain(lines, between, &mut visited),
    };
    kept.or(read)
}

fn between(path: &Path, first_bytes: &[u8]) -> Between {
    let first = first_bytes.split(|&byte| byte == b'\n').next().unwrap_or_default();
    let ending = unpacked_name(path).extension().and_then(|ending| ending.to_str()).map(str::to_ascii_lowercase);
    match ending.as_deref() {
        Some("csv") => Between::Comma,
        _ if first.contains(&b'\t') => Between::Tab,
        Some("tsv") => Between::Blanks,
        _ if first.contains(&b',') => Between::Comma,
        _ => Between::Blanks,
    }
}

type Visit<'a> = dyn FnMut(u64, Result<&[&str], String>) -> Result<(), RowError> + 'a;

fn plain(mut lines: LineReader, between: Between, visit: &mut Visit) -> Result<(), RowError> {
    let mut line = Vec::new();
    while let Some((number, text)) = next_line(&mut lines, &mut line)? {
        match text {
            Ok(text) if text.trim().is_empty() => {}
            Ok(text) if between == Between::Tab => visit(number, Ok(&text.split('\t').collect::<Vec<_>>()))?,
            Ok(text) => visit(number, Ok(&text.split_whitespace().collect::<Vec<_>>()))?,
            Err(reason) => visit(number, Err(reason))?,
        }
    }
    Ok(())
}

fn commas(path: &Arc<Path>, lines: LineReader, visit: &mut Visit) -> Result<(), RowError> {
    let failed = Arc::new(Mutex::new(None));
    let lines =
        Lines { path: path.clone(), lines, held: Vec::new(), at: 0, quotes: Quotes::default(), failed: failed.clone() };
    let mut table = csv::ReaderBuilder::new().has_headers(false).flexible(true).from_reader(lines);
    let mut row = csv::StringRecord::new();
    loop {
        let line = table.position().line();
        match table.read_record(&mut row) {
            Ok(false) => return Ok(()),
            Ok(true) => {
                let cells: Vec<&str> = row.iter().collect();
                // The reader passes over blank lines and says of a row where they began, so its end tells where it is.
                let breaks: usize = cells.iter().map(|cell| cell.matches('\n').count()).sum();
                visit(table.position().line().saturating_sub(1 + breaks as u64), Ok(&cells))?;
            }
            Err(error) => {
                if let Some(failed) = failed.lock().ok().and_then(|mut failed| failed.take()) {
                    return Err(failed);
                }
                let line = error.position().map_or(line, csv::Position::line);
                match error.kind() {
                    csv::ErrorKind::Utf8 { .. } => {
                        visit(line, Err("not UTF-8: convert the file, as with `iconv`".into()))?;
                    }
                    _ => return Err(ReadAt::line(path, line).error(error.to_string())),
                }
            }
        }
    }
}

/// Lines as one stream, for a reader that finds the ends of rows by itself.
struct Lines {
    path: Arc<Path>,
    lines: LineReader,
    held: Vec<u8>,
    at: usize,
    quotes: Quotes,
    /// The error that ended reading, which a stream has no room for.
    failed: Arc<Mutex<Option<RowError>>>,
}

impl Read for Lines {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.at == self.held.len() {
            let read = self.lines.read_line(&mut self.held);
            self.at = 0;
            let error = match read {
                Ok(Some(line)) => {
                    self.held.push(b'\n');
                    self.quotes.pass(line, &self.held);
                    None
                }
                Ok(None) => {
                    self.held.clear();
                    let Some(line) = self.quotes.open_since() else { return Ok(0) };
                    let reason = "a quote opens here and is not closed: close it, or double it where it is a character";
                    Some(ReadAt::line(&self.path, line).error(reason.into()))
                }
                Err(error) => Some(error),
            };
            if let Some(error) = error {
                if let Ok(mut failed) = self.failed.lock() {
                    *failed = Some(error);
                }
                return Err(io::Error::other("reading failed"));
            }
        }
        let len = buffer.len().min(self.held.len() - self.at);
        buffer[..len].copy_from_slice(&self.held[self.at..self.at + len]);
        self.at += len;
        Ok(len)
    }
}

/// Where quotes stand in what has been read: the csv crate takes the rest of a file for one cell if the last is open.
#[derive(Debug, Default)]
struct Quotes {
    within: Within,
    /// The line of the last opening quote.
    line: u64,
}

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum Within {
    /// Before a cell, where a quote opens.
    #[default]
    Nothing,
    /// A cell without quotes.
    Plain,
    /// Between quotes.
    Quoted,
    /// Behind a quote, which closes unless another follows.
    Closing,
}

impl Quotes {
    fn pass(&mut self, line: u64, bytes: &[u8]) {
        for &byte in bytes {
            self.within = match (self.within, byte) {
                (Within::Quoted, b'"') => Within::Closing,
                (Within::Quoted, _) | (Within::Closing, b'"') => Within::Quoted,
                (Within::Nothing, b'"') => {
                    self.line = line;
                    Within::Quoted
                }
                (_, b',' | b'\n') => Within::Nothing,
                _ => Within::Plain,
            };
        }
    }

    /// The line of a quote that is still open.
    fn open_since(&self) -> Option<u64> {
        (self.within == Within::Quoted).then_some(self.line)
    }
}

/// Whether a first line names the columns of pairs or triples, by usual names alone.
pub fn names_columns(cells: &[&str]) -> bool {
    const USUAL: [&str; 18] = [
        "id", "idx", "query", "question", "anchor", "sentence", "sent", "text", "title", "passage", "document", "pos",
        "positive", "neg", "negative", "answer", "label", "score",
    ];
    let plain = |cell: &&str| {
        let name = cell.trim().to_ascii_lowercase();
        name.trim_end_matches(|c: char| c.is_ascii_digit()).trim_end_matches(['_', '-']).to_owned()
    };
    !cells.is_empty() && cells.iter().map(plain).all(|name| USUAL.contains(&name.as_str()))
}

/// Whether a first line names its columns: all of its cells are words of Latin letters, and the first one names an id,
/// as qid, pid, query-id, doc_id, question_id or _id do.
pub fn is_header(cells: &[&str]) -> bool {
    const NAMED: [&str; 17] = [
        "", "q", "p", "d", "query", "question", "topic", "passage", "doc", "document", "corpus", "ans", "answer",
        "pos", "neg", "text", "case",
    ];
    let is_word = |cell: &&str| cell.chars().all(|c| c.is_ascii_alphabetic() || "_- ".contains(c)) && cell.len() <= 32;
    let first = cells.first().map(|cell| cell.trim().to_ascii_lowercase()).unwrap_or_default();
    let named = first.strip_suffix("id").map(|named| named.trim_end_matches(['-', '_', ' ']));
    named.is_some_and(|named| NAMED.contains(&named)) && cells.iter().all(is_word)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(name: &str, text: &str) -> Vec<(String, Vec<String>)> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(name);
        std::fs::write(&path, text).unwrap();
        let mut all = Vec::new();
        for_each_cells(&path, |at, cells| {
            let place = at.error("x".into()).to_string();
            let place = place.trim_end_matches(": x").rsplit(':').next().unwrap().to_owned();
            all.push((place, cells.iter().map(|cell| (*cell).to_owned()).collect()));
            Ok(())
        })
        .unwrap();
        all
    }

    fn rows(expected: &[(&str, &[&str])]) -> Vec<(String, Vec<String>)> {
        let owned = |cells: &[&str]| cells.iter().map(|cell| (*cell).to_owned()).collect();
        expected.iter().map(|(line, cells)| ((*line).to_owned(), owned(cells))).collect()
    }

    #[test]
    fn quotes_mean_something_between_commas_only() {
        let expected = rows(&[("1", &["1", "a \"b\"\nc, d"]), ("3", &["2", "e"]), ("5", &["3", ""])]);
        assert_eq!(read("a.csv", "1,\"a \"\"b\"\"\r\nc, d\"\n2,e\n\n3,\n"), expected);
        assert_eq!(
            read("a.tsv", "1\t\"a\n2\tb, c\td\"\n"),
            rows(&[("1", &["1", "\"a"]), ("2", &["2", "b, c", "d\""])])
        );
    }

    #[test]
    fn a_quote_that_stays_open_is_refused_by_its_line() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.csv");
        let said = |text: &str| {
            std::fs::write(&path, text).unwrap();
            for_each_cells(&path, |_, _| Ok(())).err().map(|error| error.to_string())
        };
        for text in ["q,p\na,\"b\nc,d\n", "q,p\na,\"b\"\"\n"] {
            assert!(said(text).unwrap().contains("a.csv:2: a quote opens here and is not closed"), "{text}");
        }
        // A quote within a cell is a character.
        assert_eq!(said("q,p\n5\" nail,b\n\"a\"x\",b\n"), None);
    }

    #[test]
    fn the_first_line_tells_where_the_name_does_not() {
        let expected = rows(&[("1", &["qid", "pid"]), ("2", &["1", "2"])]);
        for text in ["\u{feff}qid,pid\n1,2\n", "qid\tpid\n1\t2", "qid pid\n1   2\n"] {
            assert_eq!(read("candidates.txt", text), expected, "{text}");
        }
        assert_eq!(read("qrels.tsv", "1 0 7 1\n"), rows(&[("1", &["1", "0", "7", "1"])]));
    }

    #[test]
    fn a_header_names_an_id_first_and_is_words_only() {
        for header in
            [&["pid", "passage"][..], &["query-id", "corpus-id", "score"], &["_id", "text"], &["ID", "content"]]
        {
            assert!(is_header(header), "{header:?}");
        }
        for line in [&["1", "2"][..], &["squid", "a squid"], &["qid", "0", "d1", "1"], &["q1", "what is this?"], &[]] {
            assert!(!is_header(line), "{line:?}");
        }
    }
}
