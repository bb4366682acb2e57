//! A store that is being written: what its manifest will say, as far as that is known.

use serde::{Deserialize, Serialize};

use super::manifest::{DatasetMeta, FORMAT_VERSION, Holds, Manifest};
use super::shapes::MAX_TEXT_LEN;
use super::unfinished::DatasetRecord;
use crate::special::SpecialTokens;

/// What holds for the whole store.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct StoreSettings {
    /// BLAKE3 of the tokenizer.json, in hex.
    pub tokenizer_hash: String,
    /// Its special tokens.
    pub special: SpecialTokens,
    /// The largest number of tokens of a query, special tokens included; longer ones are cut.
    pub query_max_len: usize,
    /// The largest number of tokens of a passage, special tokens included; longer ones are cut.
    pub passage_max_len: usize,
    /// The largest number of tokens of a text alone, special tokens included; longer ones are cut.
    pub text_max_len: usize,
    /// Rows of every shard but a data set's last, at least 1; fewer where rows are so long that a shard would be huge.
    pub rows_per_shard: u64,
}

/// What the manifest will say of a store whose data sets are written one after another.
#[derive(Debug)]
pub(super) struct Begun {
    pub(super) settings: StoreSettings,
    pub(super) drop_duplicates: bool,
    /// Those that are finished.
    pub(super) datasets: Vec<DatasetMeta>,
    max_token_id: u32,
    /// Whether a later attempt can continue the store.
    pub(super) is_resumable: bool,
    /// Whether there is something to continue.
    pub(super) is_kept: bool,
}

impl Begun {
    /// A store without a data set, which cannot be continued.
    pub(super) fn new(settings: StoreSettings) -> Self {
        debug_assert!(settings.query_max_len.max(settings.passage_max_len).max(settings.text_max_len) <= MAX_TEXT_LEN);
        Self {
            max_token_id: settings.special.max_id(),
            settings,
            drop_duplicates: false,
            datasets: Vec::new(),
            is_resumable: false,
            is_kept: false,
        }
    }

    /// From now on there is something to continue, if the store can be continued at all.
    pub(super) fn keep(&mut self) {
        self.is_kept |= self.is_resumable;
    }

    /// Adds a finished data set.
    pub(super) fn add(&mut self, record: DatasetRecord) -> &DatasetMeta {
        self.keep();
        self.max_token_id = self.max_token_id.max(record.max_token_id);
        self.datasets.push(record.dataset);
        &self.datasets[self.datasets.len() - 1]
    }

    /// The manifest of a store that has no more data sets than these, which it takes over.
    pub(super) fn manifest(&mut self) -> Manifest {
        let holds_texts = self.datasets.iter().any(|dataset| dataset.holds == Holds::Texts);
        let manifest = Manifest {
            format_version: FORMAT_VERSION,
            tokenizer_hash: self.settings.tokenizer_hash.clone(),
            special: self.settings.special,
            max_token_id: self.max_token_id,
            query_max_len: self.settings.query_max_len,
            passage_max_len: self.settings.passage_max_len,
            text_max_len: holds_texts.then_some(self.settings.text_max_len),
            datasets: std::mem::take(&mut self.datasets),
            checksum: String::new(),
        };
        manifest.sealed()
    }
}
