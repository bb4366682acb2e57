//! A folder of a test's own, and the files that commands read: a tokenizer, rows, a token store, recipes.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use tempfile::TempDir;
use tercet_fixtures::{ModelConfig, RecipeBuilder, numbered_words, word_tokenizer};

use crate::program::Tercet;
use crate::random::Random;

/// A file below tests/golden.
pub fn golden(relative: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("golden").join(relative)
}

/// A recipe of tests/recipes.
pub fn recipe(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("recipes").join(name)
}

/// A temporary folder.
pub struct Place(TempDir);

impl Default for Place {
    fn default() -> Self {
        Self::new()
    }
}

impl Place {
    /// An empty folder.
    pub fn new() -> Self {
        Self(tempfile::Builder::new().prefix("tercet-test-").tempdir().unwrap())
    }

    /// The path of `name` in it.
    pub fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// Writes a file.
    pub fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, text).unwrap();
        path
    }

    /// Copies a folder with its content.
    pub fn copy(&self, from: &Path, name: &str) -> PathBuf {
        let to = self.path(name);
        copy_folder(from, &to);
        to
    }

    /// A tokenizer.json whose vocabulary is `<s> <pad> </s> <unk> w4 w5 …`, `size` entries in all.
    pub fn word_tokenizer(&self, name: &str, size: usize) -> PathBuf {
        self.write(name, &word_tokenizer(numbered_words(size)).to_string())
    }

    /// The same with `<mask>` in place of the last word.
    pub fn mask_tokenizer(&self, name: &str, size: usize) -> PathBuf {
        let words = numbered_words(size - 1).chain(["<mask>".into()]);
        self.write(name, &word_tokenizer(words).to_string())
    }

    /// A model's config.json.
    pub fn model_config(&self, name: &str, config: &ModelConfig) -> PathBuf {
        self.write(name, &config.json().to_string())
    }

    /// A recipe.
    pub fn recipe(&self, name: &str, recipe: &RecipeBuilder) -> PathBuf {
        self.write(name, &recipe.to_string())
    }

    /// A token store of [`topic_rows`].
    pub fn store(&self, name: &str, lens: impl IntoIterator<Item = usize>, vocabulary: usize) -> PathBuf {
        self.store_of(name, &topic_rows(lens, vocabulary), vocabulary)
    }

    /// A token store of `rows`, whose words are those of a [tokenizer](Place::word_tokenizer) of `vocabulary` words.
    pub fn store_of(&self, name: &str, rows: &[Value], vocabulary: usize) -> PathBuf {
        let tokenizer = self.word_tokenizer(&format!("{name}-tokenizer.json"), vocabulary);
        let rows: String = rows.iter().map(|row| format!("{row}\n")).collect();
        let rows = self.write(&format!("{name}.jsonl"), &rows);
        let out = self.path(name);
        let input = format!("{name}={}", rows.display());
        Tercet::new("prepare").arg("--tokenizer").arg(&tokenizer).arg("--out").arg(&out).arg(input).succeed();
        out
    }

    /// A token store of the data set `texts`, which has `texts` alone.
    pub fn text_store(&self, name: &str, tokenizer: &Path, texts: impl IntoIterator<Item = String>) -> PathBuf {
        let texts: String = texts.into_iter().map(|text| text + "\n").collect();
        let texts = self.write(&format!("{name}.txt"), &texts);
        let out = self.path(name);
        let prepare = Tercet::new("prepare").arg("--tokenizer").arg(tokenizer).arg("--out").arg(&out);
        prepare.arg("--texts").arg(format!("texts={}", texts.display())).succeed();
        out
    }
}

/// Rows about one topic each: a query, a positive that shares its words, two negatives, teacher scores. `lens` are the
/// numbers of words of the rows' positives; ids stay below `vocabulary`.
pub fn topic_rows(lens: impl IntoIterator<Item = usize>, vocabulary: usize) -> Vec<Value> {
    let mut random = Random::new(7);
    let mut text = |topic: usize, len: usize| {
        // About half of a text's words are the four of its topic.
        let words = (0..len).map(|_| match random.within(0..2) {
            0 => 4 + (topic * 4 + random.within(0..4)) % (vocabulary - 4),
            _ => random.within(4..vocabulary),
        });
        words.map(|id| format!("w{id}")).collect::<Vec<_>>().join(" ")
    };
    let row = |(topic, len): (usize, usize)| {
        json!({
            "query": text(topic, 3 + topic % 4),
            "pos": [text(topic, len)],
            "neg": [text(topic + 1, len.div_ceil(2)), text(topic + 2, 1 + topic % 5)],
            "pos_scores": [0.9 + 0.01 * topic as f64],
            "neg_scores": [0.5, 0.1],
        })
    };
    lens.into_iter().enumerate().map(row).collect()
}

/// Copies a folder with its content.
pub fn copy_folder(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap_or_else(|e| panic!("{}: {e}", from.display())) {
        let path = entry.unwrap().path();
        let target = to.join(path.file_name().unwrap());
        if path.is_dir() {
            copy_folder(&path, &target);
        } else {
            // fs::copy would copy permissions, but the copy must be writable.
            fs::write(&target, fs::read(&path).unwrap()).unwrap();
        }
    }
}

/// Every file below `dir`, with its content.
pub fn files_below(dir: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut found = BTreeMap::new();
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap().to_owned();
        match path.is_dir() {
            true => {
                found.extend(files_below(&path).into_iter().map(|(below, bytes)| (format!("{name}/{below}"), bytes)));
            }
            false => _ = found.insert(name, fs::read(&path).unwrap()),
        }
    }
    found
}
