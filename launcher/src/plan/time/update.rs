//! Clipping and AdamW on a card: traffic with its memory.

use tercet_configs::ModelShape;
use tercet_configs::limits::BUCKET_BYTES;

use super::counts::{ADAMW_LAUNCHES, ADAMW_PASSES, GRADIENT_PASSES};
use super::speed::Speed;
use super::spent::Spent;

/// What a rank of `world_size` spends on it; with `shards_state` it updates its part of the weights.
pub fn update(speed: &Speed, shape: &ModelShape, world_size: usize, shards_state: bool) -> Spent {
    // One range of weights, or with sharded state a part of each bucket; where decay ends one is cut in two.
    let buckets = (shape.num_parameters as f64 * shape.element_bytes as f64 / BUCKET_BYTES as f64).ceil();
    Spent {
        memory: speed.memory(bytes(shape, world_size, shards_state)),
        launches: ADAMW_LAUNCHES * (1.0 + if shards_state { buckets } else { 1.0 }),
        ..Spent::default()
    }
}

/// The bytes that it moves: the gradient zeroed, its norm by parts, weights and moments, and the weights copied to the
/// encoder's type. With sharded state the weights of all ranks are copied when they are together, and are read for it.
pub fn bytes(shape: &ModelShape, world_size: usize, shards_state: bool) -> f64 {
    let [compute, wide] = [shape.compute_bytes, shape.element_bytes].map(|bytes| bytes as f64);
    let ranks = world_size as f64;
    let adamw = ADAMW_PASSES / if shards_state { ranks } else { 1.0 };
    let copied = match compute < wide {
        true if shards_state => wide + compute,
        true => compute,
        false => 0.0,
    };
    shape.num_parameters as f64 * (wide * (GRADIENT_PASSES + 1.0 / ranks + adamw) + copied)
}

#[cfg(test)]
mod tests {
    use tercet_configs::LossPreset;

    use super::*;
    use crate::plan::time::layers::tests::large;
    use crate::plan::time::speed::tests::round;

    #[test]
    fn an_update_of_xlm_roberta_large_by_hand() {
        let (speed, shape) = (round(), large(LossPreset::Dense));
        let weights = shape.num_parameters as f64;
        // A pass, a norm, 7 passes of 4 bytes; 2 for the copy: 38 bytes a weight, 22 GB.
        assert_eq!(bytes(&shape, 1, false), 38.0 * weights);
        let whole = update(&speed, &shape, 1, false);
        assert!((whole.memory - 38.0 * weights / 1e12).abs() < 1e-12 && (0.02..0.03).contains(&whole.memory));
        let shared = update(&speed, &shape, 4, true);
        assert!((shared.memory - (4.0 + 1.0 + 7.0 + 4.0 + 2.0) * weights / 1e12).abs() < 1e-12);
        // 568 million weights of 4 bytes in buckets of 25 MiB.
        assert_eq!([whole.launches, shared.launches], [2.0, 88.0]);
    }
}
