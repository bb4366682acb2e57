//! The gradient's sum over ranks, in buckets that leave while the rest is still computed.
//!
//! The flat gradient is cut into buckets, from the end of the weights that decay to their beginning: the order in which
//! backward finishes them, heads first and embedding tables last. Biases and layer norms, which lie behind and belong to
//! all layers, are the last buckets; they are small. Buckets start in this order on every rank, whatever a rank's
//! sub-batches are and whether it has any, so the ranks are in step.

use std::collections::VecDeque;
use std::ops::Range;

use tch::Tensor;
use tercet_cluster::{Collective, CollectiveError};

use crate::exchange::Sum;
use crate::model::Parameters;

/// Size of a bucket. What a rank sends to one other of a hundred, a hundredth of it, is still a message long enough for a
/// network's full rate, and a large model's layer makes two buckets.
const BUCKET_BYTES: usize = 25 << 20;

/// Buckets under way at most: each has as many bytes again, of other ranks' values as they arrive.
const MAX_UNDER_WAY: usize = 4;

/// The sum of one step's gradient over all ranks. Every rank makes one and finishes it.
pub struct GradientReducer<'a> {
    ranks: &'a dyn Collective,
    /// `[N]`.
    gradient: Tensor,
    /// Buckets that have not started, in their order.
    waiting: VecDeque<Range<i64>>,
    /// Started and not yet waited for, in the same order.
    under_way: VecDeque<Sum<'a>>,
    num_decayed: i64,
    /// Elements from here to `num_decayed` are final.
    final_from: i64,
}

impl<'a> GradientReducer<'a> {
    /// Starts nothing yet.
    pub fn new(ranks: &'a dyn Collective, parameters: &Parameters) -> Self {
        let gradient = parameters.flat_grad();
        let bucket_len = BUCKET_BYTES / gradient.kind().elt_size_in_bytes();
        Self::with_buckets_of(bucket_len as i64, ranks, gradient, parameters.num_decayed())
    }

    fn with_buckets_of(len: i64, ranks: &'a dyn Collective, gradient: Tensor, num_decayed: i64) -> Self {
        let waiting = buckets(len, num_decayed, gradient.size()[0]).into();
        Self { ranks, gradient, waiting, under_way: VecDeque::new(), num_decayed, final_from: num_decayed }
    }

    /// From here on no gradient is added to any weight that decays and lies at `first` or behind it
    /// ([`Parameters::first_of`]); starts the buckets that are complete by that. Until the reducer is finished nobody
    /// reads or writes those gradients.
    ///
    /// # Errors
    /// A collective that failed.
    pub fn final_from(&mut self, first: i64) -> Result<(), CollectiveError> {
        self.final_from = self.final_from.min(first);
        self.poll()
    }

    /// Lets the buckets that are under way move on, and starts what they had kept waiting.
    ///
    /// # Errors
    /// A collective that failed.
    pub fn poll(&mut self) -> Result<(), CollectiveError> {
        self.under_way.iter_mut().for_each(|sum| {
            sum.poll();
        });
        while self.under_way.front_mut().is_some_and(Sum::poll) {
            self.settle_first()?;
        }
        while self.under_way.len() < MAX_UNDER_WAY && self.waiting.front().is_some_and(|b| self.is_final(b)) {
            self.start_next()?;
        }
        Ok(())
    }

    /// Sums what is left; returns when every rank's gradient is the sum of all ranks'.
    ///
    /// # Errors
    /// A collective that failed.
    pub fn finish(mut self) -> Result<(), CollectiveError> {
        while !self.waiting.is_empty() || !self.under_way.is_empty() {
            while self.under_way.len() < MAX_UNDER_WAY && !self.waiting.is_empty() {
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
            self.under_way.push_back(Sum::start(self.ranks, values)?);
        }
        Ok(())
    }

    fn settle_first(&mut self) -> Result<(), CollectiveError> {
        self.under_way.pop_front().map_or(Ok(()), Sum::wait)
    }
}

/// The elements of every bucket of at most `len`, in the order in which they start.
fn buckets(len: i64, num_decayed: i64, num_all: i64) -> Vec<Range<i64>> {
    let cut = |from: i64, to: i64| (from..to).step_by(len as usize).map(move |start| start..(start + len).min(to));
    let mut buckets: Vec<Range<i64>> = cut(0, num_decayed).collect();
    buckets.reverse();
    buckets.extend(cut(num_decayed, num_all));
    buckets
}

#[cfg(test)]
mod tests {
    use super::*;
    use tch::{Device, Kind};
    use tercet_cluster::{Counted, Solo};

    #[test]
    fn buckets_go_from_the_last_decayed_weight_to_the_first_and_then_to_the_rest() {
        assert_eq!(buckets(4, 10, 13), [8..10, 4..8, 0..4, 10..13]);
        assert_eq!(buckets(2, 0, 3), [0..2, 2..3]);
        assert_eq!(buckets(4, 0, 0), []);
    }

    #[test]
    fn a_bucket_starts_when_all_of_it_is_final() {
        let ranks = Counted::new(Box::new(Solo::new()));
        let gradient = Tensor::arange(13, (Kind::Float, Device::Cpu));
        let mut reducer = GradientReducer::with_buckets_of(4, &ranks, gradient.shallow_clone(), 10);
        let started = || ranks.take_traffic().all_reduce_bytes / 4;
        reducer.final_from(9).unwrap();
        assert_eq!(started(), 0);
        reducer.final_from(8).unwrap();
        assert_eq!(started(), 2);
        reducer.final_from(9).unwrap();
        reducer.final_from(1).unwrap();
        assert_eq!(started(), 4);
        reducer.finish().unwrap();
        assert_eq!(started(), 7);
        assert_eq!(gradient, Tensor::arange(13, (Kind::Float, Device::Cpu)));
    }

    #[test]
    fn finishing_alone_sums_everything_once() {
        let ranks = Counted::new(Box::new(Solo::new()));
        let gradient = Tensor::zeros([50], (Kind::Double, Device::Cpu));
        GradientReducer::with_buckets_of(3, &ranks, gradient, 40).finish().unwrap();
        assert_eq!(ranks.take_traffic().all_reduce_bytes, 50 * 8);
    }
}
