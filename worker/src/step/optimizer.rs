//! AdamW (Loshchilov and Hutter, 2019) over the flat buffers, as torch.optim.AdamW computes it.
//!
//! A rank may keep the state of its parts of the buffers only (`optimizer.shard_state`) and then updates no other weights. The
//! weights are the same bits either way: every number of the update comes from its own element's alone, wherever in a tensor that
//! lies, and the gradient's norm is put together from the same parts in the same order.

use std::ops::Range;

use tch::{Kind, Tensor};
use tercet_cluster::{Collective, CollectiveError};
use tercet_configs::OptimizerSection;

use crate::model::Parameters;
use crate::ops::cpu::adamw::Update;
use crate::ops::cpu::{self, elements, elements_mut};
use crate::step::reduce::{buckets, gather_weights, parts};
use crate::tensors::exchange::InPlace;

/// Elements updated at a time: bounds the temporaries.
const CHUNK: i64 = 1 << 22;

/// Running means and the count of updates.
pub struct AdamW {
    /// Running mean of gradients, `[N]`; of a sharded state this rank's parts, one after the other.
    pub mean: Tensor,
    /// Running mean of squared gradients, likewise.
    pub square: Tensor,
    /// Updates made.
    pub updates: u64,
    /// The elements of the flat buffers that the state is of.
    kept: Vec<Range<i64>>,
}

impl AdamW {
    /// Zero state for `parameters`.
    #[allow(clippy::single_range_in_vec_init, reason = "one range of elements")]
    pub fn new(parameters: &Parameters) -> Self {
        let (mean, square) = (parameters.flat.zeros_like(), parameters.flat.zeros_like());
        Self { mean, square, updates: 0, kept: vec![0..parameters.numel()] }
    }

    /// Of this whole state the part that a rank keeps.
    pub fn shard(self, ranks: &dyn Collective, parameters: &Parameters) -> Self {
        let kept = own_parts(ranks, parameters);
        let pick = |flat: &Tensor| {
            let parts: Vec<Tensor> = kept.iter().map(|part| narrow(flat, part)).collect();
            Tensor::cat(&parts, 0)
        };
        Self { mean: pick(&self.mean), square: pick(&self.square), updates: self.updates, kept }
    }

    /// The whole of a sharded state, on rank 0. Every rank calls it.
    ///
    /// # Errors
    /// A collective that failed.
    pub fn gather(&self, ranks: &dyn Collective, parameters: &Parameters) -> Result<Option<Self>, CollectiveError> {
        let mut whole = (ranks.rank() == 0).then(|| Self::new(parameters));
        let mut at = 0;
        for (bucket, own) in buckets(parameters).into_iter().zip(&self.kept) {
            let moments = [(&self.mean, 0), (&self.square, 1)];
            for (moment, which) in moments {
                let values = Tensor::zeros([bucket.end - bucket.start], (moment.kind(), moment.device()));
                let len = own.end - own.start;
                values.narrow(0, own.start - bucket.start, len).copy_(&moment.narrow(0, at, len));
                InPlace::gather_parts(ranks, values.shallow_clone())?.wait()?;
                if let Some(whole) = &mut whole {
                    narrow([&whole.mean, &whole.square][which], &bucket).copy_(&values);
                }
            }
            at += own.end - own.start;
        }
        Ok(whole.map(|whole| Self { updates: self.updates, ..whole }))
    }

    /// One update of all weights with the gradient that is in the flat buffer. Every rank calls it; with
    /// `settings.shard_state` each updates the weights whose state it keeps, and gets the others from their ranks.
    ///
    /// # Errors
    /// A collective that failed.
    pub fn update(
        &mut self,
        ranks: &dyn Collective,
        parameters: &Parameters,
        settings: &OptimizerSection,
        learning_rate: f64,
    ) -> Result<(), CollectiveError> {
        let _guard = tch::no_grad_guard();
        self.updates += 1;
        let (b1, b2) = (settings.beta1, settings.beta2);
        let correction1 = 1.0 - b1.powf(self.updates as f64);
        let correction2 = 1.0 - b2.powf(self.updates as f64);
        let gradient = parameters.flat_grad();
        let decayed = parameters.num_decayed();
        let rates = [learning_rate / correction1, correction2.sqrt()];
        let mut at = 0;
        for chunk in self.kept.iter().flat_map(|kept| chunks(kept, decayed)) {
            let len = chunk.end - chunk.start;
            let kept = if chunk.start < decayed { 1.0 - learning_rate * settings.weight_decay } else { 1.0 };
            let moments = [&self.mean, &self.square].map(|moment| moment.narrow(0, at, len));
            update_chunk(narrow(&parameters.flat, &chunk), narrow(&gradient, &chunk), moments, kept, rates, settings);
            at += len;
        }
        if settings.shard_state { gather_weights(ranks, parameters) } else { Ok(()) }
    }
}

/// Updates some weights and their moments; `kept` is what weight decay leaves of a weight, and the step is the first of `rates`
/// times the mean over the root of the square, that being divided by the second.
fn update_chunk(
    mut weight: Tensor,
    gradient: Tensor,
    [mut mean, mut square]: [Tensor; 2],
    kept: f64,
    [rate, root]: [f64; 2],
    settings: &OptimizerSection,
) {
    let (b1, b2) = (settings.beta1, settings.beta2);
    if cpu::serve(&weight) {
        let update = Update {
            kept: kept as f32,
            fresh: [1.0 - b1, 1.0 - b2].map(|fresh| fresh as f32),
            rate: rate as f32,
            scale: (1.0 / root) as f32,
            epsilon: settings.epsilon as f32,
        };
        let moments = [elements_mut(&mut mean), elements_mut(&mut square)];
        return update.apply(elements_mut(&mut weight), elements(&gradient), moments);
    }
    let _ = weight.g_mul_scalar_(kept);
    let _ = mean.lerp_(&gradient, 1.0 - b1);
    let _ = square.g_mul_scalar_(b2).g_add_(&(&gradient * &gradient * (1.0 - b2)));
    let denominator = square.sqrt() / root + settings.epsilon;
    let _ = weight.g_sub_(&(mean / denominator * rate));
}

/// The elements whose state this rank keeps: a part of every bucket, in the buckets' order.
fn own_parts(ranks: &dyn Collective, parameters: &Parameters) -> Vec<Range<i64>> {
    let own = |bucket: &Range<i64>| parts(bucket, ranks.world_size()).swap_remove(ranks.rank());
    buckets(parameters).iter().map(own).collect()
}

/// `elements` in pieces that are updated at a time, each on one side of where weight decay ends.
fn chunks(elements: &Range<i64>, decayed: i64) -> impl Iterator<Item = Range<i64>> + use<> {
    let boundary = decayed.clamp(elements.start, elements.end);
    let cut = |from: i64, to: i64| (from..to).step_by(CHUNK as usize).map(move |start| start..(start + CHUNK).min(to));
    cut(elements.start, boundary).chain(cut(boundary, elements.end))
}

fn narrow(flat: &Tensor, elements: &Range<i64>) -> Tensor {
    flat.narrow(0, elements.start, elements.end - elements.start)
}

/// The gradient's global norm; scales the gradient down to `settings.max_grad_norm` if it is larger (0: never). Every
/// rank calls it; with `settings.shard_state` each knows the gradient of its parts only.
///
/// As torch's clip_grad_norm_, 1e-6 keeps the quotient finite.
///
/// # Errors
/// A collective that failed.
pub fn clip_grad_norm(
    ranks: &dyn Collective,
    parameters: &Parameters,
    settings: &OptimizerSection,
) -> Result<f64, CollectiveError> {
    let _guard = tch::no_grad_guard();
    let norm = grad_norm(ranks, parameters, settings.shard_state)?;
    let max_norm = settings.max_grad_norm;
    let scale = max_norm / (norm + 1e-6);
    if max_norm > 0.0 && scale < 1.0 {
        let _ = parameters.flat_grad().g_mul_scalar_(scale);
    }
    Ok(norm)
}

/// From the norms of all parts, added up rank by rank.
fn grad_norm(ranks: &dyn Collective, parameters: &Parameters, sharded: bool) -> Result<f64, CollectiveError> {
    let (buckets, world_size) = (buckets(parameters), ranks.world_size());
    let gradient = parameters.flat_grad();
    let norms_of = |rank: usize| {
        let norms: Vec<Tensor> =
            buckets.iter().map(|bucket| narrow(&gradient, &parts(bucket, world_size)[rank]).norm()).collect();
        Vec::<f64>::try_from(Tensor::stack(&norms, 0).to_kind(Kind::Double)).expect("one number a bucket")
    };
    let norms = if sharded {
        let mut all = vec![0.0; world_size * buckets.len()];
        let own = norms_of(ranks.rank());
        ranks.all_gather(own[..].into(), all.as_mut_slice().into(), &vec![buckets.len(); world_size])?;
        all
    } else {
        (0..world_size).flat_map(norms_of).collect()
    };
    Ok(norms.iter().map(|norm| norm * norm).sum::<f64>().sqrt())
}

/// The learning rate of optimizer step `step` (from 0) of `steps`: a linear rise over the warm-up, then a linear fall
/// that would reach 0 at `steps`. The first step already moves (rate peak / warm-up).
pub fn learning_rate(settings: &OptimizerSection, step: u64, steps: u64) -> f64 {
    let warmup = (steps as f64 * settings.warmup_ratio).ceil();
    let rise = if warmup > 0.0 { (step + 1) as f64 / warmup } else { 1.0 };
    let fall =
        if settings.linear_decay { (steps - step.min(steps)) as f64 / (steps as f64 - warmup).max(1.0) } else { 1.0 };
    settings.learning_rate * rise.min(fall).min(1.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chunks_lie_on_one_side_of_where_decay_ends() {
        let all = |elements, decayed| chunks(&elements, decayed).collect::<Vec<_>>();
        assert_eq!(all(0..CHUNK + 5, 3), [0..3, 3..CHUNK + 3, CHUNK + 3..CHUNK + 5]);
        assert_eq!(all(7..9, 20), all(7..9, 0));
        assert_eq!(all(4..4, 4), []);
    }

    #[test]
    fn the_rate_rises_peaks_and_falls() {
        let settings = OptimizerSection { learning_rate: 1.0, warmup_ratio: 0.2, ..Default::default() };
        let rates: Vec<f64> = (0..10).map(|s| learning_rate(&settings, s, 10)).collect();
        assert_eq!(&rates[..3], [0.5, 1.0, 1.0]);
        assert_eq!(rates[9], 0.125);
        assert!(rates[2..].is_sorted_by(|a, b| a >= b));
    }
}
