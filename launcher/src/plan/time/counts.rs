//! What an operation of the worker moves and asks for on a GPU in bfloat16: its traffic with the card's memory besides
//! that of products, and the operations that the host launches.
//!
//! Traffic is counted in the sources named below, as elements read or written. Launches are those that the tests on the
//! stand-in device count. A test compares both with `tests/tests/device/limits.txt`: the launches of a layer, a
//! sub-batch, a step and a further rank exactly, a layer's bytes and the launches of further tiles nearly. How a
//! sub-batch's launches divide between the two ways is counted in the sources alone. A change of these operations must
//! change the numbers.

/// Elements that are read or written, for each element that an operation is about.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Moved {
    /// In the encoder's type.
    pub compute: f64,
    /// In the weights' type.
    pub wide: f64,
}

/// Bias, dropout, residual and norm by the kernel: `worker/src/ops/cuda/text/layer_norm.cu`.
pub const NORM: Moved = Moved { compute: 4.0, wide: 0.0 };
/// The same on the way back.
pub const NORM_BACK: Moved = Moved { compute: 4.0, wide: 0.0 };
/// The activation function by the kernel: `worker/src/ops/cuda/text/gelu.cu`.
pub const GELU: Moved = Moved { compute: 2.0, wide: 0.0 };
/// Its gradient, the activations again, the sums of columns.
pub const GELU_BACK: Moved = Moved { compute: 4.0, wide: 0.0 };
/// Gradients of queries, keys and values, put beside each other and summed by columns, for each of the three.
pub const QKV_BACK: Moved = Moved { compute: 3.0, wide: 0.0 };
/// What attention's kernel reads and writes, of the width: `worker/src/ops/attention/flash.rs`.
pub const ATTENTION: Moved = Moved { compute: 4.0, wide: 0.0 };
/// The same on the way back, with the sums of the queries' gradients in float32.
pub const ATTENTION_BACK: Moved = Moved { compute: 8.0, wide: 3.0 };
/// Rows of three tables, their sum, norm and dropout: `worker/src/model/encoder.rs`, `worker/src/ops/embed.rs`.
pub const EMBED: Moved = Moved { compute: 1.0, wide: 13.0 };
/// Norm and dropout, and the sorted sums of rows.
pub const EMBED_BACK: Moved = Moved { compute: 1.0, wide: 18.0 };
/// A token's multi-vector: map, norm, and its place among all: `worker/src/model/heads.rs`.
pub const VECTOR: Moved = Moved { compute: 2.0, wide: 10.0 };
/// The same by autograd.
pub const VECTOR_BACK: Moved = Moved { compute: 2.0, wide: 20.0 };
/// Logits and their softmax: `worker/src/ops/vocabulary.rs`.
pub const LOGITS: Moved = Moved { compute: 0.0, wide: 8.0 };
/// Their gradient.
pub const LOGITS_BACK: Moved = Moved { compute: 3.0, wide: 8.0 };
/// A probability of the decoder's attention: `worker/src/ops/attention/visible.rs`.
pub const VISIBLE: Moved = Moved { compute: 10.0, wide: 0.0 };
/// The same on the way back, where it is computed again.
pub const VISIBLE_BACK: Moved = Moved { compute: 20.0, wide: 0.0 };
/// A similarity of two vectors, besides the product that makes it: `worker/src/scoring/multi_vector.rs`.
pub const SIMILARITY: Moved = Moved { compute: 0.0, wide: 1.0 };
/// A number of a passage's vectors, which are rounded and then padded.
pub const PADDED: Moved = Moved { compute: 3.0, wide: 1.0 };
/// A number of a vector that has won: gathered, and multiplied again.
pub const WON: Moved = Moved { compute: 0.0, wide: 3.0 };
/// The passages' lexical weights, laid out over the queries' vocabulary: `worker/src/scoring/lexical.rs`.
pub const LEXICAL: Moved = Moved { compute: 0.0, wide: 3.0 };
/// The same, and their gradients.
pub const LEXICAL_BACK: Moved = Moved { compute: 0.0, wide: 6.0 };
/// A score of a head in the loss, forward and backward: `worker/src/step/contrastive/loss.rs`.
pub const LOSS: Moved = Moved { compute: 0.0, wide: 30.0 };
/// The same with self-distillation.
pub const LOSS_DISTILLED: Moved = Moved { compute: 0.0, wide: 50.0 };

/// Bytes of a query vector's winner in one passage: found and kept.
pub const WINNER_BYTES: f64 = 40.0;
/// Bytes of the same on the way back: sorted by winner, in int64.
pub const WINNER_BACK_BYTES: f64 = 190.0;

/// Passes over a weight, its gradient and its moments by the kernel: `worker/src/ops/cuda/text/elements.cu`, `adamw`.
/// It clips as well, and writes the encoder's copy.
pub const ADAMW_PASSES: f64 = 7.0;
/// Launches of that, for each range of weights.
pub const ADAMW_LAUNCHES: f64 = 1.0;
/// Passes over the gradient besides: zeroed.
pub const GRADIENT_PASSES: f64 = 1.0;

/// Launches of a layer forward.
pub const LAYER_LAUNCHES: f64 = 8.0;
/// Launches of a layer backward.
pub const LAYER_BACK_LAUNCHES: f64 = 18.0;
/// Launches of a sub-batch besides its layers, forward and backward: 156 together.
pub const SUB_BATCH_LAUNCHES: [f64; 2] = [60.0, 96.0];
/// Launches of a step besides its sub-batches and its update, on one rank.
pub const SCORING_LAUNCHES: f64 = 189.0;
/// Launches for each further rank's passages.
pub const BLOCK_LAUNCHES: f64 = 71.0;
/// Launches of a tile of similarities, forward.
pub const TILE_LAUNCHES: f64 = 10.0;
/// Launches for winning vectors that are gathered at a time.
pub const GATHER_LAUNCHES: f64 = 2.0;

impl Moved {
    /// Bytes for `elements`, in types of these sizes in bytes.
    pub fn bytes(self, elements: f64, [compute, wide]: [usize; 2]) -> f64 {
        elements * (self.compute * compute as f64 + self.wide * wide as f64)
    }
}

#[cfg(test)]
mod tests {
    use tercet_configs::limits::SIMILARITY_TILE_ELEMENTS;

    use super::*;

    /// What the file allows of something, in launches or megabytes.
    fn counted(what: &str, kind: &str) -> f64 {
        let name = format!("{what}: {kind} ");
        let mut lines = include_str!("../../../../tests/tests/device/limits.txt").lines();
        let number = lines.find_map(|line| line.strip_prefix(&name));
        number.unwrap_or_else(|| panic!("limits.txt has no {what}")).parse().unwrap()
    }

    #[test]
    fn launches_are_those_that_are_counted_on_the_stand_in_device() {
        let counted = |what| counted(what, "launch");
        assert_eq!((LAYER_LAUNCHES, LAYER_BACK_LAUNCHES), (counted("layer forward"), counted("layer backward")));
        // Its model has two layers, all of a step's texts go into one sub-batch, and one chunk holds the weights.
        let layers = 2.0 * (LAYER_LAUNCHES + LAYER_BACK_LAUNCHES);
        let sub_batch = layers + SUB_BATCH_LAUNCHES.iter().sum::<f64>();
        assert_eq!(sub_batch, counted("sub-batch"));
        let step = sub_batch + SCORING_LAUNCHES + ADAMW_LAUNCHES;
        assert_eq!(step, counted("step"));
        assert_eq!(2.0 * (step + BLOCK_LAUNCHES), counted("step of two ranks"));
        // Stage 3's has a second tile of similarities, of 48 queries of 19 vectors and 384 passages of 249. The plan
        // takes the part of it that is filled.
        let tiles = 48.0 * 19.0 * 384.0 * 249.0 / SIMILARITY_TILE_ELEMENTS[1] as f64;
        let share = (step + TILE_LAUNCHES * (tiles - 1.0)) / counted("step of stage 3");
        assert!((0.9..=1.0).contains(&share), "{share}");
    }

    /// The plan leaves out what a large width makes small: means and deviations, and the kernels' own sums.
    #[test]
    fn a_layers_bytes_are_nearly_those_that_are_counted() {
        const ELEMENTS: f64 = 16_384.0 * 1024.0;
        let bytes = |moved: Moved| moved.bytes(ELEMENTS, [2, 4]);
        let forward = 2.0 * bytes(NORM) + 4.0 * bytes(GELU);
        let backward = 2.0 * bytes(NORM_BACK) + 4.0 * bytes(GELU_BACK) + 3.0 * bytes(QKV_BACK);
        for (what, bytes) in [("layer forward", forward), ("layer backward", backward)] {
            let share = bytes / 1e6 / counted(what, "megabytes");
            assert!((0.94..=1.0).contains(&share), "{what}: {share}");
        }
    }
}
