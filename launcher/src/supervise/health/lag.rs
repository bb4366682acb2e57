//! A rank that all others wait for, nearly all the time.

use std::time::Duration;

use tercet_protocol::says::Beat;

/// The number of looks, one a second, that are counted together. A rank that is the only one at work in [`LAG_LOOKS`]
/// of them is called slow.
const LOOKS: u32 = 60;
const LAG_LOOKS: u32 = 54;

/// How often each rank was the only one at work.
#[derive(Debug)]
pub struct Lag {
    looks: u32,
    looked_at: Duration,
    /// In how many of the looks, by rank.
    alone: Vec<u32>,
}

impl Lag {
    /// Looks after `world_size` ranks.
    pub fn new(world_size: usize) -> Self {
        Self { looks: 0, looked_at: Duration::ZERO, alone: vec![0; world_size] }
    }

    /// Looks at the last signs of life of all ranks that gave one, once a second of `now`. After [`LOOKS`] looks it
    /// says who is slow, if somebody is, and begins anew.
    pub fn look<'a>(&mut self, now: Duration, beats: impl Iterator<Item = &'a Beat> + Clone) -> Option<String> {
        if now - self.looked_at < Duration::from_secs(1) {
            return None;
        }
        self.looked_at = now;
        // An evaluation shares blocks of a corpus, which are few where it is small.
        if beats.clone().any(|beat| beat.evaluates) {
            return None;
        }
        let mut at_work = beats.clone().filter(|beat| !beat.waits).map(|beat| beat.rank);
        if let (Some(rank), None) = (at_work.next(), at_work.next()) {
            self.alone[rank] += 1;
        }
        self.looks += 1;
        if self.looks < LOOKS {
            return None;
        }
        let none = vec![0; self.alone.len()];
        let alone = std::mem::replace(&mut self.alone, none);
        self.looks = 0;
        let (rank, count) = alone.into_iter().enumerate().max_by_key(|(_, count)| *count)?;
        let Beat { host, phase, .. } = beats.clone().find(|beat| beat.rank == rank)?;
        (count >= LAG_LOOKS).then(|| {
            format!(
                "rank {rank} ({host}) is slow: in {count} of the last {LOOKS} s all others waited for it (now in {phase})"
            )
        })
    }
}
