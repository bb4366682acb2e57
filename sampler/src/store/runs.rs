//! Sorted runs of records on disk, and their merge: an order of any number of rows in the memory of one shard.
//!
//! A record is a string of bytes, and records are ordered as such; whoever writes them puts what is to be compared
//! first, in big-endian order. A run file has each record after its length (4 bytes, little-endian).

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::collections::binary_heap::PeekMut;
use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};

use memmap2::Mmap;
use rayon::prelude::*;

use super::durable::DurableFile;
use super::manifest::FileMeta;
use crate::error::StoreError;

const LEN_BYTES: usize = 4;

/// Collects the records of one run.
#[derive(Default)]
pub(super) struct RunBuilder {
    bytes: Vec<u8>,
    starts: Vec<usize>,
}

impl RunBuilder {
    pub(super) fn push(&mut self, record: &[u8]) {
        self.starts.push(self.bytes.len());
        self.bytes.extend_from_slice(record);
    }

    /// Sorts the records and writes them; none are left behind.
    pub(super) fn write(&mut self, path: &Path) -> Result<FileMeta, StoreError> {
        let Self { bytes, starts } = std::mem::take(self);
        let ends = starts.iter().skip(1).copied().chain([bytes.len()]);
        let mut records: Vec<&[u8]> = starts.iter().zip(ends).map(|(&start, end)| &bytes[start..end]).collect();
        records.par_sort_unstable();
        let mut file = DurableFile::create(path)?;
        for record in records {
            let written = file.write_all(&(record.len() as u32).to_le_bytes()).and_then(|()| file.write_all(record));
            written.map_err(|e| file.error(e))?;
        }
        file.finish()
    }
}

/// A run, mapped.
struct Run {
    path: PathBuf,
    /// None: the file is empty, and an empty file cannot be mapped.
    map: Option<Mmap>,
}

impl Run {
    fn open(path: &Path) -> Result<Self, StoreError> {
        let io = |source| StoreError::Io { path: path.to_owned(), source };
        let file = File::open(path).map_err(io)?;
        if file.metadata().map_err(io)?.len() == 0 {
            return Ok(Self { path: path.to_owned(), map: None });
        }
        // SAFETY: sound while nobody truncates the file. This process, or the one whose work it continues, wrote it
        // under another name and renamed it; nothing writes to it afterwards.
        let map = unsafe { Mmap::map(&file) }.map_err(io)?;
        Ok(Self { path: path.to_owned(), map: Some(map) })
    }

    /// The record that begins at byte `start`, if it is not the end.
    fn record_at(&self, start: usize) -> Result<Option<&[u8]>, StoreError> {
        let Some(map) = self.map.as_ref().filter(|map| start < map.len()) else { return Ok(None) };
        let record = map[start..].split_first_chunk::<LEN_BYTES>().and_then(|(len, rest)| {
            let len = u32::from_le_bytes(*len) as usize;
            rest.get(..len)
        });
        record.map(Some).ok_or_else(|| StoreError::Damaged {
            path: self.path.clone(),
            reason: format!("the record at byte {start} is cut off"),
        })
    }
}

/// Hands the records of all runs to `consume`, in order.
pub(super) fn merge(
    paths: &[PathBuf],
    mut consume: impl FnMut(&[u8]) -> Result<(), StoreError>,
) -> Result<(), StoreError> {
    let runs: Vec<Run> = paths.iter().map(|path| Run::open(path)).collect::<Result<_, _>>()?;
    // The least record of each run with the run's number and where the record begins.
    let mut heads = BinaryHeap::with_capacity(runs.len());
    for (i, run) in runs.iter().enumerate() {
        heads.extend(run.record_at(0)?.map(|record| Reverse((record, i, 0))));
    }
    while let Some(mut head) = heads.peek_mut() {
        let Reverse((record, i, start)) = *head;
        consume(record)?;
        let next = start + LEN_BYTES + record.len();
        match runs[i].record_at(next)? {
            Some(record) => *head = Reverse((record, i, next)),
            None => {
                PeekMut::pop(head);
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_are_merged_in_order() {
        let dir = tempfile::tempdir().unwrap();
        let records: Vec<Vec<u8>> = (0..1000_u32).map(|i| (i * 7919 % 500).to_be_bytes()[..].to_vec()).collect();
        let mut paths = Vec::new();
        let mut builder = RunBuilder::default();
        for part in [&records[..10], &[], &records[10..700], &records[700..]] {
            part.iter().for_each(|record| builder.push(record));
            paths.push(dir.path().join(format!("{}", paths.len())));
            builder.write(paths.last().unwrap()).unwrap();
        }
        let mut merged = Vec::new();
        merge(&paths, |record| {
            merged.push(record.to_vec());
            Ok(())
        })
        .unwrap();
        let mut expected = records;
        expected.sort();
        assert_eq!(merged, expected);
    }

    #[test]
    fn a_cut_run_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("run");
        std::fs::write(&path, [9, 0, 0, 0, 1]).unwrap();
        let error = merge(std::slice::from_ref(&path), |_| Ok(())).unwrap_err();
        assert!(error.to_string().contains("run: the record at byte 0 is cut off"), "{error}");
    }
}
