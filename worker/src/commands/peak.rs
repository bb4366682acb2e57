//! What a machine could do: the best rates of large matrix products, which `bench` and `measure` set steps against.

use std::time::Instant;

use tch::{Device, Kind, Tensor};
use tercet_cluster::{Collective, CollectiveError, ReduceOp};
use tercet_configs::MatmulLibrary;

use crate::tensors::libtorch::product;

/// Number of products of a shape and a way; the best counts.
const PRODUCTS: usize = 8;

/// The best rates of large products in `kind`, on this rank's threads, as oneDNN does them and as libtorch's `matmul`:
/// of a cube, and of the shape of the encoder's widest map.
pub fn product_flops_per_sec(kind: Kind, device: Device, d: i64) -> [f64; 2] {
    // The time to start a product and to wait for it must not count.
    let cube = if device.is_cuda() { 8192 } else { 2048 };
    let mut best = [0.0f64; 2];
    for [m, k, n] in [[cube; 3], [4096, d, 4 * d]] {
        let (left, right) = (Tensor::randn([m, k], (kind, device)), Tensor::randn([n, k], (kind, device)));
        let ways: [fn(&Tensor, &Tensor) -> Tensor; 2] =
            [|left, right| product(MatmulLibrary::Onednn, left, right), |left, right| left.matmul(right)];
        for (best, way) in best.iter_mut().zip(ways) {
            for _ in 0..PRODUCTS {
                let started = Instant::now();
                let result = way(&left, &right.tr());
                let _ = result.get(0).get(0).to_kind(Kind::Double).double_value(&[]);
                *best = best.max(2.0 * (m * k * n) as f64 / started.elapsed().as_secs_f64());
            }
        }
    }
    best
}

/// The mean over the ranks of each of `rates`. Every rank calls it.
///
/// # Errors
/// A collective that failed.
pub fn ranks_mean(ranks: &dyn Collective, mut rates: [f64; 2]) -> Result<[f64; 2], CollectiveError> {
    ranks.all_reduce(rates.as_mut_slice().into(), ReduceOp::Sum)?;
    Ok(rates.map(|sum| sum / ranks.world_size() as f64))
}
