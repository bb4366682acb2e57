//! The types of a recipe's `[data]`: which rows there are, how often they are drawn, and how they become batches.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// `[data]`: the token store and how rows become batches.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct DataSection {
    /// The token store that `tercet prepare` wrote.
    pub store: PathBuf,
    /// The largest number of tokens of a query, special tokens included.
    pub query_max_len: usize,
    /// The largest number of tokens of a passage, special tokens included.
    pub passage_max_len: usize,
    /// The largest number of tokens of a text alone, special tokens included; for presets that pre-train.
    pub text_max_len: usize,
    /// Passages per query: 1 positive + (group_size - 1) negatives.
    pub group_size: usize,
    /// Which passages a query is contrasted with.
    pub negatives: Negatives,
    /// Whether each positive is also contrasted with all queries (for parallel corpora).
    pub two_way: bool,
    /// What happens to rows that have fewer than `group_size` - 1 negatives.
    pub few_negatives: FewNegatives,
    /// The text before every query, followed by a space; it counts towards `query_max_len`. A row's own `prompt`
    /// follows it.
    pub query_prefix: String,
    /// The text before every passage, followed by a space; it counts towards `passage_max_len`.
    pub passage_prefix: String,
    /// The share of long positives whose three segments are shuffled.
    pub shuffle_ratio: f64,
    /// Batch size by length, ascending in `max_len`. Rows longer than the last group's `max_len` are left out.
    pub length_groups: Vec<LengthGroup>,
    /// Rows of a data set are drawn in proportion to weight × rows^(1/temperature): 1 follows the sizes, and more evens
    /// them out.
    pub sampling_temperature: f64,
    /// Data sets with fewer rows than this and the same settings are merged; 0 merges none.
    pub merge_below: u64,
    /// Data sets with fewer rows than this are left out, also merged ones; 0 leaves none out.
    pub drop_below: u64,
    /// Settings of single data sets. A data set of the store that is not listed has the values above.
    pub sets: Vec<DataSet>,
    /// Weights that change during the run, ascending in `from_step`.
    pub changes: Vec<WeightChange>,
}

/// One length group.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LengthGroup {
    /// The group has the rows whose longest text has at most this number of tokens, and more than the previous group's.
    pub max_len: usize,
    /// The number of rows that all ranks together see in one step.
    pub global_batch: usize,
}

/// `[[data.sets]]`: the settings that differ for one data set.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DataSet {
    /// The data set's name in the store.
    pub name: String,
    /// How often its rows are drawn relative to those of other data sets of the same size: 1 by default, 0 for never.
    pub weight: Option<f64>,
    /// Its share of all rows drawn, from 0 to 1, instead of a weight; the other data sets have the rest.
    pub share: Option<f64>,
    /// Replaces `data.group_size`.
    pub group_size: Option<usize>,
    /// Replaces `data.negatives`.
    pub negatives: Option<Negatives>,
    /// Replaces `data.two_way`.
    pub two_way: Option<bool>,
    /// Replaces `data.few_negatives`.
    pub few_negatives: Option<FewNegatives>,
    /// Whether queries and passages are the same kind of text, so that both take the query's prefix. By default the
    /// rows' `type` decides.
    pub symmetric: Option<bool>,
    /// Replaces `data.query_prefix`.
    pub query_prefix: Option<String>,
    /// Replaces `data.passage_prefix`.
    pub passage_prefix: Option<String>,
    /// Replaces `data.length_groups`.
    pub length_groups: Option<Vec<LengthGroup>>,
}

/// `[[data.changes]]`: other weights from a step on.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WeightChange {
    /// The first optimizer step, counted from 0, that uses the new weights.
    pub from_step: u64,
    /// New weights by data set; data sets that are not named keep theirs.
    pub weights: BTreeMap<String, f64>,
}

/// What happens to rows that have fewer negatives than a group needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FewNegatives {
    /// Their negatives repeat, as in the published trainer. Rows without any negative are an error.
    #[default]
    Repeat,
    /// They are left out and counted in the log.
    Reject,
}

/// Which passages a query is contrasted with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Negatives {
    /// Its own negatives and every passage of every other query, on all ranks.
    #[default]
    All,
    /// Its own negatives only.
    Own,
    /// The other queries' positives only; negatives given in the rows are not read.
    InBatch,
}

impl Default for DataSection {
    fn default() -> Self {
        Self {
            store: PathBuf::new(),
            query_max_len: 512,
            passage_max_len: 8192,
            text_max_len: 8192,
            group_size: 8,
            negatives: Negatives::All,
            two_way: false,
            few_negatives: FewNegatives::Repeat,
            query_prefix: String::new(),
            passage_prefix: String::new(),
            shuffle_ratio: 0.002,
            length_groups: Vec::new(),
            sampling_temperature: 1.0,
            merge_below: 0,
            drop_below: 0,
            sets: Vec::new(),
            changes: Vec::new(),
        }
    }
}
