//! Which documents are taken: for each language those with the smallest hashes, so that neither the order of files nor
//! that of documents decides.
//!
//! Files are read twice. The first time hashes are kept, the second time the texts that they choose, on the disk.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::path::{Path, PathBuf};

use serde_json::{Map, Value};
use tercet_sampler::detect_language;

use super::languages;
use super::measure::Measure;
use super::progress::{Progress, say};
use super::recipe::{Documents, Recipe};
use crate::error::CurateError;
use crate::input::{Field, Refusal, TextsOnDisk, for_each_object};

/// Documents that are ready for each question that is wanted: one about which no answer passes is replaced.
const READY: usize = 2;

/// Detected names of languages, other than `und`.
const OWN_NAMES: [&str; 2] = ["lang", "language"];

/// A document: the place of its texts, and what it is called.
#[derive(Debug, Clone, Copy)]
pub struct Document {
    /// What chose it, and its name in files: a hash of the seed, its title and its text.
    pub hash: u128,
    number: u32,
}

impl Document {
    /// Its name.
    pub fn id(&self) -> String {
        format!("d{:032x}", self.hash)
    }
}

/// The documents of a language.
#[derive(Debug)]
pub struct Language {
    /// Its name.
    pub name: String,
    /// How many there are, of whatever length.
    pub read: u64,
    /// Those that are too short.
    pub too_short: u64,
    /// Those that are too long.
    pub too_long: u64,
    /// Those that are taken, by hash.
    pub documents: Vec<Document>,
}

impl Language {
    fn new(name: &str) -> Self {
        Self { name: name.to_owned(), read: 0, too_short: 0, too_long: 0, documents: Vec::new() }
    }
}

/// All documents that are taken.
pub struct Chosen {
    /// By name.
    pub languages: Vec<Language>,
    /// Documents whose language nobody knows.
    pub unknown: u64,
    texts: TextsOnDisk,
}

/// One that is read.
struct Read {
    title: String,
    text: String,
    language: Option<String>,
}

impl Read {
    fn hash(&self, seed: u64) -> u128 {
        let mut hasher = blake3::Hasher::new();
        hasher.update(&seed.to_le_bytes()).update(&(self.title.len() as u64).to_le_bytes());
        hasher.update(self.title.as_bytes()).update(self.text.as_bytes());
        let mut first = [0; 16];
        first.copy_from_slice(&hasher.finalize().as_bytes()[..16]);
        u128::from_be_bytes(first)
    }
}

impl Chosen {
    /// Chooses by `recipe`, whose files are below `base`. Texts are kept on the disk of `out` while this lives.
    ///
    /// # Errors
    /// A file is not there or cannot be read, a document has no text, or a length cannot be told.
    pub fn of(recipe: &Recipe, measure: &Measure, base: &Path, out: &Path) -> Result<Self, CurateError> {
        let (mut found, mut unknown) = (BTreeMap::<String, (Language, BTreeSet<u128>)>::new(), 0);
        for_each_document(recipe, base, "are looked at", |read| {
            let Some(name) = &read.language else {
                unknown += 1;
                return Ok(());
            };
            if !found.contains_key(name) {
                found.insert(name.clone(), (Language::new(name), BTreeSet::new()));
            }
            // It is there now.
            let Some((language, hashes)) = found.get_mut(name) else { return Ok(()) };
            language.read += 1;
            let ([min, max], len) = (measure.document, measure.len(&read.text)?);
            if len < min {
                language.too_short += 1;
            } else if len > max {
                language.too_long += 1;
            } else if hashes.insert(read.hash(recipe.seed)) && hashes.len() > wanted(recipe, name) {
                hashes.pop_last();
            }
            Ok(())
        })?;
        // What is asked for is counted, also where there is nothing of it.
        for name in recipe.questions.languages() {
            found.entry(name.to_owned()).or_insert_with(|| (Language::new(name), BTreeSet::new()));
        }
        let mut languages = Vec::with_capacity(found.len());
        let mut count = 0;
        for (mut language, hashes) in found.into_values() {
            let documents = hashes.into_iter().zip(count..).map(|(hash, number)| Document { hash, number });
            language.documents = documents.collect();
            count += language.documents.len() as u32;
            languages.push(language);
        }
        let texts = keep(recipe, base, out, &languages, count)?;
        Ok(Self { languages, unknown, texts })
    }

    /// The files that a recipe names.
    ///
    /// # Errors
    /// None has a name of theirs, or a folder cannot be read.
    pub fn files(recipe: &Recipe, base: &Path) -> Result<Vec<PathBuf>, CurateError> {
        let of_sources = recipe.documents.iter().map(|source| files(source, base));
        Ok(of_sources.collect::<Result<Vec<_>, _>>()?.concat())
    }

    /// The title and the text of a document.
    ///
    /// # Errors
    /// The operating system's.
    pub fn title_and_text(&self, document: &Document) -> Result<(String, String), CurateError> {
        let get = |number| {
            let got = self.texts.get(number).map_err(CurateError::io(Path::new("texts on the disk")))?;
            Ok::<_, CurateError>(got.unwrap_or_default())
        };
        Ok((get(2 * document.number)?, get(2 * document.number + 1)?))
    }
}

/// The documents that a language needs at most.
fn wanted(recipe: &Recipe, language: &str) -> usize {
    let of = &recipe.questions;
    ready(of.of(language)) + of.corpus.number(language)
}

/// The number of documents about which `questions` questions are asked at most.
pub fn ready(questions: usize) -> usize {
    READY * questions
}

/// The titles and texts of the documents taken: 2n and 2n + 1 for document n.
fn keep(
    recipe: &Recipe,
    base: &Path,
    out: &Path,
    languages: &[Language],
    count: u32,
) -> Result<TextsOnDisk, CurateError> {
    let numbers: BTreeMap<(&str, u128), u32> = languages
        .iter()
        .flat_map(|language| language.documents.iter().map(|d| ((language.name.as_str(), d.hash), d.number)))
        .collect();
    let mut texts = TextsOnDisk::new(2 * count as usize, &out.join("texts")).map_err(CurateError::io(out))?;
    for_each_document(recipe, base, "are read again, for the texts of those that are taken", |read| {
        let key = (read.language.as_deref().unwrap_or_default(), read.hash(recipe.seed));
        let number = numbers.get(&key).filter(|&&number| !texts.has(2 * number));
        if let Some(number) = number {
            let put = texts.put(2 * number, &read.title).and_then(|()| texts.put(2 * number + 1, &read.text));
            put.map_err(CurateError::io(out))?;
        }
        Ok(())
    })?;
    texts.complete().map_err(CurateError::io(out))?;
    match (0..count).all(|number| texts.has(2 * number)) {
        true => Ok(texts),
        false => Err(CurateError::Usage("documents: the files have changed while they were read".into())),
    }
}

/// Calls `visit` with each document, and says now and then to how many what is done.
fn for_each_document(
    recipe: &Recipe,
    base: &Path,
    done: &str,
    mut visit: impl FnMut(&Read) -> Result<(), Refusal>,
) -> Result<(), CurateError> {
    let (mut seen, mut progress, mut count) = (HashSet::new(), Progress::begin(), 0u64);
    for source in &recipe.documents {
        // A field's name cannot be wrong.
        let [text, title]: [Field; 2] = [&source.text, &source.title].map(|name| match name.parse() {
            Ok(field) => field,
            Err(impossible) => match impossible {},
        });
        let used: Vec<&str> = text.columns().chain(title.columns()).chain(OWN_NAMES).collect();
        for file in files(source, base)? {
            if !seen.insert(file.clone()) {
                continue;
            }
            for_each_object(&file, &used, |_, record: Map<String, Value>| {
                count += 1;
                if progress.is_due() {
                    say(&format!("{count} documents {done}"));
                }
                visit(&read(source, &text, &title, &record)?)
            })?;
        }
    }
    Ok(())
}

fn read(source: &Documents, text: &Field, title: &Field, record: &Map<String, Value>) -> Result<Read, String> {
    let text = text.text(record)?.trim().to_owned();
    let has_title = title.columns().any(|column| record.contains_key(column));
    let title = if has_title { title.text(record)?.trim().to_owned() } else { String::new() };
    let own = || OWN_NAMES.iter().find_map(|name| record.get(*name)?.as_str()).map(str::trim).filter(|n| !n.is_empty());
    let stated = source.language.as_deref().or_else(own).map(str::to_owned);
    let language = stated.or_else(|| detect_language(&text).map(languages::short));
    Ok(Read { title, text, language: language.filter(|name| !name.contains(['/', '\0'])) })
}

/// The files of a source, each once, in the order of their paths.
fn files(source: &Documents, base: &Path) -> Result<Vec<PathBuf>, CurateError> {
    let mut all = BTreeSet::new();
    for pattern in &source.files {
        let path = base.join(pattern);
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if !name.contains(['*', '?']) {
            all.insert(path);
            continue;
        }
        let dir = path.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let entries = std::fs::read_dir(dir).and_then(Iterator::collect::<Result<Vec<_>, _>>);
        let name: Vec<char> = name.chars().collect();
        let matching = |entry: &std::fs::DirEntry| {
            matches(&name, &entry.file_name().to_string_lossy().chars().collect::<Vec<_>>())
        };
        let found = entries
            .map_err(CurateError::io(dir))?
            .into_iter()
            .filter(matching)
            .map(|entry| path.with_file_name(entry.file_name()));
        let before = all.len();
        all.extend(found);
        if all.len() == before {
            return Err(CurateError::Usage(format!("documents: no file is named {}", path.display())));
        }
    }
    Ok(all.into_iter().collect())
}

/// Whether a file's name is that of a pattern with `*` and `?`.
fn matches(pattern: &[char], name: &[char]) -> bool {
    match (pattern, name) {
        ([], []) => true,
        (['*', rest @ ..], _) => (0..=name.len()).any(|skipped| matches(rest, &name[skipped..])),
        (['?', rest @ ..], [_, others @ ..]) => matches(rest, others),
        ([c, rest @ ..], [d, others @ ..]) => c == d && matches(rest, others),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_match_whole_names() {
        let of = |pattern: &str, name: &str| {
            matches(&pattern.chars().collect::<Vec<_>>(), &name.chars().collect::<Vec<_>>())
        };
        for (pattern, name, expected) in [
            ("wiki.*.jsonl", "wiki.de.jsonl", true),
            ("wiki.*", "xwiki.de", false),
            ("a?c", "abc", true),
            ("a?", "a", false),
        ] {
            assert_eq!(of(pattern, name), expected, "{pattern} {name}");
        }
    }
}
