//! The read side.

use std::path::Path;

use super::{DatasetMeta, Manifest, RowLengths, StoredRow};
use crate::{SpecialTokens, StoreError};

/// A token store, opened for reading.
#[derive(Debug)]
pub struct Store {
    manifest: Manifest,
}

impl Store {
    /// Opens the store in `dir`.
    pub fn open(_dir: &Path) -> Result<Store, StoreError> {
        unimplemented!()
    }
    /// Reads every file and compares its checksum.
    pub fn verify(&self) -> Result<(), StoreError> {
        unimplemented!()
    }
    /// What the store holds.
    pub fn manifest(&self) -> &Manifest {
        &self.manifest
    }
    /// How many data sets it has.
    pub fn num_datasets(&self) -> usize {
        self.manifest.datasets.len()
    }
    /// The `i`-th data set.
    pub fn dataset(&self, i: usize) -> &DatasetMeta {
        &self.manifest.datasets[i]
    }
    /// Rows whose longest text has at most `len` tokens, special tokens included.
    pub fn num_rows_up_to(&self, _dataset: usize, _len: usize) -> u64 {
        unimplemented!()
    }
    /// The row at `position` in the order by length.
    pub fn row_at_length_position(&self, _dataset: usize, _position: u64) -> Result<u64, StoreError> {
        unimplemented!()
    }
    /// A row's tokens.
    pub fn row(&self, _dataset: usize, _row: u64) -> Result<StoredRow, StoreError> {
        unimplemented!()
    }
    /// A row's token counts; its tokens are not touched.
    pub fn lengths(&self, _dataset: usize, _row: u64) -> Result<RowLengths, StoreError> {
        unimplemented!()
    }
    /// The special tokens.
    pub fn special(&self) -> &SpecialTokens {
        &self.manifest.special
    }
    /// The largest token id, special tokens included.
    pub fn max_token_id(&self) -> u32 {
        self.manifest.max_token_id
    }
}
