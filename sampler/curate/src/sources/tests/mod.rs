//! Sources on miniatures of the layouts in which corpora are published, and on files that are damaged or hostile.

use std::fmt::Debug;
use std::io::Write;
use std::path::Path;

use tercet_sampler::PackedWriter;

mod documents;
mod records;

use super::*;

/// A folder, and a source that reads files in it.
struct Corpus {
    dir: tempfile::TempDir,
    source: Source,
}

/// What was offered: pairs with their languages, and reasons with texts.
#[derive(Debug, Default, PartialEq)]
struct Given {
    pairs: Vec<(String, String)>,
    languages: Vec<Option<String>>,
    dropped: Vec<(String, String)>,
    places: Vec<String>,
}

impl Corpus {
    /// A source with these keys, whose one file has this name and content, packed as it is named.
    fn new(keys: &str, name: &str, content: impl AsRef<[u8]>) -> Self {
        let corpus = Self { dir: tempfile::tempdir().unwrap(), source: source(&format!("{keys}\nfiles = [{name:?}]")) };
        corpus.write(name, content);
        corpus
    }

    fn write(&self, name: &str, content: impl AsRef<[u8]>) {
        let path = self.dir.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        let mut file = PackedWriter::new(&path, std::fs::File::create(&path).unwrap()).unwrap();
        file.write_all(content.as_ref()).unwrap();
        file.finish().unwrap();
    }

    fn read(&self) -> Result<Given, CurateError> {
        let mut given = Given::default();
        for file in self.source.files(self.dir.path())? {
            self.source.read(&file, &mut |at, offered| {
                match offered {
                    Offered::Pair(pair) => {
                        given.pairs.push((pair.query, pair.passage));
                        given.languages.push(pair.language);
                        let place = at.error("x".into()).to_string();
                        given.places.push(place.rsplit('/').next().unwrap().trim_end_matches(": x").to_owned());
                    }
                    Offered::Dropped(reason, text) => given.dropped.push((reason.to_string(), text)),
                }
                Ok(())
            })?;
        }
        Ok(given)
    }

    fn given(&self) -> Given {
        self.read().unwrap()
    }

    /// Reading ends with this exit code and a message that has all of these parts.
    fn refuses(&self, code: i32, parts: &[&str]) {
        let error = self.read().unwrap_err();
        let said = error.to_string();
        assert_eq!(error.exit_code().code(), code, "{said}");
        parts.iter().for_each(|part| assert!(said.contains(part), "{said:?} lacks {part:?}"));
    }
}

fn source(keys: &str) -> Source {
    let source: Source = toml::from_str(&format!("name = \"s\"\n{keys}")).unwrap();
    source.check().unwrap();
    source
}

fn pairs<T: AsRef<str> + Debug>(expected: &[(T, T)]) -> Vec<(String, String)> {
    expected.iter().map(|(query, passage)| (query.as_ref().to_owned(), passage.as_ref().to_owned())).collect()
}

fn reasons(given: &Given) -> Vec<&str> {
    given.dropped.iter().map(|(reason, _)| reason.as_str()).collect()
}

const PACKINGS: [&str; 4] = ["", ".gz", ".bz2", ".zst"];
