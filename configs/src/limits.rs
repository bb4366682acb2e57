//! Sizes that the worker computes with and `tercet plan` reckons with: known once, so that a plan is of the program
//! that runs. They bound memory or keep messages long; none of them changes what is computed, but for the order of some
//! sums.

use crate::loss_table::NUM_TERMS;

/// Padding's largest share of a group of texts that go through the encoder together on a GPU.
pub const GPU_PADDING: f64 = 0.03;

/// Elements of a tile of scoring at most: similarities of query vectors and passages, and lexical weights that are laid
/// out over the queries' vocabulary.
pub const TILE_ELEMENTS: usize = 1 << 22;

/// Query vectors of a tile of similarities at most.
pub const TILE_QUERY_VECTORS: usize = 1 << 10;

/// Bytes of a bucket of the gradient, which is summed over ranks bucket by bucket. What a rank sends to one other of a
/// hundred, a hundredth of it, is still a message long enough for a network's full rate, and a large model's layer
/// makes two buckets. It is a little more where ranks' parts would else differ in length.
pub const BUCKET_BYTES: usize = 25 << 20;

/// Buckets under way at most, where the host carries them: each has as many bytes again, of other ranks' values as they
/// arrive.
pub const BUCKETS_UNDER_WAY: usize = 4;

/// Elements that AdamW updates at a time where libtorch does it: bounds the temporaries.
pub const UPDATE_CHUNK: usize = 1 << 22;

/// Numbers whose sums over ranks make the step's loss: its terms and the whole, 64-bit floats.
pub const LOSS_NUMBERS: usize = NUM_TERMS + 1;
