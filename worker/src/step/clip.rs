//! The gradient's global norm, and clipping by it.
//!
//! The norm is put together from the same parts in the same order whether the ranks have the whole gradient or their
//! parts of it, so that it has the same bits.

use tch::{Kind, Tensor};
use tercet_cluster::{Collective, CollectiveError};
use tercet_configs::OptimizerSection;

use crate::model::Parameters;
use crate::step::reduce::{buckets, narrow, parts};

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
