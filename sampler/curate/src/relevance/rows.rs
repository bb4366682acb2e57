//! The rows that are asked about, and how they score.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use tercet_sampler::{LineReader, LinesOf, utf8};

use crate::error::CurateError;

/// The rows of all units.
#[derive(Clone, Copy)]
pub struct Units<'a> {
    /// A file for each unit, with a line of JSON for each row, with `query` and `pos`.
    pub rows: &'a [PathBuf],
    /// The numbers of a unit's rows that are not asked about, ascending.
    pub dropped: &'a dyn Fn(usize) -> Result<Numbers<'a>, CurateError>,
}

/// Numbers of rows that are read one at a time.
pub type Numbers<'a> = Box<dyn Iterator<Item = Result<u32, CurateError>> + 'a>;

impl Units<'_> {
    /// Calls `visit` with the number and the line of each row of a unit that is asked about.
    pub(super) fn for_each_row(
        &self,
        unit: usize,
        mut visit: impl FnMut(u32, &str) -> Result<(), CurateError>,
    ) -> Result<(), CurateError> {
        let rows = &self.rows[unit];
        let mut reader = LineReader::open(rows, LinesOf::Objects)?;
        let mut dropped = (self.dropped)(unit)?.peekable();
        let mut line = Vec::new();
        for number in 0.. {
            if reader.read_line(&mut line)?.is_none() {
                break;
            }
            let is_next = |next: &Result<u32, _>| next.as_ref().map_or(true, |next| *next == number);
            if dropped.next_if(is_next).transpose()?.is_none() {
                visit(number, utf8(&line).map_err(|reason| CurateError::data(rows, reason))?)?;
            }
        }
        Ok(())
    }
}

/// How many pairs have which score.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Scores {
    /// Pairs by their score in hundredths, rounded down.
    pub hundredths: BTreeMap<i32, u64>,
    /// Pairs by the number of better passages; the last number is that or more. None without consistency.
    pub better: BTreeMap<usize, u64>,
    /// Random passages that each was compared with.
    pub passages: u64,
}

impl Scores {
    pub(super) fn add(&mut self, score: f32, better: Option<usize>) {
        *self.hundredths.entry((100.0 * score).floor() as i32).or_default() += 1;
        better.into_iter().for_each(|better| *self.better.entry(better).or_default() += 1);
    }

    pub(super) fn merge(&mut self, other: &Self) {
        other.hundredths.iter().for_each(|(score, count)| *self.hundredths.entry(*score).or_default() += count);
        other.better.iter().for_each(|(better, count)| *self.better.entry(*better).or_default() += count);
    }
}

/// Makes a folder that may be there.
pub(super) fn make_folder(path: &Path) -> Result<(), CurateError> {
    fs::create_dir_all(path).map_err(CurateError::io(path))
}
