//! What is kept of a store that is not finished, so that the same command goes on where it was stopped.
//!
//! ```text
//! STORE/unfinished.json          what was asked; removed last
//! STORE/NAME/shard-00000.order   the shard's rows by shape, and
//! STORE/NAME/shard-00000.pairs   by (query, positives), until the data set's orders are written
//! STORE/NAME/shard-00000.json    written when the three files of a shard are there: the shard is finished
//! STORE/NAME/dataset.json        written when by_length.arrow and shapes.arrow are there: the data set is finished
//! ```
//!
//! Every file appears under its name when it is complete and on the disk. What an attempt left without its record is
//! written anew. What is kept is removed when the manifest is there: first what no record is needed for, then the
//! records, last the request. So whatever is left at any moment can be continued.

use std::collections::BTreeMap;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::durable::DurableFile;
use super::manifest::{DatasetMeta, FileMeta, LanguageMeta, ShardMeta};
use crate::error::StoreError;

const DATASET_RECORD: &str = "dataset.json";

/// A data set's list of rows that were left out; `prepare` writes it.
pub(crate) const LIST_FILE: &str = "skipped.jsonl";

/// The figures of a data set up to the end of a shard.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(super) struct Totals {
    pub(super) rows_per_shard: u64,
    pub(super) rows_per_record_batch: u64,
    pub(super) num_rows: u64,
    pub(super) num_tokens: u64,
    pub(super) num_texts_cut: u64,
    pub(super) num_unscored: u64,
    pub(super) max_token_id: u32,
    pub(super) languages: BTreeMap<String, LanguageMeta>,
}

/// A finished shard.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct ShardRecord {
    pub(super) shard: ShardMeta,
    pub(super) order: FileMeta,
    pub(super) pairs: FileMeta,
    pub(super) totals: Totals,
    /// What the caller needs to go on after it.
    pub(super) state: Value,
}

/// A finished data set.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct DatasetRecord {
    pub(super) dataset: DatasetMeta,
    pub(super) max_token_id: u32,
    pub(super) state: Value,
}

/// What an earlier attempt left of a data set.
#[derive(Debug)]
pub(crate) enum Left {
    /// Nothing that can be continued.
    Nothing,
    /// Finished shards.
    Shards(LeftShards),
    /// All of it.
    Dataset(LeftDataset),
}

/// Finished shards, at least one, in order.
#[derive(Debug)]
pub(crate) struct LeftShards(pub(super) Vec<ShardRecord>);

/// A finished data set.
#[derive(Debug)]
pub(crate) struct LeftDataset(pub(super) Box<DatasetRecord>);

impl Left {
    /// The state given with the last that was finished.
    pub(crate) fn state(&self) -> Option<&Value> {
        match self {
            Self::Nothing => None,
            Self::Shards(LeftShards(shards)) => shards.last().map(|record| &record.state),
            Self::Dataset(LeftDataset(record)) => Some(&record.state),
        }
    }

    /// Looks through the data set's folder.
    pub(super) fn find(dir: &Path) -> Result<Self, StoreError> {
        if let Some(record) = read::<DatasetRecord>(&dir.join(DATASET_RECORD))?
            && record.dataset.files().all(|file| is_there(dir, file))
        {
            return Ok(Self::Dataset(LeftDataset(Box::new(record))));
        }
        let mut shards = Vec::new();
        while let Some(record) = read::<ShardRecord>(&shard_path(dir, shards.len(), "json"))?
            && [&record.shard.file, &record.order, &record.pairs].into_iter().all(|file| is_there(dir, file))
        {
            shards.push(record);
        }
        Ok(if shards.is_empty() { Self::Nothing } else { Self::Shards(LeftShards(shards)) })
    }
}

impl ShardRecord {
    pub(super) fn write(&self, dir: &Path, number: usize) -> Result<(), StoreError> {
        write(&shard_path(dir, number, "json"), self)
    }
}

impl DatasetRecord {
    pub(super) fn write(&self, dir: &Path) -> Result<(), StoreError> {
        write(&dir.join(DATASET_RECORD), self)
    }
}

/// A file of shard `number`.
pub(super) fn shard_path(dir: &Path, number: usize, extension: &str) -> PathBuf {
    dir.join(format!("shard-{number:05}.{extension}"))
}

/// Removes from the data sets' folders in `store` what is not part of the finished store.
pub(super) fn tidy(store: &Path, datasets: &[DatasetMeta]) -> Result<(), StoreError> {
    // With its record a data set is not looked at again. Its list of skipped rows, which is no part of the record, is
    // needed as long; so it goes after it.
    for dataset in datasets {
        remove_from(&store.join(&dataset.name), dataset, |name| name != DATASET_RECORD && name != LIST_FILE)?;
    }
    for dataset in datasets {
        remove_from(&store.join(&dataset.name), dataset, |name| name == DATASET_RECORD)?;
        remove_from(&store.join(&dataset.name), dataset, |_| true)?;
    }
    Ok(())
}

/// Removes from a data set's folder what `goes`, the files of the finished store aside.
fn remove_from(dir: &Path, dataset: &DatasetMeta, goes: impl Fn(&str) -> bool) -> Result<(), StoreError> {
    let remove = || {
        for entry in fs::read_dir(dir)? {
            let entry = entry?;
            let name = entry.file_name();
            let stays = dataset.files().any(|file| file.file.as_str() == name);
            if !stays && goes(&name.to_string_lossy()) {
                fs::remove_file(entry.path())?;
            }
        }
        Ok(())
    };
    remove().map_err(|source| StoreError::Io { path: dir.to_owned(), source })
}

fn is_there(dir: &Path, file: &FileMeta) -> bool {
    fs::metadata(dir.join(&file.file)).is_ok_and(|found| found.len() == file.bytes)
}

/// None if the file is missing, or is no such record: then its subject is not finished.
fn read<T: DeserializeOwned>(path: &Path) -> Result<Option<T>, StoreError> {
    match fs::read(path) {
        Ok(text) => Ok(serde_json::from_slice(&text).ok()),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(StoreError::Io { path: path.to_owned(), source }),
    }
}

fn write<T: Serialize>(path: &Path, record: &T) -> Result<(), StoreError> {
    let mut file = DurableFile::create(path)?;
    serde_json::to_writer(&mut file, record).map_err(|e| file.error(e.into()))?;
    file.write_all(b"\n").map_err(|e| file.error(e))?;
    file.finish().map(|_| ())
}
