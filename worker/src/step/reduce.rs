//! The gradient's sum over ranks, in buckets that leave while the rest is still computed.
//!
//! The flat gradient is cut into buckets, from the end of the weights that decay to their beginning: the order in which
//! backward finishes them, heads first and embedding tables last. Biases and layer norms, which lie behind and belong
//! to all layers, are the last buckets; they are small. Buckets start in this order on every rank, whatever a rank's
//! sub-batches are and whether it has any, so the ranks are in step.
//!
//! Every bucket has a part for each rank. These parts are of one length, so that NCCL reduces and gathers them in
//! place, except in the bucket at the end of either kind of weights. Where the optimizer's state is sharded over the
//! ranks (ZeRO-1; Rajbhandari et al., 2020, arXiv 1910.02054), a rank receives the sums of its own parts alone, updates
//! their weights, and then receives the other ranks' weights.

use std::collections::{BTreeSet, VecDeque};
use std::ops::Range;

use tch::Tensor;
use tercet_cluster::{ALIGNED_ELEMENTS, Collective, CollectiveError, heartbeat, part_counts};
use tercet_configs::limits::{BUCKET_BYTES, BUCKETS_UNDER_WAY};

use crate::model::Parameters;
use crate::tensors::exchange::{InPlace, is_carried_on_device};

/// The sum of one step's gradient over all ranks, or of each rank's parts. Every rank makes one and finishes it.
pub struct GradientReducer<'a> {
    ranks: &'a dyn Collective,
    /// `[N]`.
    gradient: Tensor,
    /// Buckets that have not started, in their order.
    waiting: VecDeque<Range<i64>>,
    /// Started and not yet waited for, in the same order.
    under_way: VecDeque<InPlace<'a>>,
    /// Waited for.
    num_settled: usize,
    /// The number of buckets that may be under way.
    most_under_way: usize,
    /// Each rank receives the sums of its own parts only.
    sharded: bool,
    num_decayed: i64,
    /// Elements from here to `num_decayed` are final.
    final_from: i64,
    /// The failure since which nothing is started.
    failed: Option<CollectiveError>,
}

impl<'a> GradientReducer<'a> {
    /// Starts nothing yet. With `sharded` each rank receives the sums of its own parts, and the rest of its gradient is
    /// undefined.
    pub fn new(ranks: &'a dyn Collective, parameters: &Parameters, sharded: bool) -> Self {
        let buckets = buckets(parameters, ranks.world_size());
        Self::with_buckets(buckets, ranks, parameters.flat_grad(), parameters.num_decayed(), sharded)
    }

    fn with_buckets(
        buckets: Vec<Range<i64>>,
        ranks: &'a dyn Collective,
        gradient: Tensor,
        num_decayed: i64,
        sharded: bool,
    ) -> Self {
        let (waiting, under_way) = (buckets.into(), VecDeque::new());
        let (most_under_way, num_settled) = (most_under_way(ranks, &gradient), 0);
        let (final_from, failed) = (num_decayed, None);
        Self {
            ranks,
            gradient,
            waiting,
            under_way,
            num_settled,
            most_under_way,
            sharded,
            num_decayed,
            final_from,
            failed,
        }
    }

    /// Says that the gradients of all decaying weights from `first` on (an offset in the flat buffers) are final, and
    /// starts the buckets that this completes. Nobody reads or writes those gradients until the reducer is finished.
    /// [`finish`](Self::finish) reports a collective that failed.
    pub fn final_from(&mut self, first: i64) {
        self.final_from = self.final_from.min(first);
        if self.failed.is_none() {
            self.failed = self.poll().err();
        }
    }

    /// Advances the buckets under way, and starts those that waited for them.
    fn poll(&mut self) -> Result<(), CollectiveError> {
        self.under_way.iter_mut().for_each(|sum| {
            sum.poll();
        });
        while self.under_way.front_mut().is_some_and(InPlace::poll) {
            self.settle_first()?;
        }
        while self.under_way.len() < self.most_under_way && self.waiting.front().is_some_and(|b| self.is_final(b)) {
            self.start_next()?;
        }
        Ok(())
    }

    /// Sums the remaining buckets; returns when every rank's gradient is the sum of all ranks'.
    ///
    /// # Errors
    /// A collective that failed, now or before.
    pub fn finish(mut self) -> Result<(), CollectiveError> {
        if let Some(error) = self.failed.take() {
            return Err(error);
        }
        while !self.waiting.is_empty() || !self.under_way.is_empty() {
            while self.under_way.len() < self.most_under_way && !self.waiting.is_empty() {
                self.start_next()?;
            }
            self.settle_first()?;
        }
        Ok(())
    }

    fn is_final(&self, bucket: &Range<i64>) -> bool {
        bucket.start >= self.final_from && bucket.end <= self.num_decayed
    }

    /// The collectives read and write one bucket's elements, while backward writes others': buckets do not overlap, and
    /// one starts when no gradient will be added to its elements.
    fn start_next(&mut self) -> Result<(), CollectiveError> {
        if let Some(bucket) = self.waiting.pop_front() {
            let values = self.gradient.narrow(0, bucket.start, bucket.end - bucket.start);
            let start = if self.sharded { InPlace::sum_part } else { InPlace::sum };
            self.under_way.push_back(start(self.ranks, values)?);
        }
        Ok(())
    }

    fn settle_first(&mut self) -> Result<(), CollectiveError> {
        self.num_settled += 1;
        heartbeat::with_bucket(self.num_settled, || self.under_way.pop_front().map_or(Ok(()), InPlace::wait))
    }
}

/// Gives every rank the parts of the weights that the others have updated. Every rank calls it.
///
/// # Errors
/// A collective that failed.
pub fn gather_weights(ranks: &dyn Collective, parameters: &Parameters) -> Result<(), CollectiveError> {
    let mut under_way = VecDeque::new();
    let most_under_way = most_under_way(ranks, &parameters.flat);
    for bucket in buckets(parameters, ranks.world_size()) {
        if under_way.len() == most_under_way {
            under_way.pop_front().map_or(Ok(()), InPlace::wait)?;
        }
        let weights = parameters.flat.narrow(0, bucket.start, bucket.end - bucket.start);
        under_way.push_back(InPlace::gather_parts(ranks, weights)?);
    }
    under_way.into_iter().try_for_each(InPlace::wait)
}

/// The number of buckets of `flat` that may be under way. On the host each needs room for other ranks' values. On a GPU
/// none does, and a bucket started early waits for its gradient in the backend's stream, without the host.
fn most_under_way(ranks: &dyn Collective, flat: &Tensor) -> usize {
    if is_carried_on_device(ranks, flat) { usize::MAX } else { BUCKETS_UNDER_WAY }
}

/// The elements of every bucket, in the order in which they start. None lies on both sides of where weight decay ends.
pub fn buckets(parameters: &Parameters, world_size: usize) -> Vec<Range<i64>> {
    let len = bucket_len(parameters.flat.kind().elt_size_in_bytes(), world_size);
    cut(len as i64, parameters.num_decayed(), parameters.numel())
}

/// The lengths that buckets have, the longest first.
pub fn bucket_lens(parameters: &Parameters, world_size: usize) -> Vec<i64> {
    let lens: BTreeSet<i64> = buckets(parameters, world_size).iter().map(|bucket| bucket.end - bucket.start).collect();
    lens.into_iter().rev().collect()
}

/// A bucket's length in elements: [`BUCKET_BYTES`], rounded up so that the ranks' parts are of one length and begin at
/// multiples of [`ALIGNED_ELEMENTS`].
fn bucket_len(element_bytes: usize, world_size: usize) -> usize {
    (BUCKET_BYTES / element_bytes).next_multiple_of(world_size * ALIGNED_ELEMENTS)
}

/// The ranks' parts of a bucket, in rank order.
pub fn parts(bucket: &Range<i64>, world_size: usize) -> Vec<Range<i64>> {
    let mut end = bucket.start;
    let counts = part_counts((bucket.end - bucket.start) as usize, world_size).into_iter();
    let part = |count| {
        end += count as i64;
        end - count as i64..end
    };
    counts.map(part).collect()
}

/// A view of `elements` of a flat buffer.
pub fn narrow(flat: &Tensor, elements: &Range<i64>) -> Tensor {
    flat.narrow(0, elements.start, elements.end - elements.start)
}

/// As [`buckets`], of at most `len` elements.
fn cut(len: i64, num_decayed: i64, num_all: i64) -> Vec<Range<i64>> {
    let between = |from: i64, to: i64| (from..to).step_by(len as usize).map(move |start| start..(start + len).min(to));
    let mut buckets: Vec<Range<i64>> = between(0, num_decayed).collect();
    buckets.reverse();
    buckets.extend(between(num_decayed, num_all));
    buckets
}

#[cfg(test)]
mod tests {
    use super::*;
    use tch::{Device, Kind};
    use tercet_cluster::{Counted, Solo};

    #[test]
    fn buckets_go_from_the_last_decayed_weight_to_the_first_and_then_to_the_rest() {
        assert_eq!(cut(4, 10, 13), [8..10, 4..8, 0..4, 10..13]);
        assert_eq!(cut(2, 0, 3), [0..2, 2..3]);
        assert_eq!(cut(4, 0, 0), []);
    }

    #[test]
    fn full_buckets_have_parts_of_one_length_on_any_ranks() {
        for world_size in (1..=200).chain([768, 1024]) {
            let len = bucket_len(4, world_size);
            assert!(len.is_multiple_of(world_size * ALIGNED_ELEMENTS) && (len * 4).abs_diff(BUCKET_BYTES) < 1 << 19);
        }
        for world_size in [1, 2, 4, 5, 8, 10, 16, 64, 100, 128] {
            assert_eq!(bucket_len(4, world_size) * 4, BUCKET_BYTES);
        }
    }

    #[test]
    fn a_buckets_parts_follow_each_other() {
        assert_eq!(parts(&(10..15), 3), [10..12, 12..14, 14..15]);
        assert_eq!(parts(&(10..11), 2), [10..11, 11..11]);
    }

    #[test]
    fn a_bucket_starts_when_all_of_it_is_final() {
        let ranks = Counted::new(Box::new(Solo::new()));
        let gradient = Tensor::arange(13, (Kind::Float, Device::Cpu));
        let mut reducer = GradientReducer::with_buckets(cut(4, 10, 13), &ranks, gradient.shallow_clone(), 10, false);
        let started = || ranks.take_traffic().all_reduce_bytes / 4;
        reducer.final_from(9);
        assert_eq!(started(), 0);
        reducer.final_from(8);
        assert_eq!(started(), 2);
        reducer.final_from(9);
        reducer.final_from(1);
        assert_eq!(started(), 4);
        reducer.finish().unwrap();
        assert_eq!(started(), 7);
        assert_eq!(gradient, Tensor::arange(13, (Kind::Float, Device::Cpu)));
    }

    #[test]
    fn finishing_alone_sums_everything_once() {
        let ranks = Counted::new(Box::new(Solo::new()));
        let gradient = Tensor::zeros([50], (Kind::Double, Device::Cpu));
        for sharded in [false, true] {
            let gradient = gradient.shallow_clone();
            GradientReducer::with_buckets(cut(3, 40, 50), &ranks, gradient, 40, sharded).finish().unwrap();
            assert_eq!(ranks.take_traffic().all_reduce_bytes, 50 * 8);
        }
    }
}
