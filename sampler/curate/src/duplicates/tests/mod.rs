//! Duplicates from units' keys to the rows that go.

mod against;
mod rows;
mod signature;

use std::path::{Path, PathBuf};

use tempfile::TempDir;

use super::{Compared, DuplicatesRecipe, Found, Queries, UnitKeys, benchmarks, dropped_rows, find};
use crate::error::CurateError;

/// A small generator of numbers.
struct Draw(u64);

impl Draw {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        super::mixing::mix(self.0)
    }

    fn below(&mut self, bound: usize) -> usize {
        (self.next() % bound as u64) as usize
    }

    /// A text of words that mean nothing.
    fn text(&mut self, words: usize) -> String {
        (0..words).map(|_| format!("w{}", self.below(5000))).collect::<Vec<_>>().join(" ")
    }
}

/// Paragraphs of this project's pages, of at least 200 characters.
fn paragraphs() -> Vec<String> {
    let docs = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs");
    let mut found = Vec::new();
    for room in ["know", "use", "change"] {
        for page in std::fs::read_dir(docs.join(room)).unwrap() {
            let text = std::fs::read_to_string(page.unwrap().path()).unwrap();
            found.extend(
                text.split("\n\n").filter(|text| text.len() >= 200 && !text.contains("```")).map(str::to_owned),
            );
        }
    }
    found.sort();
    found.dedup();
    assert!(found.len() > 100);
    found
}

/// A row: its query and its passage.
type Row = (String, String);

fn row(query: &str, passage: &str) -> Row {
    (query.to_owned(), passage.to_owned())
}

/// A folder with units' keys.
struct Place {
    dir: TempDir,
    recipe: DuplicatesRecipe,
}

impl Place {
    fn new(recipe: &str) -> Self {
        let recipe: DuplicatesRecipe = tercet_configs::from_toml(recipe).unwrap();
        recipe.check().unwrap();
        Self { dir: tempfile::Builder::new().prefix("tercet-test-").tempdir().unwrap(), recipe }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn write(&self, name: &str, text: impl AsRef<[u8]>) {
        let path = self.path(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }

    /// The keys of a unit.
    fn unit(&self, name: &str, of: Compared, rows: &[Row]) -> PathBuf {
        // What is no benchmark is refused where they are compared.
        let queries = benchmarks(&self.recipe.against, self.dir.path()).and_then(|all| Queries::of(&all));
        let queries = queries.unwrap_or_default();
        let mut keys = UnitKeys::create(&self.path(name), (&self.recipe, &queries), of).unwrap();
        rows.iter().for_each(|(query, passage)| keys.add(query, passage).unwrap());
        keys.finish().unwrap();
        self.path(name)
    }

    fn try_find(&self, units: &[PathBuf], threads: usize) -> Result<Found, CurateError> {
        find(units, &self.recipe, self.dir.path(), &self.path("scratch"), threads)
    }

    /// For each unit the rows that go, by reason.
    fn find(&self, units: &[PathBuf], threads: usize) -> Vec<Vec<(u32, String)>> {
        let Found { reasons, units } = self.try_find(units, threads).unwrap();
        let named = |(row, reason): (u32, u16)| (row, reasons[usize::from(reason)].to_string());
        units.iter().map(|unit| dropped_rows(unit).unwrap().map(|dropped| named(dropped.unwrap())).collect()).collect()
    }
}
