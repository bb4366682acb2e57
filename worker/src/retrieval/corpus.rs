//! The passages of a corpus, from whatever files it is in.
//!
//! A corpus is read twice. First one rank surveys it: how large it is, whether ids are unique, and a checksum of every
//! few passages. Then every rank reads what it needs, and notices if that has changed meanwhile.

use std::collections::{HashMap, HashSet};
use std::path::PathBuf;

use tercet_cluster::{Collective, broadcast_bytes};
use tercet_retrieval::{Corpus, GRAIN};
use tercet_sampler::{EvalFolder, NamedBy, ReadAt, WrittenRows, for_each_object};

use super::judged::required_id;
use crate::files::CommandError;
use crate::files::records::TextRecord;

/// The files of a corpus, in order.
pub struct CorpusFiles {
    paths: Vec<PathBuf>,
    of: Holds,
}

/// What passages of a file are.
#[derive(Clone, Copy)]
enum Holds {
    /// Objects with names.
    Named,
    /// Objects with names or without.
    Texts,
    /// Positives and negatives of training rows.
    Rows,
}

/// A passage: its name, and what the model reads.
#[derive(Debug, Clone)]
pub struct Passage {
    /// Its `_id`.
    pub id: String,
    /// Title and text.
    pub text: String,
    /// Where in it the text begins that follows the title; 0 without a title.
    pub title_len: usize,
}

/// A passage that has been come to, and not looked at yet.
pub struct Unread<'a> {
    number: u64,
    form: Form<'a>,
}

enum Form<'a> {
    /// An object with a name.
    Named(&'a str),
    /// An object.
    Object(&'a str),
    /// The text itself.
    Text(&'a str),
}

/// A corpus in figures.
pub struct Survey {
    /// Its size and checksum.
    pub corpus: Corpus,
    /// A checksum of every [`GRAIN`] passages.
    grains: Vec<[u8; 32]>,
}

impl CorpusFiles {
    /// The corpus that was typed: files, folders of columns, or BEIR folders. Passages have names.
    pub fn of(paths: &[PathBuf]) -> Self {
        Self { paths: found(paths), of: Holds::Named }
    }

    /// As [`of`](Self::of), but passages need no names: one without gets its number for one.
    pub fn of_texts(paths: &[PathBuf]) -> Self {
        Self { paths: found(paths), of: Holds::Texts }
    }

    /// The positives and negatives of the training rows in the files `paths`, each text once; names are numbers.
    pub fn of_rows(paths: &[PathBuf]) -> Self {
        Self { paths: paths.to_vec(), of: Holds::Rows }
    }

    /// Calls `visit` with each passage's number, from 0, where it stands, and the passage.
    ///
    /// # Errors
    /// A file cannot be read, or `visit` refuses a passage by giving a reason.
    pub fn for_each(
        &self,
        mut visit: impl FnMut(u64, &ReadAt, &Unread) -> Result<(), String>,
    ) -> Result<(), CommandError> {
        let mut number = 0;
        let mut visit = |at: &ReadAt, form: Form| {
            number += 1;
            visit(number - 1, at, &Unread { number: number - 1, form })
        };
        // A text stands for 128 bits of its hash: that two texts share them is out of the question.
        let mut seen = HashSet::<[u8; 16]>::new();
        for path in &self.paths {
            match self.of {
                Holds::Named => for_each_object(path, &TextRecord::KEYS, |at, line| visit(at, Form::Named(line)))?,
                Holds::Texts => for_each_object(path, &TextRecord::KEYS, |at, line| visit(at, Form::Object(line)))?,
                Holds::Rows => {
                    for read in WrittenRows::open(path)? {
                        let read = read?;
                        for text in read.row.pos.iter().chain(&read.row.neg) {
                            let hash = blake3::hash(text.as_bytes());
                            if seen.insert(std::array::from_fn(|i| hash.as_bytes()[i])) {
                                let visited = visit(&read.at, Form::Text(text));
                                visited.map_err(|reason| read.at.error(reason))?;
                            }
                        }
                    }
                }
            }
        }
        Ok(())
    }

    /// Every rank calls it; rank 0 reads, and all have the result.
    ///
    /// # Errors
    /// On rank 0: a file that cannot be read, a passage that cannot be used, an id that occurs twice or has a blank in
    /// it, no passage at all. A rank that is gone.
    pub fn survey(&self, ranks: &dyn Collective) -> anyhow::Result<Survey> {
        self.survey_with(ranks, |_, passage| match passage.id.contains(char::is_whitespace) {
            true => Err(blank_in(&passage.id)),
            false => Ok(()),
        })
    }

    /// As [`survey`](Self::survey), of ids of any kind; on rank 0 `visit` sees each passage with its number.
    ///
    /// # Errors
    /// As there, or `visit` refuses a passage by giving a reason.
    pub fn survey_with(
        &self,
        ranks: &dyn Collective,
        visit: impl FnMut(u64, &Passage) -> Result<(), String>,
    ) -> anyhow::Result<Survey> {
        let (mut figures, mut grains) = (Vec::new(), Vec::new());
        if ranks.rank() == 0 {
            let survey = self.read_all(visit)?;
            figures = serde_json::to_vec(&survey.corpus)?;
            grains = survey.grains.concat();
        }
        broadcast_bytes(ranks, &mut figures, 0)?;
        broadcast_bytes(ranks, &mut grains, 0)?;
        Ok(Survey { corpus: serde_json::from_slice(&figures)?, grains: grains.as_chunks().0.to_vec() })
    }

    fn read_all(&self, mut visit: impl FnMut(u64, &Passage) -> Result<(), String>) -> Result<Survey, CommandError> {
        let (mut hashes, mut grains, mut grain) = (Vec::new(), Vec::new(), Grain::default());
        let mut text_bytes = 0;
        self.for_each(|number, _, unread| {
            let passage = unread.passage()?;
            visit(number, &passage)?;
            hashes.push(hash(&passage.id));
            text_bytes += passage.text.len() as u64;
            grains.extend(grain.push(&passage));
            Ok(())
        })?;
        grains.extend(grain.end());
        if hashes.is_empty() {
            let path = self.paths.first().cloned().unwrap_or_default();
            return Err(CommandError::Data { path, reason: "holds no passage".into() });
        }
        let passages = hashes.len() as u64;
        self.must_be_unique(hashes)?;
        let mut whole = blake3::Hasher::new();
        grains.iter().for_each(|grain| _ = whole.update(grain));
        let blake3 = whole.finalize().to_hex().to_string();
        Ok(Survey { corpus: Corpus { passages, text_bytes, blake3 }, grains })
    }

    /// Refuses an id that occurs twice; `hashes` are those of all ids. What has another's hash is read once more.
    fn must_be_unique(&self, mut hashes: Vec<u64>) -> Result<(), CommandError> {
        hashes.sort_unstable();
        let twice: HashSet<u64> = hashes.windows(2).filter(|pair| pair[0] == pair[1]).map(|pair| pair[0]).collect();
        drop(hashes);
        if twice.is_empty() {
            return Ok(());
        }
        let mut seen = HashMap::new();
        self.for_each(|_, at, unread| {
            let id = unread.passage()?.id;
            match twice.contains(&hash(&id)).then(|| seen.insert(id.clone(), at.clone())).flatten() {
                Some(before) => {
                    let before = before.error(String::new()).to_string();
                    let before = before.trim_end_matches([':', ' ']);
                    Err(format!("a second passage with the _id {id:?}, which {before} has; ids must be unique"))
                }
                None => Ok(()),
            }
        })
    }
}

/// Files where BEIR folders are meant.
fn found(paths: &[PathBuf]) -> Vec<PathBuf> {
    let corpus = |dir| EvalFolder { dir, named_by: NamedBy::Options }.find("corpus.jsonl");
    paths.iter().map(|path| corpus(path).unwrap_or_else(|| path.clone())).collect()
}

impl Unread<'_> {
    /// The passage.
    ///
    /// # Errors
    /// The reason, to be put behind its place.
    pub fn passage(&self) -> Result<Passage, String> {
        let (line, is_named) = match self.form {
            Form::Named(line) => (line, true),
            Form::Object(line) => (line, false),
            Form::Text(text) => return Ok(Passage { id: self.number_as_name(), text: text.to_owned(), title_len: 0 }),
        };
        let mut record = TextRecord::parse_passage(line)?;
        let id = match record.id.take() {
            None if !is_named => self.number_as_name(),
            id => required_id(id, line)?,
        };
        let (text, title_len) = record.titled_text()?;
        Ok(Passage { id, text, title_len })
    }

    /// As many digits for all, so that the order of names is that of numbers.
    fn number_as_name(&self) -> String {
        format!("passage-{:010}", self.number)
    }
}

impl Passage {
    /// What it is without its title, if it has one.
    pub fn untitled(&self) -> Option<&str> {
        (self.title_len > 0).then(|| self.text.get(self.title_len..).unwrap_or_default())
    }
}

impl Survey {
    /// Whether grain number `number` has the checksum `found`.
    pub fn is_still(&self, number: usize, found: &[u8; 32]) -> bool {
        self.grains.get(number) == Some(found)
    }
}

/// A checksum of consecutive passages.
#[derive(Default)]
pub struct Grain {
    hasher: blake3::Hasher,
    num_passages: usize,
}

impl Grain {
    /// Adds a passage; gives the checksum with the last one of a grain.
    pub fn push(&mut self, passage: &Passage) -> Option<[u8; 32]> {
        for part in [&passage.id, &passage.text] {
            self.hasher.update(&(part.len() as u64).to_le_bytes()).update(part.as_bytes());
        }
        self.hasher.update(&(passage.title_len as u64).to_le_bytes());
        self.num_passages += 1;
        if self.num_passages == GRAIN { self.end() } else { None }
    }

    /// Gives the checksum of the passages since the last one, if there are any.
    pub fn end(&mut self) -> Option<[u8; 32]> {
        let grain = std::mem::take(self);
        (grain.num_passages > 0).then(|| *grain.hasher.finalize().as_bytes())
    }
}

/// Why a name cannot be used where run files are written.
pub fn blank_in(id: &str) -> String {
    format!("the _id {id:?} has a blank in it, which TREC's run files cannot carry: rename it")
}

/// The first 8 bytes of BLAKE3.
fn hash(id: &str) -> u64 {
    let hash = blake3::hash(id.as_bytes());
    u64::from_le_bytes(std::array::from_fn(|i| hash.as_bytes()[i]))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use tercet_cluster::Solo;

    use super::*;

    fn survey(lines: &[&str]) -> anyhow::Result<Survey> {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("corpus.jsonl"), lines.iter().map(|line| format!("{line}\n")).collect::<String>())
            .unwrap();
        CorpusFiles::of(&[dir.path().to_owned()]).survey(&Solo::new())
    }

    #[test]
    fn what_it_is_does_not_depend_on_how_it_is_cut_into_files() {
        let dir = tempfile::tempdir().unwrap();
        let line = |i: usize| format!("{{\"_id\": \"d{i}\", \"title\": \"T\", \"text\": \"t {i}\"}}\n");
        let write = |name: &str, range: std::ops::Range<usize>| {
            let path = dir.path().join(name);
            fs::write(&path, range.map(line).collect::<String>()).unwrap();
            path
        };
        let whole = CorpusFiles::of(&[write("whole.jsonl", 0..600)]).survey(&Solo::new()).unwrap();
        let parts = [write("a.jsonl", 0..7), write("b.jsonl", 7..600)];
        let parts = CorpusFiles::of(&parts).survey(&Solo::new()).unwrap();
        assert_eq!((&whole.corpus, &whole.grains), (&parts.corpus, &parts.grains));
        assert_eq!((whole.corpus.passages, whole.grains.len()), (600, 600usize.div_ceil(GRAIN)));
        assert!(whole.is_still(2, &whole.grains[2]) && !whole.is_still(3, &whole.grains[2]));
        let other = CorpusFiles::of(&[write("other.jsonl", 1..601)]).survey(&Solo::new()).unwrap();
        assert_ne!(other.corpus.blake3, whole.corpus.blake3);
    }

    #[test]
    fn what_cannot_be_used_is_named_with_its_place() {
        let error = |lines: &[&str]| survey(lines).err().unwrap().to_string();
        let (one, two) = (r#"{"_id": "a", "text": "x"}"#, r#"{"_id": "b", "text": "x"}"#);
        let said = error(&[one, two, one]);
        assert!(
            said.contains("corpus.jsonl:3: a second passage with the _id \"a\", which ")
                && said.contains("jsonl:1 has"),
            "{said}"
        );
        assert!(error(&[one, r#"{"text": "x"}"#]).contains("corpus.jsonl:2: no \"_id\""));
        assert!(
            error(&[one, r#"{"_id": "a b", "text": "x"}"#]).contains("corpus.jsonl:2: the _id \"a b\" has a blank")
        );
        assert!(error(&[]).contains("corpus.jsonl: holds no passage"));
    }
}
