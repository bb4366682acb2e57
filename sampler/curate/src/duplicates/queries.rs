//! Benchmarks' queries that a text is nearly: the Jaccard index of sequences of five characters, exactly.
//!
//! MinHash of words misses them: where one of ten words is another, two of three sequences of five words are as well.
//! Sequences of characters lose a few around the change.
//!
//! No text is compared with all. Sequences have an order, rare ones first. If two texts have the least share of
//! sequences in common, their first sequences, as many as [`prefix`] says, have one in common as well (Chaudhuri, Ganti
//! and Kaushik, 2006; Bayardo, Ma and Srikant, 2007). So there is a list of queries for each sequence that is among the
//! first ones of a query, and a text is compared with those in the lists of its own first ones. Most texts have enough
//! sequences that no query has, and are compared with none.

use std::collections::HashMap;

use tercet_retrieval::Shingles;

use super::benchmarks::Benchmark;
use super::recipe::Documents;
use crate::error::CurateError;

/// The least Jaccard index of a query and a text that is nearly the same.
const LEAST: f64 = 0.7;
/// Texts of as many units are left to MinHash, which finds one with a changed word in 92 % of cases.
pub const SHORT: usize = 50;

/// Queries of all benchmarks that are short, in memory: some 600 bytes each.
#[derive(Debug, Default)]
pub struct Queries {
    /// Each once, with the number of the first benchmark that has it.
    all: Vec<(Shingles, u16)>,
    sequences: HashMap<u64, Sequence>,
}

/// A sequence that a query has.
#[derive(Debug, Default)]
struct Sequence {
    /// Queries that have it.
    count: u32,
    /// Those among whose first ones it is.
    queries: Vec<u32>,
}

/// The first sequences of `len` among which is one that is common with any text that is near.
fn prefix(len: usize) -> usize {
    // The least number of common ones; the product is rounded away from 1, so that a share that is met exactly counts.
    let common = (LEAST * len as f64 - 1e-9).ceil() as usize;
    len - common.min(len) + usize::from(len > 0)
}

impl Queries {
    /// Those of `benchmarks`: of folders the queries that count, of files of texts all.
    ///
    /// # Errors
    /// A benchmark cannot be read, or holds something else.
    pub fn of(benchmarks: &[Benchmark]) -> Result<Self, CurateError> {
        let mut units = super::units::Units::default();
        let mut all = Vec::new();
        for (number, benchmark) in benchmarks.iter().enumerate() {
            benchmark.visit(Documents::None, &mut |text| {
                if units.of(text).len() < SHORT {
                    // There are fewer than 2^16 benchmarks.
                    all.push((Shingles::of(text), number as u16));
                }
                Ok(())
            })?;
        }
        Ok(Self::new(all))
    }

    fn new(mut all: Vec<(Shingles, u16)>) -> Self {
        all.sort_unstable_by(|(a, first), (b, second)| (a.hashes(), first).cmp(&(b.hashes(), second)));
        all.dedup_by(|(a, _), (b, _)| a == b);
        let mut sequences: HashMap<u64, Sequence> = HashMap::new();
        for hash in all.iter().flat_map(|(query, _)| query.hashes()) {
            sequences.entry(*hash).or_default().count += 1;
        }
        for (number, (query, _)) in all.iter().enumerate() {
            let mut ordered: Vec<(u32, u64)> =
                query.hashes().iter().map(|hash| (sequences.get(hash).map_or(0, |one| one.count), *hash)).collect();
            ordered.sort_unstable();
            for (_, hash) in &ordered[..prefix(ordered.len())] {
                // There are fewer than 2^32 queries, as each takes memory.
                sequences.entry(*hash).or_default().queries.push(number as u32);
            }
        }
        Self { all, sequences }
    }

    /// The number of the first benchmark that has a query that `text` nearly is.
    pub fn nearly(&self, text: &str) -> Option<u16> {
        if self.all.is_empty() {
            return None;
        }
        let own = Shingles::of(text);
        let len = own.hashes().len();
        let mut known: Vec<(u32, u64, &Sequence)> = Vec::with_capacity(len);
        known.extend(own.hashes().iter().filter_map(|hash| {
            let sequence = self.sequences.get(hash)?;
            Some((sequence.count, *hash, sequence))
        }));
        // The others are the rarest.
        let first = prefix(len).saturating_sub(len - known.len());
        if first == 0 {
            return None;
        }
        known.sort_unstable_by_key(|(count, hash, _)| (*count, *hash));
        let mut asked: Vec<u32> =
            known[..first].iter().flat_map(|(_, _, sequence)| &sequence.queries).copied().collect();
        asked.sort_unstable();
        asked.dedup();
        let (shortest, longest) = ((LEAST * len as f64) as usize, (len as f64 / LEAST) as usize + 1);
        let mut found: Option<u16> = None;
        for number in asked {
            let (query, benchmark) = &self.all[number as usize];
            if found.is_none_or(|found| *benchmark < found)
                && (shortest..=longest).contains(&query.hashes().len())
                && query.jaccard(&own) >= LEAST
            {
                found = Some(*benchmark);
            }
        }
        found
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Templates with names, so that many sequences are common to many.
    fn questions() -> Vec<String> {
        let names = ["albert einstein", "marie curie", "isaac newton", "ada lovelace", "alan turing", "emmy noether"];
        let asked = ["when was {} born", "where did {} go to school", "who was the first teacher of {}", "{}"];
        names.iter().flat_map(|name| asked.map(|asked| asked.replace("{}", name))).collect()
    }

    #[test]
    fn the_lists_find_what_comparing_all_finds() {
        let questions = questions();
        let of = |number: usize| (Shingles::of(&questions[number]), (number % 5) as u16);
        let queries = Queries::new((0..questions.len()).step_by(2).map(of).collect());
        let mut found = 0;
        for question in &questions {
            for at in question.char_indices().map(|(at, _)| at) {
                let text = format!("{}{}", &question[..at], &question[at..].replacen(['a', 'e', 'n', 't'], "xyz", 2));
                let own = Shingles::of(&text);
                let near = (0..questions.len()).step_by(2).map(of).filter(|(query, _)| query.jaccard(&own) >= LEAST);
                let expected = near.map(|(_, benchmark)| benchmark).min();
                assert_eq!(queries.nearly(&text), expected, "{text}");
                found += usize::from(expected.is_some());
            }
        }
        assert!(found > 20, "{found}");
    }

    #[test]
    fn a_share_that_is_met_exactly_is_enough() {
        assert_eq!([0, 1, 2, 5, 10, 40].map(prefix), [0, 1, 1, 2, 4, 13]);
        let queries = Queries::new(vec![(Shingles::of("abcdefghijklmn"), 3)]);
        // Seven of ten sequences.
        assert_eq!(queries.nearly("abcdefghijk"), Some(3));
        assert_eq!(queries.nearly("abcdefghij"), None);
        assert_eq!(queries.nearly("…"), None);
        assert_eq!(Queries::default().nearly("abcdefghijklmn"), None);
    }
}
