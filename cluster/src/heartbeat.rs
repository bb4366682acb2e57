//! What this process is doing, for its observers: the training thread writes one word of memory at every change, and a
//! reporting thread reads it. A change costs one store and one look at the clock; no thread waits for another.
//!
//! A process is one rank, so there is one such word.

use std::sync::LazyLock;
use std::sync::atomic::{AtomicU16, AtomicU64, Ordering};
use std::time::Instant;

/// What a rank can be doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Doing {
    /// Before the first step.
    Starting,
    /// Its own part of a step.
    Computing,
    /// Waiting for its rows.
    ReadingBatch,
    /// Waiting for a checkpoint to be copied or written.
    WritingCheckpoint,
    /// Waiting until its own GPU has done what it was asked for.
    WaitingForGpu,
    /// In a collective, like all that follow.
    AllReduce,
    /// The first half of an all-reduce.
    ReduceScatter,
    /// Collecting all ranks' parts.
    AllGather,
    /// Taking over one rank's values.
    Broadcast,
    /// Passing a block on in the ring.
    RingExchange,
    /// Waiting until all ranks have come as far.
    Barrier,
}

const ALL: [Doing; 11] = [
    Doing::Starting,
    Doing::Computing,
    Doing::ReadingBatch,
    Doing::WritingCheckpoint,
    Doing::WaitingForGpu,
    Doing::AllReduce,
    Doing::ReduceScatter,
    Doing::AllGather,
    Doing::Broadcast,
    Doing::RingExchange,
    Doing::Barrier,
];

impl Doing {
    /// Whether it waits for other ranks; such a rank does not hold the run up.
    pub fn waits(self) -> bool {
        self as u8 >= Self::AllReduce as u8
    }

    /// In words.
    pub fn name(self) -> &'static str {
        match self {
            Self::Starting => "starting",
            Self::Computing => "computing",
            Self::ReadingBatch => "reading batch",
            Self::WritingCheckpoint => "writing a checkpoint",
            Self::WaitingForGpu => "waiting for its GPU",
            Self::AllReduce => "all-reduce",
            Self::ReduceScatter => "reduce-scatter",
            Self::AllGather => "all-gather",
            Self::Broadcast => "broadcast",
            Self::RingExchange => "ring exchange",
            Self::Barrier => "barrier",
        }
    }
}

/// What a rank was doing when it was observed.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Moment {
    /// The operation.
    pub doing: Doing,
    /// The bucket of the gradient or the weights that it handles, from 1.
    pub bucket: Option<u16>,
    /// Seconds without any change.
    pub secs: f64,
}

/// `Doing` is in bits 0 to 7, the bucket in 8 to 23 (0: none), the milliseconds in 24 to 63.
struct Activity {
    word: AtomicU64,
    bucket: AtomicU16,
}

static OWN: Activity = Activity { word: AtomicU64::new(0), bucket: AtomicU16::new(0) };
static BEGAN: LazyLock<Instant> = LazyLock::new(Instant::now);

impl Activity {
    fn set(&self, doing: Doing, bucket: u16, millis: u64) {
        self.word.store(u64::from(doing as u8) | u64::from(bucket) << 8 | millis << 24, Ordering::Relaxed);
    }

    /// The operation, its bucket, and when it began.
    fn get(&self) -> (Doing, u16, u64) {
        let word = self.word.load(Ordering::Relaxed);
        (ALL[(word & 0xff) as usize], (word >> 8) as u16, word >> 24)
    }
}

fn millis() -> u64 {
    BEGAN.elapsed().as_millis() as u64
}

/// Records that this process is now `doing`.
pub fn begin(doing: Doing) {
    OWN.set(doing, OWN.bucket.load(Ordering::Relaxed), millis());
}

/// Records that the same operation makes progress.
pub fn touch() {
    begin(OWN.get().0);
}

/// Records what was recorded before, when it is dropped.
struct Restored(Doing);

impl Drop for Restored {
    fn drop(&mut self) {
        begin(self.0);
    }
}

/// Does `work` as `doing`, and restores what was recorded before, also where `work` panics.
pub fn during<T>(doing: Doing, work: impl FnOnce() -> T) -> T {
    let _before = Restored(OWN.get().0);
    begin(doing);
    work()
}

/// Does `work`, whose collectives handle bucket `bucket`, counted from 1.
pub fn with_bucket<T>(bucket: usize, work: impl FnOnce() -> T) -> T {
    OWN.bucket.store(u16::try_from(bucket).unwrap_or(u16::MAX), Ordering::Relaxed);
    let result = work();
    OWN.bucket.store(0, Ordering::Relaxed);
    result
}

/// What this process is doing now.
pub fn now() -> Moment {
    let (doing, bucket, since) = OWN.get();
    Moment { doing, bucket: (bucket > 0).then_some(bucket), secs: millis().saturating_sub(since) as f64 / 1e3 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_holds_everything() {
        let own = Activity { word: AtomicU64::new(0), bucket: AtomicU16::new(0) };
        for (i, doing) in ALL.into_iter().enumerate() {
            assert_eq!(doing as usize, i);
            let ten_years = 10 * 366 * 86_400_000;
            own.set(doing, u16::MAX - 1, ten_years);
            assert_eq!(own.get(), (doing, u16::MAX - 1, ten_years));
        }
    }

    #[test]
    fn only_collectives_wait_for_others() {
        let waiting: Vec<_> = ALL.into_iter().filter(|doing| doing.waits()).map(Doing::name).collect();
        assert_eq!(waiting, ["all-reduce", "reduce-scatter", "all-gather", "broadcast", "ring exchange", "barrier"]);
    }
}
