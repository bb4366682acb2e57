//! Which files an evaluation folder has: `corpus.jsonl`, `queries.jsonl` and `qrels/SPLIT.tsv`, as BEIR has them
//! (Thakur et al., 2021). What is in them is the worker's to read.

use std::io;
use std::path::{Path, PathBuf};

use tercet_configs::{EvalSection, Metric, Recipe};

use crate::lines::plain_or_packed;

/// Endings of the files of columns that stand in for JSON Lines.
const COLUMNS: [&str; 2] = ["parquet", "arrow"];

/// Names in a folder that a message lists.
const LISTED_NAMES: usize = 12;

/// Where a folder was named, and where another one would be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NamedBy {
    /// On the command line of `tercet eval`.
    Options,
    /// In a recipe's `[eval]`.
    Recipe,
}

impl NamedBy {
    fn data(self) -> &'static str {
        match self {
            Self::Options => "--data",
            Self::Recipe => "eval.data",
        }
    }

    fn split(self, split: &str) -> String {
        match self {
            Self::Options => format!("--split {split}"),
            Self::Recipe => format!("eval.split = {split:?}"),
        }
    }
}

/// An evaluation folder.
#[derive(Debug, Clone, Copy)]
pub struct EvalFolder<'a> {
    /// Where it is.
    pub dir: &'a Path,
    /// Where that was said.
    pub named_by: NamedBy,
}

impl EvalFolder<'_> {
    /// Whether it has the files of `split` that `metrics` need.
    ///
    /// # Errors
    /// What is missing, and what is there.
    pub fn check(&self, split: &str, metrics: &[Metric]) -> Result<(), String> {
        if self.needs_qrels(split, metrics) {
            self.qrels(split)?;
        }
        self.file("corpus.jsonl")?;
        self.file("queries.jsonl").map(drop)
    }

    /// Whether judgments are needed: figures that go by answers alone take them where they are.
    pub fn needs_qrels(&self, split: &str, metrics: &[Metric]) -> bool {
        let by_answers = !metrics.is_empty() && metrics.iter().all(|metric| metric.needs_answers());
        !by_answers || plain_or_packed(&self.dir.join("qrels").join(format!("{split}.tsv"))).exists()
    }

    /// The file `name`, plain or packed; or, of JSON Lines, the same name as columns; if there is one.
    pub fn find(&self, name: &str) -> Option<PathBuf> {
        let path = plain_or_packed(&self.dir.join(name));
        let stem = name.strip_suffix(".jsonl");
        let columns = stem.into_iter().flat_map(|stem| COLUMNS.map(|ending| self.dir.join(format!("{stem}.{ending}"))));
        [path].into_iter().chain(columns).find(|path| path.exists())
    }

    /// The file `name`.
    ///
    /// # Errors
    /// There is none; and what is there.
    pub fn file(&self, name: &str) -> Result<PathBuf, String> {
        if let Some(found) = self.find(name) {
            return Ok(found);
        }
        let (dir, data) = (self.dir, self.named_by.data());
        if !dir.is_dir() {
            return Err(format!("{data} {}: there is no such folder", dir.display()));
        }
        let below = names_in(dir).into_iter().find(|below| dir.join(below).join(name).exists());
        let remedy = match below {
            Some(below) => format!("{} has one: give that to {data}", dir.join(below).display()),
            None => format!("there are: {}", listed(&names_in(dir))),
        };
        Err(format!("{}: no such file; {remedy}", dir.join(name).display()))
    }

    /// The judgments of a split.
    ///
    /// # Errors
    /// There are none; and which splits there are.
    pub fn qrels(&self, split: &str) -> Result<PathBuf, String> {
        let folder = self.dir.join("qrels");
        let named = folder.join(format!("{split}.tsv"));
        let path = plain_or_packed(&named);
        if path.exists() || !folder.is_dir() {
            // A folder without judgments may lack more: its other files are reported first.
            self.file("corpus.jsonl")?;
            return self.file(&format!("qrels/{split}.tsv"));
        }
        let names = names_in(&folder);
        let splits: Vec<&str> = names.iter().filter_map(|name| Some(name.split_once(".tsv")?.0)).collect();
        let remedy = match splits.first() {
            Some(first) => {
                let choice = self.named_by.split(first);
                format!("{} has {}: choose one with {choice}", folder.display(), listed(&splits))
            }
            None => format!("{} holds {}", folder.display(), listed(&names)),
        };
        Err(format!("{}: no such file; {remedy}", named.display()))
    }

    /// The folder's name.
    ///
    /// # Errors
    /// There is no such folder.
    pub fn name(&self) -> io::Result<String> {
        // `.` and `data/..` have a name once resolved.
        let full = self.dir.canonicalize()?;
        Ok(full.file_name().map_or_else(|| "dataset".into(), |name| name.to_string_lossy().into_owned()))
    }
}

/// Whether the folders of a recipe's `[eval]` have what its figures need, these can be told apart by the folders'
/// names, and the one that checkpoints are kept by is among them.
///
/// # Errors
/// What is wrong, and what to do.
pub fn check_evaluation(recipe: &Recipe) -> Result<(), String> {
    let EvalSection { data, split, metrics, .. } = &recipe.eval;
    let mut names = vec![EvalSection::MEAN.to_owned()];
    for dir in data {
        let folder = EvalFolder { dir, named_by: NamedBy::Recipe };
        let name = folder.name().map_err(|error| format!("eval.data {}: {error}", dir.display()))?;
        if names.contains(&name) {
            let reason = if name == EvalSection::MEAN { "which means all of them" } else { "as another one is" };
            return Err(format!(
                "eval.data: {} is called {name}, {reason}, and so would its figures be",
                dir.display()
            ));
        }
        names.push(name);
        folder.check(split, metrics).map_err(|reason| match reason.contains("eval.data") {
            true => reason,
            false => format!("eval.data: {reason}"),
        })?;
    }
    let figure = recipe.checkpoint.keep_best.as_deref().and_then(EvalSection::parts);
    match figure.filter(|[dataset, ..]| !names.iter().any(|name| name == dataset)) {
        Some([dataset, ..]) => Err(format!(
            "checkpoint.keep_best: no data set of eval.data is called {dataset:?}; there are {}",
            names.join(", ")
        )),
        None => Ok(()),
    }
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

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn what_is_missing_is_named_with_what_is_there() {
        let missing = |dir: &Path, split: &str, named_by| {
            EvalFolder { dir, named_by }.check(split, &Metric::DEFAULT).unwrap_err()
        };
        let absent = Path::new("no/such/folder");
        assert_eq!(missing(absent, "test", NamedBy::Options), "--data no/such/folder: there is no such folder");
        assert_eq!(missing(absent, "test", NamedBy::Recipe), "eval.data no/such/folder: there is no such folder");
        let outer = tempfile::tempdir().unwrap();
        let dir = outer.path().join("small");
        fs::create_dir_all(dir.join("qrels")).unwrap();
        for name in ["corpus.jsonl", "queries.jsonl", "qrels/test.tsv"] {
            fs::write(dir.join(name), "").unwrap();
        }
        let said = |named_by| missing(&dir, "dev", named_by);
        assert!(said(NamedBy::Options).contains("qrels/dev.tsv: no such file"));
        assert!(said(NamedBy::Options).ends_with("has test: choose one with --split test"));
        assert!(said(NamedBy::Recipe).ends_with("has test: choose one with eval.split = \"test\""));
        assert!(missing(outer.path(), "test", NamedBy::Options).ends_with("small has one: give that to --data"));
        fs::remove_file(dir.join("queries.jsonl")).unwrap();
        let message = missing(&dir, "test", NamedBy::Options);
        assert!(message.ends_with("queries.jsonl: no such file; there are: corpus.jsonl, qrels"), "{message}");
    }
}
