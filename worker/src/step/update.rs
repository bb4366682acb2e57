//! AdamW (Loshchilov and Hutter, 2019) over the flat buffers, as torch.optim.AdamW computes it.
//!
//! A rank may keep the state of its parts of the buffers only (`optimizer.shard_state`) and then updates no other
//! weights. The weights have the same bits either way: an element's update depends on that element alone, wherever in a
//! tensor it lies.

use std::ops::Range;

use tch::Tensor;
use tercet_cluster::{Collective, CollectiveError};
use tercet_configs::OptimizerSection;

use crate::model::Parameters;
use crate::ops::adamw::Update;
use crate::step::reduce::{buckets, gather_weights, narrow, parts};
use crate::tensors::exchange::InPlace;

/// Running means and the count of updates.
pub struct AdamW {
    /// Running mean of gradients, `[N]`; of a sharded state this rank's parts, one after the other.
    pub mean: Tensor,
    /// Running mean of squared gradients, likewise.
    pub square: Tensor,
    /// Updates made.
    pub updates: u64,
    /// The elements of the flat buffers that the state covers: all, or a part of every bucket, in the buckets' order.
    own_ranges: Vec<Range<i64>>,
    is_sharded: bool,
}

/// One of the two running means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Moment {
    /// AdamW's running mean of gradients.
    Mean,
    /// AdamW's running mean of squared gradients.
    Square,
}

/// How long a moment's values stay as they were handed out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lasts {
    /// Until the next update: they are the state itself.
    UntilUpdate,
    /// Until the call returns that got them; on a GPU until it has done what the call asked it for.
    Briefly,
}

impl AdamW {
    /// Zero state for `parameters`.
    #[allow(clippy::single_range_in_vec_init, reason = "one range of elements")]
    pub fn new(parameters: &Parameters) -> Self {
        let (mean, square) = (parameters.flat.zeros_like(), parameters.flat.zeros_like());
        Self { mean, square, updates: 0, own_ranges: vec![0..parameters.numel()], is_sharded: false }
    }

    /// Zero state of what this rank keeps: with `settings.shard_state` of its parts, and no more is ever made.
    pub fn of(settings: &OptimizerSection, parameters: &Parameters, ranks: &dyn Collective) -> Self {
        if !settings.shard_state {
            return Self::new(parameters);
        }
        let own_ranges = own_parts(ranks, parameters);
        let len: i64 = own_ranges.iter().map(|own| own.end - own.start).sum();
        let zeros = || Tensor::zeros([len], (parameters.flat.kind(), parameters.flat.device()));
        Self { mean: zeros(), square: zeros(), updates: 0, own_ranges, is_sharded: true }
    }

    /// Copies the moments, mean and square, of the elements of the flat buffers from `start` on into the state. A
    /// sharded state takes only those that this rank keeps.
    pub fn put(&mut self, start: i64, moments: [&Tensor; 2]) {
        let _guard = tch::no_grad_guard();
        let moments = moments.map(|values| values.flatten(0, -1));
        let end = start + moments[0].size()[0];
        let mut at = 0;
        for own in &self.own_ranges {
            let (from, to) = (own.start.max(start), own.end.min(end));
            if from < to {
                for (state, values) in [&self.mean, &self.square].into_iter().zip(&moments) {
                    let part = values.narrow(0, from - start, to - from);
                    state.narrow(0, at + from - own.start, to - from).copy_(&part);
                }
            }
            at += own.end - own.start;
        }
    }

    /// Hands the moments of all elements to `take` on rank 0, piece by piece: each piece with the offset of its first
    /// element in the flat buffers. Every rank calls it, between steps, when nobody needs the gradient any more.
    ///
    /// A sharded state comes bucket by bucket. The flat gradient, which the next step zeroes, gives the room and is
    /// overwritten, so the device holds no more than during a step.
    ///
    /// # Errors
    /// A collective that failed.
    pub fn gather(
        &self,
        ranks: &dyn Collective,
        parameters: &Parameters,
        mut take: impl FnMut(Moment, i64, &Tensor, Lasts),
    ) -> Result<(), CollectiveError> {
        let moments = [(Moment::Mean, &self.mean), (Moment::Square, &self.square)];
        if !self.is_sharded {
            if ranks.rank() == 0 {
                moments.iter().for_each(|(moment, values)| take(*moment, 0, values, Lasts::UntilUpdate));
            }
            return Ok(());
        }
        let _guard = tch::no_grad_guard();
        let mut at = 0;
        for (bucket, own) in buckets(parameters, ranks.world_size()).into_iter().zip(&self.own_ranges) {
            let (room, len) = (narrow(&parameters.flat_grad(), &bucket), own.end - own.start);
            for (moment, state) in moments {
                room.narrow(0, own.start - bucket.start, len).copy_(&state.narrow(0, at, len));
                InPlace::gather_parts(ranks, room.shallow_clone())?.wait()?;
                if ranks.rank() == 0 {
                    take(moment, bucket.start, &room, Lasts::Briefly);
                }
            }
            at += len;
        }
        Ok(())
    }

    /// One update of all weights with `clip` times the gradient in the flat buffer; the encoder's copy of the weights
    /// follows. Every rank calls it; with `settings.shard_state` each updates the weights whose state it keeps, and
    /// gets the others from their ranks.
    ///
    /// # Errors
    /// A collective that failed.
    pub fn update(
        &mut self,
        ranks: &dyn Collective,
        parameters: &Parameters,
        settings: &OptimizerSection,
        learning_rate: f64,
        clip: f64,
    ) -> Result<(), CollectiveError> {
        let _guard = tch::no_grad_guard();
        self.updates += 1;
        let (b1, b2) = (settings.beta1, settings.beta2);
        let correction1 = 1.0 - b1.powf(self.updates as f64);
        let correction2 = 1.0 - b2.powf(self.updates as f64);
        let gradient = parameters.flat_grad();
        let decayed = parameters.num_decayed();
        // The other ranks' weights of a sharded state are yet to come.
        let copy = parameters.copy().filter(|_| !self.is_sharded);
        let mut at = 0;
        for chunk in self.own_ranges.iter().flat_map(|range| cut(range, decayed)) {
            let len = chunk.end - chunk.start;
            let update = Update {
                clip,
                kept: if chunk.start < decayed { 1.0 - learning_rate * settings.weight_decay } else { 1.0 },
                betas: [b1, b2],
                rate: learning_rate / correction1,
                root: correction2.sqrt(),
                epsilon: settings.epsilon,
            };
            let mut moments = [&self.mean, &self.square].map(|moment| moment.narrow(0, at, len));
            let mut weights = narrow(&parameters.flat, &chunk);
            let mut copy = copy.map(|copy| narrow(copy, &chunk));
            update.apply(&mut weights, &narrow(&gradient, &chunk), moments.each_mut(), copy.as_mut());
            at += len;
        }
        if self.is_sharded {
            gather_weights(ranks, parameters)?;
            parameters.refresh();
        }
        Ok(())
    }
}

/// The elements whose state this rank keeps: a part of every bucket, in the buckets' order.
fn own_parts(ranks: &dyn Collective, parameters: &Parameters) -> Vec<Range<i64>> {
    let (rank, world_size) = (ranks.rank(), ranks.world_size());
    let own = |bucket: &Range<i64>| parts(bucket, world_size).swap_remove(rank);
    buckets(parameters, world_size).iter().map(own).collect()
}

/// `elements` cut where weight decay ends, without empty parts.
fn cut(elements: &Range<i64>, decayed: i64) -> impl Iterator<Item = Range<i64>> + use<> {
    let boundary = decayed.clamp(elements.start, elements.end);
    [elements.start..boundary, boundary..elements.end].into_iter().filter(|part| !part.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[allow(clippy::single_range_in_vec_init, reason = "one range of elements")]
    fn a_sharded_state_takes_over_its_parts_and_nothing_else() {
        let values = Tensor::arange(10, (tch::Kind::Float, tch::Device::Cpu)) + 1.0;
        let empty = |len: i64| Tensor::zeros([len], (tch::Kind::Float, tch::Device::Cpu));
        for own_ranges in [vec![0..10], vec![2..4, 7..9], vec![0..1, 3..3, 5..10]] {
            let len = own_ranges.iter().map(|own| own.end - own.start).sum();
            let (mean, square, own_ranges) = (empty(len), empty(len), own_ranges.clone());
            let mut state = AdamW { mean, square, updates: 0, own_ranges, is_sharded: true };
            // Three parameters, whose borders lie elsewhere.
            for part in [0..3, 3..8, 8..10] {
                let own = narrow(&values, &part);
                state.put(part.start, [&own, &(&own * 2.0)]);
            }
            let parts: Vec<Tensor> = state.own_ranges.iter().map(|own| narrow(&values, own)).collect();
            let expected = Tensor::cat(&parts, 0);
            assert_eq!(state.mean, expected);
            assert_eq!(state.square, expected * 2.0);
        }
    }

    #[test]
    fn parts_lie_on_one_side_of_where_decay_ends() {
        let all = |elements, decayed| cut(&elements, decayed).collect::<Vec<_>>();
        assert_eq!(all(0..9, 3), [0..3, 3..9]);
        assert_eq!(all(7..9, 20), all(7..9, 0));
        assert_eq!(all(4..4, 4), []);
    }
}
