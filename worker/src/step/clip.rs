//! The gradient's global norm, and clipping by it.
//!
//! The norm is summed from the norms of the same parts in the same order, whether the ranks hold the whole gradient or
//! their own parts of it, so it has the same bits either way.

use tch::Tensor;
use tercet_cluster::{Collective, CollectiveError};
use tercet_configs::OptimizerSection;

use crate::model::Parameters;
use crate::ops::norms::norms;
use crate::step::reduce::{buckets, narrow, parts};

/// The gradient's norm, and how it is clipped.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Clip {
    /// The global norm before clipping.
    pub norm: f64,
    /// What the update multiplies the gradient by: at most 1.
    pub factor: f64,
}

/// The gradient's global norm, and the factor that scales the gradient down to `settings.max_grad_norm` if the norm is
/// larger (0: never). The gradient stays as it is. Every rank calls it, and holds at least the summed gradient of its
/// own parts.
///
/// As in torch's clip_grad_norm_, 1e-6 keeps the quotient finite.
///
/// # Errors
/// A collective that failed.
pub fn clip_grad_norm(
    ranks: &dyn Collective,
    parameters: &Parameters,
    settings: &OptimizerSection,
) -> Result<Clip, CollectiveError> {
    let _guard = tch::no_grad_guard();
    let norm = grad_norm(ranks, parameters)?;
    let scale = settings.max_grad_norm / (norm + 1e-6);
    Ok(Clip { norm, factor: if settings.max_grad_norm > 0.0 && scale < 1.0 { scale } else { 1.0 } })
}

/// The global norm, from the norms of all parts, added up rank by rank. Each rank computes the norms of its own parts
/// alone, even where it holds the whole gradient. That shares the work, and the host waits for its device once. All
/// ranks get the same norm to the bit, whatever their devices are.
fn grad_norm(ranks: &dyn Collective, parameters: &Parameters) -> Result<f64, CollectiveError> {
    let (buckets, world_size) = (buckets(parameters, ranks.world_size()), ranks.world_size());
    let gradient = parameters.flat_grad();
    let parts: Vec<Tensor> =
        buckets.iter().map(|bucket| narrow(&gradient, &parts(bucket, world_size)[ranks.rank()])).collect();
    let own = norms(&parts);
    let mut all = vec![0.0; world_size * buckets.len()];
    ranks.all_gather(own[..].into(), all.as_mut_slice().into(), &vec![buckets.len(); world_size])?;
    Ok(all.iter().map(|norm| norm * norm).sum::<f64>().sqrt())
}
