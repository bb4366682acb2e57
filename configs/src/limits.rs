//! Sizes that the worker computes with and `tercet plan` reckons with: known once, so that a plan is of the program
//! that runs. They bound memory or keep messages long; none of them changes what is computed, but for the order of some
//! sums.

use crate::loss_table::NUM_TERMS;

/// Probabilities of attention that are held at a time, unless one head of a text has more, where no kernel of attention
/// serves.
pub const MOST_PROBABILITIES: usize = 1 << 27;

/// Whether a GPU's flash kernel of attention takes heads of this size, in bfloat16 on cards that have it.
pub fn flash_takes(head_size: usize) -> bool {
    head_size.is_multiple_of(8) && head_size <= 256
}

/// Elements of a tile of scoring at most: winners of query vectors in passages, on the way back, and lexical weights
/// that are laid out over the queries' vocabulary.
pub const TILE_ELEMENTS: usize = 1 << 22;

/// Similarities of a tile of query vectors and passages at most, on a CPU and on a GPU, which wants large products.
pub const SIMILARITY_TILE_ELEMENTS: [usize; 2] = [1 << 22, 1 << 26];

/// Elements of winning vectors that are gathered at a time, where winners were found by rounded vectors.
pub const GATHERED_ELEMENTS: usize = 1 << 26;

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

/// The share of the memory that `memory_budget = "auto"` finds free and takes, on a CPU, which others use as well, and
/// on a GPU, which is the rank's own.
pub const AUTO_SHARE: [f64; 2] = [0.9, 1.0];

/// The share that kept graphs may take where the recipe says nothing of memory, likewise. Others may need the rest, and
/// a GPU's rank may be a guest on somebody's screen.
pub const UNASKED_SHARE: [f64; 2] = [0.5, 0.9];

/// Tokens of the smallest sub-batch that a memory budget tries: larger ones gain nothing, and smaller ones than a text
/// do not exist.
pub const SMALLEST_SUB_BATCH: usize = 512;

/// The part of a budget that stays free on a CPU and on a GPU: what the allocator loses between blocks. Of a GPU's own
/// memory it is all that stays free.
pub const BUDGET_SLACK: [f64; 2] = [0.05, 0.08];

/// Numbers whose sums over ranks make the step's loss: its terms and the whole, 64-bit floats.
pub const LOSS_NUMBERS: usize = NUM_TERMS + 1;

/// The same in pre-training: the loss; of encoder and decoder its part and the share of labels predicted first; and
/// three of a look at what the sentence vector carries, 0 where nobody looks.
pub const PREDICTION_NUMBERS: usize = 8;

/// Labels whose numbers are summed over ranks before the backward pass, 64-bit integers: the encoder's and the
/// decoder's.
pub const LABEL_COUNTS: usize = 2;

/// Probabilities of a tile of the decoder's attention at most, of all its heads together, where libtorch computes it:
/// on a CPU, in float64, and on a GPU, which wants large products.
pub const VISIBLE_TILE_ELEMENTS: [usize; 2] = [1 << 20, 1 << 25];

/// Bytes of a tile of logits, likewise.
const LOGITS_BYTES: [usize; 2] = [64 << 20, 512 << 20];

/// Rows of a tile of logits at least. Every tile adds to the gradient of the whole table of words, which with fewer
/// rows would cost more than the products.
const LOGITS_MIN_ROWS: usize = 128;

/// Rows of a tile of logits over a vocabulary, whose elements have `element_bytes` bytes.
pub fn logits_rows(on_gpu: bool, vocab_size: usize, element_bytes: usize) -> usize {
    (LOGITS_BYTES[usize::from(on_gpu)] / (vocab_size * element_bytes).max(1)).max(LOGITS_MIN_ROWS)
}
