//! The read side: any row, any position of the order by length, in constant time.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use rayon::prelude::*;

use super::columns::Columns;
use super::manifest::{DatasetMeta, FileMeta, Manifest};
use super::mapped::{FromBatch, MappedFile};
use super::order::{ENTRIES_PER_BATCH, Entries};
use super::row::StoredRow;
use super::shapes::{Shape, ShapeTable};
use crate::error::StoreError;
use crate::special::SpecialTokens;

/// A token store, opened for reading. Can be shared between threads.
#[derive(Debug)]
pub struct Store {
    dir: PathBuf,
    manifest: Manifest,
    datasets: Vec<DatasetFiles>,
}

/// The files of one data set, mapped when first touched.
#[derive(Debug)]
struct DatasetFiles {
    shards: Vec<OnceLock<MappedFile<Columns>>>,
    by_length: OnceLock<MappedFile<Entries>>,
    shapes: OnceLock<ShapeTable>,
}

impl Store {
    /// Opens the store in `dir` and checks that every file is there and has its size. Maps nothing yet.
    ///
    /// # Errors
    /// `dir` is no store, is one of another format version, or a file is missing or has another size.
    pub fn open(dir: &Path) -> Result<Store, StoreError> {
        let manifest = Manifest::read(dir)?;
        let store = Store {
            dir: dir.to_owned(),
            datasets: manifest
                .datasets
                .iter()
                .map(|dataset| DatasetFiles {
                    shards: dataset.shards.iter().map(|_| OnceLock::new()).collect(),
                    by_length: OnceLock::new(),
                    shapes: OnceLock::new(),
                })
                .collect(),
            manifest,
        };
        for (path, meta) in store.files() {
            check_size(&path, meta)?;
        }
        Ok(store)
    }

    /// Reads every file, on all cores, and compares its checksum with the manifest's.
    ///
    /// # Errors
    /// Names the first file, in the manifest's order, that was altered or cannot be read.
    pub fn verify(&self) -> Result<(), StoreError> {
        let files: Vec<_> = self.files().collect();
        let checked: Vec<_> = files.par_iter().map(|(path, meta)| check_hash(path, meta)).collect();
        checked.into_iter().collect()
    }

    /// What the store holds.
    pub fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// The number of data sets.
    pub fn num_datasets(&self) -> usize {
        self.manifest.datasets.len()
    }

    /// The `i`-th data set.
    ///
    /// # Panics
    /// If `i` is not below [`num_datasets`](Self::num_datasets); so do the functions below.
    pub fn dataset(&self, i: usize) -> &DatasetMeta {
        &self.manifest.datasets[i]
    }

    /// Rows whose longest text has at most `len` tokens, special tokens included. They are the first of the order by
    /// length.
    pub fn num_rows_up_to(&self, dataset: usize, len: usize) -> u64 {
        self.dataset(dataset).num_rows_up_to(len)
    }

    /// The number of the row at `position` in the order by length, and its checksum.
    ///
    /// # Errors
    /// `position` is out of range, or the file cannot be read.
    pub fn entry(&self, dataset: usize, position: u64) -> Result<(u64, u32), StoreError> {
        let meta = self.dataset(dataset);
        check_range(&meta.name, position, meta.num_ordered())?;
        let file = mapped(&self.datasets[dataset].by_length, || self.path(meta, &meta.by_length))?;
        let entries = file.batch((position / ENTRIES_PER_BATCH as u64) as usize)?;
        let entry = entries.get((position % ENTRIES_PER_BATCH as u64) as usize);
        entry
            .filter(|(row, _)| *row < meta.num_rows)
            .ok_or_else(|| file.damaged(format!("position {position} holds no row of the data set")))
    }

    /// The row at `position` in the order by length, with its number. It is what was written: its checksum is verified.
    ///
    /// # Errors
    /// `position` is out of range, a file cannot be read, or the row was altered.
    pub fn read(&self, dataset: usize, position: u64) -> Result<(u64, StoredRow), StoreError> {
        let (number, check) = self.entry(dataset, position)?;
        let row = self.row(dataset, number)?;
        if row.check(number) != check {
            let meta = self.dataset(dataset);
            let shard = &meta.shards[(number / meta.rows_per_shard) as usize].file;
            let reason = format!("row {number} of data set {} was altered (or by_length.arrow was)", meta.name);
            return Err(StoreError::Damaged { path: self.path(meta, shard), reason });
        }
        Ok((number, row))
    }

    /// The lengths of the texts of the row at `position` in the order by length. Reads no row.
    ///
    /// # Errors
    /// `position` is out of range, or the table of shapes is damaged, which the first call finds out.
    pub fn shape(&self, dataset: usize, position: u64) -> Result<Shape<'_>, StoreError> {
        Ok(self.shapes_from(dataset, position)?.0)
    }

    /// As [`shape`](Self::shape), with the first position after those of this shape.
    ///
    /// # Errors
    /// As [`shape`](Self::shape).
    pub fn shapes_from(&self, dataset: usize, position: u64) -> Result<(Shape<'_>, u64), StoreError> {
        let meta = self.dataset(dataset);
        check_range(&meta.name, position, meta.num_ordered())?;
        let cell = &self.datasets[dataset].shapes;
        let table = match cell.get() {
            Some(table) => table,
            None => {
                let path = self.path(meta, &meta.shapes);
                // Every batch depends on it and it is small: all of it is checked.
                check_hash(&path, &meta.shapes)?;
                let table = ShapeTable::open(MappedFile::open(&path)?)?;
                cell.get_or_init(|| table)
            }
        };
        table.at(position)
    }

    /// A row's tokens. Its checksum is not looked at.
    ///
    /// # Errors
    /// `row` is out of range, or its shard cannot be read.
    pub fn row(&self, dataset: usize, row: u64) -> Result<StoredRow, StoreError> {
        let meta = self.dataset(dataset);
        check_range(&meta.name, row, meta.num_rows)?;
        let shard = (row / meta.rows_per_shard) as usize;
        let row_of_shard = row % meta.rows_per_shard;
        let file = mapped(&self.datasets[dataset].shards[shard], || self.path(meta, &meta.shards[shard].file))?;
        let columns = file.batch((row_of_shard / meta.rows_per_record_batch) as usize)?;
        let row_of_batch = (row_of_shard % meta.rows_per_record_batch) as usize;
        if row_of_batch >= columns.num_rows {
            return Err(file.damaged(format!("row {row_of_shard} of the shard is missing")));
        }
        Ok(StoredRow { columns: columns.clone(), row: row_of_batch })
    }

    /// The special tokens of the tokenizer that wrote the store.
    pub fn special(&self) -> &SpecialTokens {
        &self.manifest.special
    }

    /// The largest token id, special tokens included.
    pub fn max_token_id(&self) -> u32 {
        self.manifest.max_token_id
    }

    fn path(&self, dataset: &DatasetMeta, file: &FileMeta) -> PathBuf {
        self.dir.join(&dataset.name).join(&file.file)
    }

    fn files(&self) -> impl Iterator<Item = (PathBuf, &FileMeta)> {
        let files_of = |dataset| DatasetMeta::files(dataset).map(|file| (self.path(dataset, file), file));
        self.manifest.datasets.iter().flat_map(files_of)
    }
}

fn check_range(dataset: &str, row: u64, num_rows: u64) -> Result<(), StoreError> {
    if row >= num_rows {
        return Err(StoreError::OutOfRange { dataset: dataset.to_owned(), row, num_rows });
    }
    Ok(())
}

/// The file in `cell`, mapped first if it is not yet.
fn mapped<T: FromBatch>(
    cell: &OnceLock<MappedFile<T>>,
    path: impl FnOnce() -> PathBuf,
) -> Result<&MappedFile<T>, StoreError> {
    if let Some(file) = cell.get() {
        return Ok(file);
    }
    // Two threads may map the same file at once; the first one's is kept.
    let file = MappedFile::open(&path())?;
    Ok(cell.get_or_init(|| file))
}

fn check_size(path: &Path, meta: &FileMeta) -> Result<(), StoreError> {
    let damaged = |reason: String| StoreError::Damaged { path: path.to_owned(), reason };
    match fs::metadata(path) {
        Ok(found) if found.len() == meta.bytes => Ok(()),
        Ok(found) => Err(damaged(format!("has {} bytes, expected {}", found.len(), meta.bytes))),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Err(damaged("is missing".into())),
        Err(source) => Err(StoreError::Io { path: path.to_owned(), source }),
    }
}

fn check_hash(path: &Path, meta: &FileMeta) -> Result<(), StoreError> {
    check_size(path, meta)?;
    let mut hasher = blake3::Hasher::new();
    File::open(path)
        .and_then(|file| hasher.update_reader(file).map(|_| ()))
        .map_err(|source| StoreError::Io { path: path.to_owned(), source })?;
    let found = hasher.finalize().to_hex();
    if found.as_str() != meta.blake3 {
        let reason = format!("was altered: its BLAKE3 is {found}, expected {}", meta.blake3);
        return Err(StoreError::Damaged { path: path.to_owned(), reason });
    }
    Ok(())
}
