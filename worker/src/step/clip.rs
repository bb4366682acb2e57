//! The gradient's global norm, and clipping by it.
//!
//! The norm is summed from the norms of the same parts in the same order, whether the ranks hold the whole gradient or
//! their own parts of it, so it has the same bits either way.

use tch::Tensor;
use tercet_cluster::{Collective, CollectiveError};
use tercet_configs::OptimizerSection;

use crate::model::Parameters;
use crate::step::reduce::{buckets, narrow, parts};
use crate::tensors::libtorch::norms;

/// Returns the gradient's global norm, and scales the gradient down to `settings.max_grad_norm` if the norm is larger
/// (0: never). Every rank calls it, and holds at least the summed gradient of its own parts.
///
/// As in torch's clip_grad_norm_, 1e-6 keeps the quotient finite.
///
/// # Errors
/// A collective that failed.
pub fn clip_grad_norm(
    ranks: &dyn Collective,
    parameters: &Parameters,
    settings: &OptimizerSection,
) -> Result<f64, CollectiveError> {
    let _guard = tch::no_grad_guard();
    let norm = grad_norm(ranks, parameters)?;
    let max_norm = settings.max_grad_norm;
    let scale = max_norm / (norm + 1e-6);
    if max_norm > 0.0 && scale < 1.0 {
        let _ = parameters.flat_grad().g_mul_scalar_(scale);
    }
    Ok(norm)
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
