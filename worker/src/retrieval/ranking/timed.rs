//! How long the parts of a search take, for `search --dry-run`.

use std::collections::BTreeMap;
use std::time::Instant;

use tercet_cluster::ReduceOp;
use tercet_protocol::args::Ranking;

use super::engine::Search;
use super::merge::merged;
use super::queries::{Query, Vectors};
use super::{FIRST, made_of};

/// Seconds, on the slowest rank.
#[derive(Debug)]
pub struct Times {
    /// Encoding the queries.
    pub encode: f64,
    /// Going through all passages by a head.
    pub first: Vec<(Ranking, f64)>,
    /// Encoding candidates again and scoring them; none if no ranking wants it.
    pub again: Option<f64>,
    /// Candidates.
    pub candidates: usize,
}

impl Search<'_> {
    /// Searches as [`rank`](Self::rank) does, part by part, and throws the lists away. Every rank calls it.
    ///
    /// # Errors
    /// As there.
    pub fn time(&self, queries: &[Query], rankings: &[Ranking]) -> anyhow::Result<Times> {
        let again = rankings.iter().any(|ranking| ranking.encodes_again());
        let (vectors, encode) = self.timed(|| Vectors::of(self, queries, again))?;
        let needed = |ranking: &Ranking| rankings.iter().any(|other| made_of(*other).contains(ranking));
        let (mut first, mut dense) = (Vec::new(), Vec::new());
        for ranking in FIRST.into_iter().filter(needed) {
            let (lists, secs) =
                self.timed(|| Ok(self.search_own(&vectors, queries, FIRST.map(|other| other == ranking))))?;
            first.push((ranking, secs));
            if ranking == Ranking::Dense {
                let [found, ..] = lists;
                dense = merged(self, found, self.lists.top)?;
            }
        }
        let candidates: std::collections::BTreeSet<u32> =
            dense.iter().flat_map(|list| list.iter().take(self.lists.rerank)).map(|hit| hit.doc).collect();
        let again = match again {
            true => Some(self.timed(|| self.encode_again(&vectors, &dense))?.1),
            false => None,
        };
        let candidates = if again.is_some() { candidates.len() } else { 0 };
        Ok(Times { encode, first, again, candidates })
    }

    /// What `part` gives, and how long it takes the slowest rank.
    fn timed<T>(&self, part: impl FnOnce() -> anyhow::Result<T>) -> anyhow::Result<(T, f64)> {
        self.ranks.barrier()?;
        let started = Instant::now();
        let result = part()?;
        let mut secs = [started.elapsed().as_secs_f64()];
        self.ranks.all_reduce(secs.as_mut_slice().into(), ReduceOp::Max)?;
        Ok((result, secs[0]))
    }
}

impl Times {
    /// By a ranking's name.
    pub fn first_by_name(&self) -> BTreeMap<String, f64> {
        self.first.iter().map(|(ranking, secs)| (ranking.name(), *secs)).collect()
    }
}
