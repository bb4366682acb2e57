//! The progress of a data set, which is kept with every finished shard so that the same command can continue after it.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::chunks::Position;
use super::options::{OnError, PrepareOptions};
use super::skipped::SkippedList;
use super::tokenized::{Counts, Tokenized};
use crate::error::{RowError, StoreError};
use crate::place::Place;
use crate::rows::{NearKey, changes_training, unknown_type};
use crate::store::{Holds, SourceMeta};
use crate::tokenize::TextTokenizer;

/// The state of a data set up to some row.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct InputState {
    /// The files as they were at the start.
    files: Vec<FileState>,
    /// The files, with what was taken from them.
    pub(super) sources: Vec<SourceMeta>,
    /// The rows' `type`.
    pub(super) kind: Option<String>,
    /// The last row or line that was taken or skipped.
    pub(super) position: Position,
    /// The length of the list of skipped rows in bytes.
    pub(super) skipped_bytes: u64,
    /// The first skipped row, with the reason.
    pub(super) first_skipped: Option<String>,
    /// Ignored keys that are nearly ours, by name.
    near_keys: BTreeMap<String, NearKeyRows>,
    /// There are rows without a type.
    #[serde(default)]
    has_untyped: bool,
    /// By file: rows whose type is not known.
    #[serde(default)]
    unknown_kinds: BTreeMap<usize, u64>,
    unknown: UnknownTexts,
    /// Parts of split texts that were left out.
    #[serde(default)]
    parts_left_out: u64,
}

/// Counts of texts that are nothing but unknown tokens.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
struct UnknownTexts {
    num_texts: u64,
    num_unknown: u64,
    /// The place of the first.
    first: Option<String>,
}

/// Rows with a key that is nearly one of ours.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct NearKeyRows {
    meant: String,
    num_rows: u64,
    /// The place of the first.
    first: String,
}

/// The largest number of such keys that are reported; more are hardly keys.
const MAX_NEAR_KEYS: usize = 20;

/// A file's size and time; an unchanged file has the same.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct FileState {
    bytes: u64,
    modified_nanos: Option<u128>,
}

impl InputState {
    /// The state before the first row.
    pub(super) fn at_start(paths: &[PathBuf], holds: Holds) -> Result<Self, RowError> {
        let files = paths.iter().map(|path| FileState::of(path)).collect::<Result<_, _>>()?;
        let texts = (holds == Holds::Texts).then_some(0);
        let sources = paths.iter().map(|path| SourceMeta { path: path.clone(), rows: 0, skipped: 0, texts }).collect();
        Ok(Self {
            files,
            sources,
            kind: None,
            position: Position::default(),
            skipped_bytes: 0,
            first_skipped: None,
            near_keys: BTreeMap::new(),
            has_untyped: false,
            unknown_kinds: BTreeMap::new(),
            unknown: UnknownTexts::default(),
            parts_left_out: 0,
        })
    }

    /// The state in which an earlier attempt stopped, if the files are still those that it read.
    pub(super) fn go_on_from(&self, left: Option<&Value>) -> Option<Self> {
        let left: Self = serde_json::from_value(left?.clone()).ok()?;
        let paths = |state: &Self| state.sources.iter().map(|source| source.path.clone()).collect::<Vec<_>>();
        (left.files == self.files && paths(&left) == paths(self)).then_some(left)
    }

    /// Makes sure that the list of skipped rows is on disk, so that work can continue from this state.
    pub(super) fn sync(&mut self, skipped: Option<&mut SkippedList>) -> Result<(), StoreError> {
        if let Some(list) = skipped {
            self.skipped_bytes = list.sync()?;
        }
        Ok(())
    }

    /// The published trainer treats all rows of a data set alike, by their `type`, so a second type is a mistake.
    pub(super) fn of_one_kind(&mut self, record: Tokenized) -> Result<Tokenized, String> {
        match (&self.kind, &record.kind) {
            (Some(first), Some(other)) if first != other => {
                return Err(format!(
                    "\"type\" is \"{other}\", but \"{first}\" in the rows before: split the file, a data set has one type"
                ));
            }
            (Some(first), None) if changes_training(first) => {
                return Err(format!(
                    "has no \"type\", and the rows before have \"{first}\": split the file, a data set has one type"
                ));
            }
            (None, Some(other)) if self.has_untyped && changes_training(other) => {
                return Err(format!(
                    "\"type\" is \"{other}\", and the rows before have none: split the file, a data set has one type"
                ));
            }
            (None, Some(first)) => self.kind = Some(first.clone()),
            (None, None) => self.has_untyped = true,
            _ => {}
        }
        Ok(record)
    }

    /// Counts a key of the current row that is nearly one of ours.
    pub(super) fn count_near_key(&mut self, near: &NearKey, place: Place) {
        let Position { source, number, .. } = self.position;
        let num_keys = self.near_keys.len();
        match self.near_keys.get_mut(&near.key) {
            Some(rows) => rows.num_rows += 1,
            None if num_keys < MAX_NEAR_KEYS => {
                let first = place.named(&self.sources[source].path, number);
                self.near_keys
                    .insert(near.key.clone(), NearKeyRows { meant: near.meant.to_owned(), num_rows: 1, first });
            }
            None => {}
        }
    }

    /// Counts the current row if its type is not known.
    pub(super) fn count_kind(&mut self, kind: Option<&str>) {
        if kind.is_some_and(|kind| unknown_type(kind).is_some()) {
            *self.unknown_kinds.entry(self.position.source).or_default() += 1;
        }
    }

    /// Counts the texts of the current row, and those of them that are nothing but unknown tokens.
    pub(super) fn count(&mut self, counts: Counts, place: Place) {
        let Position { source, number, .. } = self.position;
        let Counts { num_texts, num_unknown, num_left_out } = counts;
        if let Some(texts) = &mut self.sources[source].texts {
            *texts += num_texts;
        }
        self.parts_left_out += num_left_out;
        self.unknown.num_texts += num_texts;
        self.unknown.num_unknown += num_unknown;
        if num_unknown > 0 && self.unknown.first.is_none() {
            self.unknown.first = Some(place.named(&self.sources[source].path, number));
        }
    }

    /// What the files hold that is not used, with numbers.
    pub(super) fn warnings(&self, dataset: &str) -> Vec<String> {
        let near = self.near_keys.iter().map(|(key, NearKeyRows { meant, num_rows, first })| {
            let rows = if *num_rows == 1 { "1 row has".to_owned() } else { format!("{num_rows} rows have") };
            format!(
                "data set {dataset}: {rows} a key {key:?}, which is ignored: perhaps \"{meant}\" is meant ({first})"
            )
        });
        // All rows of a data set have one type.
        let kind = self.kind.as_deref().and_then(|kind| Some((kind, unknown_type(kind)?)));
        let of_unknown_kind = kind.iter().flat_map(|(kind, what)| {
            self.unknown_kinds.iter().map(move |(source, num_rows)| {
                let rows = if *num_rows == 1 { "1 row has".to_owned() } else { format!("{num_rows} rows have") };
                let path = self.sources[*source].path.display();
                format!("data set {dataset}: {rows} the type {kind:?}, {what} ({path})")
            })
        });
        let is_without = |source: &&SourceMeta| source.texts.unwrap_or(source.rows) == 0;
        let without = self.sources.iter().filter(is_without).map(|source| {
            let SourceMeta { path, skipped, texts, .. } = source;
            let what = if texts.is_some() { "text" } else { "row" };
            format!("data set {dataset}: no {what} was taken from {} ({skipped} were skipped)", path.display())
        });
        let left_out = (self.parts_left_out > 0).then(|| {
            let parts = self.parts_left_out;
            format!("data set {dataset}: {parts} parts of split texts are left out, because they are nothing but unknown or special tokens")
        });
        let UnknownTexts { num_texts, num_unknown, first } = &self.unknown;
        let unknown = first.as_ref().map(|first| {
            let share = 100.0 * *num_unknown as f64 / *num_texts as f64;
            format!(
                "data set {dataset}: {num_unknown} of {num_texts} texts ({share:.1} %) are nothing but unknown tokens: \
                 perhaps the tokenizer is for another language (first in {first})"
            )
        });
        near.chain(of_unknown_kind).chain(without).chain(unknown).chain(left_out).collect()
    }

    /// The first empty file.
    pub(super) fn first_empty(&self) -> Option<String> {
        let mut files = self.files.iter().zip(&self.sources);
        files.find(|(file, _)| file.bytes == 0).map(|(_, source)| format!("{}, an empty file", source.path.display()))
    }

    /// The number of rows left out.
    pub(super) fn num_skipped(&self) -> u64 {
        self.sources.iter().map(|source| source.skipped).sum()
    }

    /// The number of bytes of all files.
    pub(super) fn input_bytes(&self) -> u64 {
        self.files.iter().map(|file| file.bytes).sum()
    }

    /// The state in the form in which it is kept.
    pub(super) fn to_value(&self) -> Value {
        // Numbers, strings and lists of them are always JSON.
        serde_json::to_value(self).expect("a state is always JSON")
    }
}

impl FileState {
    fn of(path: &Path) -> Result<Self, RowError> {
        let metadata = std::fs::metadata(path).map_err(|source| RowError::Open { path: path.to_owned(), source })?;
        let modified = metadata.modified().ok().and_then(|time| time.duration_since(UNIX_EPOCH).ok());
        Ok(Self { bytes: metadata.len(), modified_nanos: modified.map(|since| since.as_nanos()) })
    }
}

/// The request as a text that changes if and only if the store would, so that the same command recognises its own work.
pub(super) fn request(options: &PrepareOptions, tokenizer: &TextTokenizer) -> String {
    let inputs: Vec<_> = options.inputs.iter().map(|input| (&input.name, &input.paths)).collect();
    let holds = options.inputs.first().map(|input| input.holds);
    let texts = (holds == Some(Holds::Texts)).then_some(options.texts);
    let request = serde_json::json!({
        "version": env!("CARGO_PKG_VERSION"),
        "tokenizer": tokenizer.hash(),
        "inputs": inputs,
        "query_max_len": options.query_max_len,
        "passage_max_len": options.passage_max_len,
        "texts": texts,
        "skip_malformed": options.on_error == OnError::Skip,
        "drop_duplicates": options.drop_duplicates,
        "rows_per_shard": options.rows_per_shard,
    });
    format!("{request}\n")
}
