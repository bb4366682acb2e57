//! Random passages of all rows: those whose texts have the smallest hashes. They depend on the set of texts alone, not
//! on the order of rows or on how often a text occurs, and each stands there once.

use std::collections::BTreeSet;
use std::num::NonZeroU64;
use std::path::Path;

use serde::Deserialize;
use tercet_sampler::{LineReader, LinesOf, json_object};

use super::rows::Units;
use crate::error::CurateError;
use crate::output::{TextLine, WholeFile};

/// Writes `wanted` passages of `units`, or all that are different, to `path`, unless they are there; and how many.
///
/// # Errors
/// The operating system's.
pub(super) fn write(units: Units, wanted: NonZeroU64, path: &Path) -> Result<u64, CurateError> {
    if path.exists() {
        let (mut reader, mut count, mut line) = (LineReader::open(path, LinesOf::Objects)?, 0, Vec::new());
        while reader.read_line(&mut line)?.is_some() {
            count += 1;
        }
        return Ok(count);
    }
    let wanted = usize::try_from(wanted.get()).unwrap_or(usize::MAX);
    let mut smallest: BTreeSet<u64> = BTreeSet::new();
    for_each_passage(units, |passage| {
        let hash = hash(passage);
        if smallest.len() < wanted {
            smallest.insert(hash);
        } else if smallest.last().is_some_and(|last| hash < *last) && smallest.insert(hash) {
            smallest.pop_last();
        }
        Ok(())
    })?;
    let count = smallest.len() as u64;
    let mut file = WholeFile::create(path)?;
    for_each_passage(units, |passage| match hash(passage) {
        hash if smallest.remove(&hash) => {
            file.object(&TextLine { id: &format!("{hash:016x}"), title: "", text: passage })
        }
        _ => Ok(()),
    })?;
    file.finish()?;
    Ok(count)
}

fn hash(passage: &str) -> u64 {
    let hash = blake3::hash(passage.as_bytes());
    u64::from_le_bytes(std::array::from_fn(|i| hash.as_bytes()[i]))
}

fn for_each_passage(units: Units, mut visit: impl FnMut(&str) -> Result<(), CurateError>) -> Result<(), CurateError> {
    for (unit, rows) in units.rows.iter().enumerate() {
        units.for_each_row(unit, |_, line| {
            let Line { pos: [passage] } = json_object(line).map_err(|reason| CurateError::data(rows, reason))?;
            visit(&passage)
        })?;
    }
    Ok(())
}

/// A row, as far as it is read here.
#[derive(Debug, Deserialize)]
struct Line {
    pos: [String; 1],
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    /// The passages that are drawn of `texts`, row by row, of which `dropped` are not asked about.
    fn drawn(texts: &[String], wanted: u64, dropped: &[u32]) -> BTreeSet<String> {
        let dir = tempfile::tempdir().unwrap();
        let (rows, out) = (dir.path().join("rows.jsonl"), dir.path().join("out.jsonl.zst"));
        let lines: Vec<String> =
            texts.iter().map(|text| serde_json::json!({"query": "q", "pos": [text]}).to_string() + "\n").collect();
        std::fs::write(&rows, lines.concat()).unwrap();
        let units = Units { rows: &[rows], dropped: &|_| Ok(Box::new(dropped.iter().copied().map(Ok))) };
        let count = write(units, NonZeroU64::new(wanted).unwrap(), &out).unwrap();
        assert_eq!(write(units, NonZeroU64::MIN, &out).unwrap(), count, "what is there stays");
        let mut reader = LineReader::open(&out, LinesOf::Objects).unwrap();
        let (mut all, mut line) = (BTreeSet::new(), Vec::new());
        while reader.read_line(&mut line).unwrap().is_some() {
            let text: serde_json::Value = serde_json::from_slice(&line).unwrap();
            assert!(all.insert(text["text"].as_str().unwrap().to_owned()), "each stands there once");
        }
        assert_eq!(all.len() as u64, count);
        all
    }

    #[test]
    fn a_sample_is_of_the_set_of_texts_and_not_of_their_order() {
        let texts: Vec<String> = (0..400).map(|i| format!("passage {}", i % 300)).collect();
        let some = drawn(&texts, 100, &[]);
        assert_eq!(some.len(), 100);
        let backwards: Vec<String> = texts.iter().rev().cloned().collect();
        assert_eq!(drawn(&backwards, 100, &[]), some);
        // About a third of each part of the texts.
        let early = some.iter().filter(|text| text.split(' ').nth(1).unwrap().parse::<u32>().unwrap() < 150).count();
        assert!((30..70).contains(&early), "{early}");
        assert_eq!(drawn(&texts, 1000, &[]).len(), 300);
        let without: Vec<u32> = (0..400).filter(|row| some.contains(&texts[*row as usize])).collect();
        assert!(drawn(&texts, 100, &without).is_disjoint(&some));
    }
}
