//! Small stores whose tokens tell where they come from, and recipes over them.

use std::path::Path;
use std::sync::Arc;

use tercet_configs::Recipe;
use tercet_sampler::{Plan, PlanError, SpecialTokens, Store, StoreSettings, StoreWriter, TokenRow};

pub const SPECIAL: SpecialTokens = SpecialTokens { cls: 0, eos: 2, pad: 1, unk: 3, mask: None };

/// A data set to be written.
#[derive(Clone)]
pub struct Written {
    pub name: &'static str,
    pub kind: Option<&'static str>,
    pub num_rows: usize,
    pub num_neg: usize,
    pub scores: bool,
    /// A row without negatives among rows that have some.
    pub bare_row: Option<usize>,
}

pub fn written(name: &'static str, num_rows: usize, num_neg: usize) -> Written {
    Written { name, kind: None, num_rows, num_neg, scores: false, bare_row: None }
}

/// The first content token of text `text` of row `row` (query 0, positives 1 and 2, negatives from 3).
pub fn marker(row: usize, text: usize) -> u32 {
    (100 + row * 20 + text) as u32
}

/// The teacher score of that text.
pub fn score(row: usize, text: usize) -> f32 {
    marker(row, text) as f32 / 4.0
}

/// The number of content tokens of a text: from 2 to 61, differing from text to text.
pub fn content_len(row: usize, text: usize) -> usize {
    2 + (row * 7 + text * 13) % 60
}

fn tokens(row: usize, text: usize) -> Vec<u32> {
    let rest = 1..content_len(row, text) as u32;
    std::iter::once(marker(row, text)).chain(rest.map(|i| 4 + i)).collect()
}

pub fn store(dir: &Path, datasets: &[Written]) -> Arc<Store> {
    let settings = StoreSettings {
        text_max_len: 8192,
        tokenizer_hash: "none".to_owned(),
        special: SPECIAL,
        query_max_len: 64,
        passage_max_len: 64,
        rows_per_shard: 100,
    };
    let mut writer = StoreWriter::create(&dir.join("store"), settings).unwrap();
    for set in datasets {
        let mut dataset = writer.dataset(set.name).unwrap();
        for row in 0..set.num_rows {
            let num_neg = if set.bare_row == Some(row) { 0 } else { set.num_neg };
            let neg = 3..3 + num_neg;
            dataset
                .push(TokenRow {
                    query: tokens(row, 0),
                    pos: vec![tokens(row, 1), tokens(row, 2)],
                    neg: neg.clone().map(|text| tokens(row, text)).collect(),
                    pos_scores: set.scores.then(|| vec![score(row, 1), score(row, 2)]),
                    neg_scores: set.scores.then(|| neg.map(|text| score(row, text)).collect()),
                })
                .unwrap();
        }
        dataset.finish(set.kind.map(str::to_owned), Vec::new()).unwrap();
    }
    writer.finish().unwrap();
    Arc::new(Store::open(&dir.join("store")).unwrap())
}

/// A recipe with this `[data]` section.
pub fn recipe(data: &str, overrides: &[&str]) -> Recipe {
    let overrides: Vec<String> = overrides.iter().map(|s| (*s).to_owned()).collect();
    Recipe::parse(&format!("name = \"t\"\n[data]\n{data}\n"), Path::new("t.toml"), &overrides).unwrap()
}

pub fn plan(store: &Arc<Store>, data: &str) -> Result<Plan, PlanError> {
    Plan::new(Arc::clone(store), &recipe(data, &[]))
}
