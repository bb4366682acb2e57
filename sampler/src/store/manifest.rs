//! `manifest.json`: what a store holds. It is written last, so a folder without one is not a store.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::error::StoreError;
use crate::special::SpecialTokens;

/// Changes when older readers could no longer read what newer writers write.
pub(crate) const FORMAT_VERSION: u32 = 2;

/// The manifest's file name.
pub(crate) const MANIFEST_FILE: &str = "manifest.json";

/// Holds what was asked of a store that is not finished.
pub(crate) const UNFINISHED_FILE: &str = "unfinished.json";

/// What a store holds.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Manifest {
    /// Layout of the folder.
    pub format_version: u32,
    /// BLAKE3 of the tokenizer.json, in hex.
    pub tokenizer_hash: String,
    /// The tokenizer's special tokens.
    pub special: SpecialTokens,
    /// The largest token id in any row, special tokens included: the model's vocabulary must be larger.
    pub max_token_id: u32,
    /// The largest number of tokens of a query, special tokens included.
    pub query_max_len: usize,
    /// The largest number of tokens of a passage, special tokens included.
    pub passage_max_len: usize,
    /// The largest number of tokens of a text alone, special tokens included; none if no data set holds such.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub text_max_len: Option<usize>,
    /// The data sets, in the order in which they were given.
    pub datasets: Vec<DatasetMeta>,
    /// BLAKE3 of the manifest with this field empty, in hex.
    pub checksum: String,
}

/// One data set of a store.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct DatasetMeta {
    /// Its name, and the name of its folder.
    pub name: String,
    /// The rows' `type`, if they have one.
    #[serde(rename = "type")]
    pub kind: Option<String>,
    /// What its rows are; older stores, which hold pairs, do not say.
    #[serde(default, skip_serializing_if = "Holds::is_pairs")]
    pub holds: Holds,
    /// Rows in all shards.
    pub num_rows: u64,
    /// Every text of every row has a teacher score.
    pub has_scores: bool,
    /// Rows of which not every text has a teacher score; older stores do not say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub num_unscored: Option<u64>,
    /// Rows of every shard but the last, which may have fewer.
    pub rows_per_shard: u64,
    /// Rows of every record batch but a shard's last, which may have fewer.
    pub rows_per_record_batch: u64,
    /// The shards, in row order.
    pub shards: Vec<ShardMeta>,
    /// Rows whose query and positives are those of an earlier row.
    pub num_duplicates: u64,
    /// The duplicates are in the shards alone, so that no batch takes them.
    pub duplicates_dropped: bool,
    /// The rows that batches take, by (longest text, number of negatives, lengths of all texts, row number).
    pub by_length: FileMeta,
    /// The distinct lengths of rows' texts, in the same order.
    pub shapes: FileMeta,
    /// `[length, rows]` ascending: the number of rows whose longest text has at most `length` tokens, special tokens
    /// included.
    pub rows_up_to: Vec<(usize, u64)>,
    /// Tokens of all texts, without special tokens but for those between packed texts.
    pub num_tokens: u64,
    /// Texts that were cut to the maximum length.
    pub num_texts_cut: u64,
    /// The rows' languages: what the rows say, or else what was detected, or `und`.
    pub languages: BTreeMap<String, LanguageMeta>,
    /// The files that the rows came from, in order.
    pub sources: Vec<SourceMeta>,
}

/// What the rows of a data set are.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Holds {
    /// Queries, each with its positives and negatives.
    #[default]
    Pairs,
    /// Texts alone, for pre-training: each is stored as a query that has no passages.
    Texts,
}

impl Holds {
    fn is_pairs(&self) -> bool {
        *self == Self::Pairs
    }
}

/// The rows of one language.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LanguageMeta {
    /// Rows.
    pub num_rows: u64,
    /// Tokens of all their texts, without special tokens.
    pub num_tokens: u64,
    /// Tokens of the longest text, special tokens included.
    pub longest: usize,
    /// Rows whose query and positives are those of an earlier row of the data set.
    pub num_duplicates: u64,
}

/// One shard of a data set.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ShardMeta {
    /// Rows of the shard.
    pub num_rows: u64,
    /// The shard's file.
    #[serde(flatten)]
    pub file: FileMeta,
}

/// A file of the store, with what damage is recognised by.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileMeta {
    /// Name inside the data set's folder.
    pub file: String,
    /// Size in bytes.
    pub bytes: u64,
    /// BLAKE3 of the content, in hex.
    pub blake3: String,
}

/// One file that rows came from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SourceMeta {
    /// The path as given.
    pub path: PathBuf,
    /// Rows taken from it. A row that packs texts of several files counts for the first of them.
    pub rows: u64,
    /// Lines that were skipped as malformed.
    pub skipped: u64,
    /// Texts taken from it, where rows are texts alone. Packed or split, they differ in number from the rows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub texts: Option<u64>,
}

impl Manifest {
    /// With its checksum.
    pub(crate) fn sealed(self) -> Self {
        Self { checksum: self.own_checksum(), ..self }
    }

    /// The file's text.
    pub(crate) fn to_json(&self) -> String {
        // Strings, numbers and lists of them are always JSON.
        serde_json::to_string(self).expect("a manifest is always JSON")
    }

    fn own_checksum(&self) -> String {
        let bare = Self { checksum: String::new(), ..self.clone() };
        blake3::hash(bare.to_json().as_bytes()).to_hex().to_string()
    }

    /// Reads the manifest of the store in `dir` and checks that its figures agree with each other.
    ///
    /// # Errors
    /// There is none, it is of another format version, or it is damaged.
    pub(crate) fn read(dir: &Path) -> Result<Self, StoreError> {
        #[derive(Deserialize)]
        struct Version {
            format_version: u32,
        }
        let path = dir.join(MANIFEST_FILE);
        let damaged = |reason: String| StoreError::Damaged { path: path.clone(), reason };
        let text = std::fs::read_to_string(&path).map_err(|source| match source.kind() {
            std::io::ErrorKind::NotFound => StoreError::NotAStore { dir: dir.to_owned() },
            _ => StoreError::Io { path: path.clone(), source },
        })?;
        // The version first: the rest may look different in another one.
        let Version { format_version: found } = serde_json::from_str(&text).map_err(|e| damaged(e.to_string()))?;
        if found != FORMAT_VERSION {
            return Err(StoreError::Version { dir: dir.to_owned(), found, expected: FORMAT_VERSION });
        }
        let manifest: Self = serde_json::from_str(&text).map_err(|e| damaged(e.to_string()))?;
        for dataset in &manifest.datasets {
            dataset.check().map_err(|reason| damaged(format!("data set {}: {reason}", dataset.name)))?;
        }
        if manifest.checksum != manifest.own_checksum() {
            return Err(damaged("was altered: its checksum differs".into()));
        }
        Ok(manifest)
    }
}

impl DatasetMeta {
    /// The file that row `row` came from, and the number of the data set's rows that came from that file before it.
    pub fn source_of(&self, row: u64) -> Option<(&SourceMeta, u64)> {
        let mut before = 0;
        self.sources.iter().find_map(|source| {
            let own = row.checked_sub(before).filter(|own| *own < source.rows);
            before += source.rows;
            Some((source, own?))
        })
    }

    /// Texts that its rows were made of, where they are texts alone.
    pub fn num_texts(&self) -> Option<u64> {
        (self.holds == Holds::Texts).then(|| self.sources.iter().filter_map(|source| source.texts).sum())
    }

    /// Rows that batches can take: all but dropped duplicates.
    pub fn num_ordered(&self) -> u64 {
        self.num_rows - if self.duplicates_dropped { self.num_duplicates } else { 0 }
    }

    /// Rows whose longest text has at most `len` tokens, special tokens included.
    pub(crate) fn num_rows_up_to(&self, len: usize) -> u64 {
        match self.rows_up_to.partition_point(|(length, _)| *length <= len) {
            0 => 0,
            above => self.rows_up_to[above - 1].1,
        }
    }

    /// Every file of the data set.
    pub fn files(&self) -> impl Iterator<Item = &FileMeta> {
        self.shards.iter().map(|shard| &shard.file).chain([&self.by_length, &self.shapes])
    }

    /// What reading relies on.
    fn check(&self) -> Result<(), String> {
        check_name(&self.name)?;
        for meta in self.files() {
            check_name(&meta.file)?;
        }
        if self.rows_per_shard == 0 || self.rows_per_record_batch == 0 {
            return Err("rows_per_shard or rows_per_record_batch is 0".into());
        }
        let full = self.num_rows / self.rows_per_shard;
        let rest = self.num_rows % self.rows_per_shard;
        let expected = (0..full).map(|_| self.rows_per_shard).chain((rest > 0).then_some(rest));
        if !self.shards.iter().map(|shard| shard.num_rows).eq(expected) {
            return Err(format!(
                "its shards do not hold {} rows, {} in each but the last",
                self.num_rows, self.rows_per_shard
            ));
        }
        if self.num_duplicates > self.num_rows {
            return Err(format!("{} of {} rows are duplicates", self.num_duplicates, self.num_rows));
        }
        let ascending = self.rows_up_to.windows(2).all(|pair| pair[0].0 < pair[1].0 && pair[0].1 < pair[1].1);
        if !ascending || self.rows_up_to.last().map_or(0, |last| last.1) != self.num_ordered() {
            return Err(format!("rows_up_to does not ascend to {} rows", self.num_ordered()));
        }
        Ok(())
    }
}

/// What lies in a store's folder beside its data sets.
const OWN_FILES: [&str; 3] = [MANIFEST_FILE, UNFINISHED_FILE, "lengths.svg"];

/// Whether `name` can be a folder or file inside a store, and cannot lead out of it.
pub(crate) fn check_name(name: &str) -> Result<(), String> {
    let allowed = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
    if name.is_empty() || name.starts_with('.') || !name.chars().all(allowed) {
        return Err(format!(
            "{name:?} cannot be a name: letters, digits, '.', '_' and '-' are expected, and no '.' first"
        ));
    }
    if OWN_FILES.contains(&name) {
        return Err(format!("{name:?} cannot be a name: a file of the store itself is called so"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_stay_inside_the_store() {
        for good in ["en", "docs.sections.zh-hant", "A_1"] {
            assert!(check_name(good).is_ok(), "{good}");
        }
        for bad in ["manifest.json", "lengths.svg", "", ".", "..", "../x", "a/b", "a b", "ä", "a\\b", ".hidden"] {
            assert!(check_name(bad).is_err(), "{bad}");
        }
    }
}
