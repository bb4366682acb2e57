//! One rank in one step: what it holds whatever is trained for, and the sizes that phases are made of.
//!
//! Legend: T tokens of a sub-batch, d hidden size, e bytes of an element.

use serde::Serialize;
use tercet_configs::limits::{
    BUCKET_BYTES, BUCKETS_UNDER_WAY, MOST_PROBABILITIES, SIMILARITY_TILE_ELEMENTS, TILE_QUERY_VECTORS, UPDATE_CHUNK,
    flash_takes,
};
use tercet_configs::{Device, ModelShape, Purpose};
use tercet_sampler::BATCHES_AHEAD;

use crate::plan::work::{Encoded, RankLoad};

/// A part of the peak.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Part {
    /// What it is.
    pub name: &'static str,
    /// How much.
    pub bytes: f64,
}

/// A phase of a step, and what it holds beside what is always there.
pub(super) type Phase = (&'static str, Vec<Part>);

/// The part that is no tensors.
pub(super) const PROGRAM: &str = "program and libraries";
pub(super) const UNEVEN_PARTS: &str = "NCCL's room for uneven parts";

/// Program and libraries: on the CPU pages of libtorch, and heap that reading a tokenizer and a model leaves; on a GPU
/// its context.
const PROGRAM_BYTES: [f64; 2] = [225e6, 500e6];

/// MPI's own memory in a rank of several.
const MPI_BYTES: f64 = 10e6;

/// The number of tiles of similarities that a step's scoring has at once, on a CPU and on a GPU: as computed, masked,
/// and what finds the maxima; on a GPU as computed, and then winning vectors that are gathered. The allocator keeps
/// them until the next step.
const SIMILARITY_TILES: [f64; 2] = [5.0, 2.0];

/// An element of a vector that is rounded to find winners by.
const BF16_BYTES: f64 = 2.0;

/// AdamW's temporaries on a GPU where libtorch's operations make the update, each of the elements that it updates at a
/// time.
const UPDATE_TEMPORARIES: f64 = 5.0;

/// Multiprocessors of a large card, by which the flash kernel decides how many sums it makes of a gradient.
const MULTIPROCESSORS: f64 = 132.0;

/// A token id of a batch; a text has its ids, and its distinct ones once more.
const BATCH_TOKEN_BYTES: f64 = 8.0;

/// Bytes per token of the places that a sub-batch's tensors hold for it while it is encoded.
const LAYOUT_TOKEN_BYTES: f64 = 104.0;

/// Bytes of a label: its place and its token, as they are drawn and as a sub-batch has them.
const LABEL_BYTES: f64 = 32.0;

/// One rank in one step.
pub struct RankInStep<'a> {
    /// The model.
    pub shape: &'a ModelShape,
    /// Where it computes.
    pub device: Device,
    /// W.
    pub world_size: usize,
    /// The rank's share.
    pub load: &'a RankLoad,
    /// P.
    pub num_global_passages: f64,
    /// The rank writes checkpoints while it trains.
    pub keeps_snapshot: bool,
    /// The step distils.
    pub distils: bool,
    /// The ranks share AdamW's moments out.
    pub shards_state: bool,
}

impl RankInStep<'_> {
    /// What is there in every phase.
    pub(super) fn always(&self) -> Vec<Part> {
        let weights = self.e() * self.num_parameters();
        let program = PROGRAM_BYTES[self.device as usize];
        // In host memory, beside what a GPU holds.
        let snapshot = if self.device == Device::Cpu && self.keeps_snapshot { 3.0 * weights } else { 0.0 };
        let mpi = if self.device == Device::Cpu && self.world_size > 1 { MPI_BYTES } else { 0.0 };
        vec![
            part(PROGRAM, program),
            part("weights", weights),
            part("gradient", weights),
            part("the encoder's bfloat16 weights", if self.computes_in_bf16() { weights / 2.0 } else { 0.0 }),
            part("AdamW's two moments", 2.0 * weights / if self.shards_state { self.world_size as f64 } else { 1.0 }),
            part("snapshot for checkpoints", snapshot),
            part("MPI", mpi),
            part(UNEVEN_PARTS, self.uneven_parts()),
            part("batch and its layout", self.batch()),
            part("tiles of similarities", self.similarity_tiles()),
        ]
    }

    /// The phases in which a complete gradient is summed over ranks and the weights are updated; `held` is still there.
    pub(super) fn after_passes(&self, held: &[Part]) -> [Phase; 2] {
        let beside = |part: Part| held.iter().cloned().chain([part]).collect();
        [
            ("all-reduce", beside(part("other ranks' gradients", self.messages()))),
            ("update", beside(part("AdamW's temporaries", self.update_temporaries()))),
        ]
    }

    fn messages(&self) -> f64 {
        match self.device {
            Device::Cpu if self.world_size > 1 => {
                ((BUCKETS_UNDER_WAY * BUCKET_BYTES) as f64).min(self.e() * self.num_parameters())
            }
            _ => 0.0,
        }
    }

    /// The kernels have none, on a CPU as on a GPU; float64 has no kernel on a GPU.
    fn update_temporaries(&self) -> f64 {
        if self.device == Device::Cpu || self.shape.element_bytes == size_of::<f32>() {
            return 0.0;
        }
        UPDATE_TEMPORARIES * self.e() * (UPDATE_CHUNK as f64).min(self.num_parameters())
    }

    /// What is there between steps: everything but what is made of a batch.
    pub(super) fn between_steps(&self) -> f64 {
        bytes_of(&self.always()) - self.batch() - self.similarity_tiles()
    }

    pub(super) fn similarity_tiles(&self) -> f64 {
        if !self.shape.heads.multi_vector {
            return 0.0;
        }
        let rows = self.load.query_vectors.min(TILE_QUERY_VECTORS as f64);
        let device = self.device as usize;
        let tile = (rows * self.load.passage_vectors).min(SIMILARITY_TILE_ELEMENTS[device] as f64);
        SIMILARITY_TILES[device] * self.e() * tile + self.searched_vectors(tile / rows.max(1.0))
    }

    /// What a GPU finds winners by, beside what a CPU's tiles are counted with: the vectors of a tile's passages side
    /// by side, which have `columns` similarities with a query vector; in bfloat16 those of the queries and of a block,
    /// too.
    fn searched_vectors(&self, columns: f64) -> f64 {
        let dim = self.shape.multi_vector_dim as f64;
        match self.device {
            Device::Cpu => 0.0,
            Device::Cuda if self.computes_in_bf16() => {
                BF16_BYTES * dim * (self.load.query_vectors + self.load.passage_vectors + columns)
            }
            Device::Cuda => self.e() * dim * columns,
        }
    }

    /// e.
    pub(super) fn e(&self) -> f64 {
        self.shape.element_bytes as f64
    }

    fn num_parameters(&self) -> f64 {
        self.shape.num_parameters as f64
    }

    fn batch(&self) -> f64 {
        let load = self.load;
        let ids = BATCH_TOKEN_BYTES * (load.encoded.tokens + load.query_pairs + load.passage_pairs);
        let (masked, laid_out) = match self.shape.purpose {
            Purpose::Retrieval => (0.0, load.kept.tokens + load.largest.tokens),
            // What the encoder reads in place of the texts' own words, and the labels; one sub-batch at a time.
            Purpose::Pretraining { .. } => {
                let labels = LABEL_BYTES * load.encoded.predicted.labels();
                (BATCH_TOKEN_BYTES * load.encoded.tokens + labels, load.largest.tokens)
            }
        };
        let layout = LAYOUT_TOKEN_BYTES * laid_out;
        match self.device {
            Device::Cpu => ids * (1 + BATCHES_AHEAD) as f64 + masked + layout,
            Device::Cuda => layout,
        }
    }

    /// What the encoder keeps of sub-batches of these tokens until their gradient is computed.
    pub(super) fn graph(&self, texts: &Encoded) -> f64 {
        let c = &self.shape.config;
        let (d, ffn, heads) = (c.hidden_size as f64, c.intermediate_size as f64, c.num_attention_heads as f64);
        // The layer's input; query, key, value; attended; the two sums before a norm and the first one's result; the
        // feed-forward layer before its activation; attention's normaliser, and mean and deviation of norms.
        let layer = texts.tokens * (8.0 * d + ffn + heads + 4.0);
        // The last layer with its output. Where first tokens alone are read, it has an input, keys and values for every
        // token, and for a text the query, what comes after attention, and the output.
        let last = if self.shape.only_cls {
            texts.tokens * 3.0 * d + texts.num_texts * (5.0 * d + ffn + 4.0)
        } else {
            layer + texts.tokens * d
        };
        let layers = (c.num_hidden_layers as f64 - 1.0) * layer + last;
        // The embedding's norm keeps its input in the weights' own type.
        self.shape.compute_bytes as f64 * layers + self.e() * texts.tokens * d
    }

    /// Per token, what the lexical and the multi-vector head keep: the selected hidden states, vectors and their norm.
    fn head_floats(&self) -> f64 {
        let (d, dim) = (self.shape.config.hidden_size as f64, self.shape.multi_vector_dim as f64);
        let lexical = if self.shape.heads.lexical { d + 2.0 } else { 0.0 };
        let multi_vector = if self.shape.heads.multi_vector { d + 2.0 * dim + 2.0 } else { 0.0 };
        lexical + multi_vector
    }

    /// Bytes of one sub-batch on its way through a layer, or through the heads, nothing of it kept.
    pub(super) fn transient_forward(&self, texts: &Encoded) -> f64 {
        let c = &self.shape.config;
        let (d, ffn, compute) = (c.hidden_size as f64, c.intermediate_size as f64, self.shape.compute_bytes as f64);
        let layer = match self.device {
            Device::Cpu => compute * (d + (2.0 * ffn).max(5.0 * d) + d),
            // At the second norm: input, queries, keys and values, attended twice, the first norm's input and result,
            // the feed-forward layer before and after its activation; the second norm's input, sum and result.
            Device::Cuda => compute * (11.0 * d + 2.0 * ffn),
        };
        texts.tokens * layer.max(compute * d + self.e() * self.head_floats()) + 2.0 * self.probabilities(texts)
    }

    /// Bytes alive besides the graph while it is walked back: the activation again, its gradient and the gradient
    /// before it, of the layer's two sums; or a norm's input and gradients; or the heads with their gradients.
    pub(super) fn transient_backward(&self, texts: &Encoded) -> f64 {
        let c = &self.shape.config;
        let (d, ffn, compute) = (c.hidden_size as f64, c.intermediate_size as f64, self.shape.compute_bytes as f64);
        let layer = compute * (3.0 * ffn + 3.0 * d);
        let norm = (compute * 4.0 + self.embedding_norm()) * d;
        let passing = texts.tokens * layer.max(norm).max(2.0 * self.e() * self.head_floats());
        passing.max(self.attention_backward(texts.tokens)) + 4.0 * self.probabilities(texts)
    }

    /// What goes through attention on a GPU on its way back, of at most `tokens`: gradients of the result, of queries,
    /// keys and values one by one and beside each other; and the flash kernel's sums of the queries' gradients in
    /// float32. There are as many of these as multiprocessors share a head, and each text has 128 rows more.
    fn attention_backward(&self, tokens: f64) -> f64 {
        let c = &self.shape.config;
        if self.device == Device::Cpu || !self.flash_attends() {
            return 0.0;
        }
        let (d, heads, load) = (c.hidden_size as f64, c.num_attention_heads as f64, self.load);
        let head_size = c.hidden_size / c.num_attention_heads;
        let rounded = head_size.next_multiple_of(if head_size > 128 { 64 } else { 32 }) as f64;
        let sums = |texts: f64, tokens: f64| {
            let shares = (MULTIPROCESSORS / (texts * heads)).ceil();
            (tokens + 128.0 * texts) * heads * (shares * rounded + 1.0)
        };
        // Few long texts have many sums each, and many short ones have many rows.
        let longest = load.encoded.longest.max(1.0);
        let of_long = sums((tokens / longest).floor().max(1.0), tokens.max(longest));
        let of_short = [load.largest, load.last].map(|of| sums(of.num_texts.max(1.0), of.tokens));
        let most = of_short.into_iter().fold(of_long, f64::max);
        self.shape.compute_bytes as f64 * tokens * 7.0 * d + size_of::<f32>() as f64 * most
    }

    /// Whether libtorch's flash kernel attends.
    fn flash_attends(&self) -> bool {
        let c = &self.shape.config;
        self.computes_in_bf16() && flash_takes(c.hidden_size / c.num_attention_heads)
    }

    /// What attention holds once or more where no kernel serves it: on a GPU in float32, the probabilities of some
    /// heads of one text (`worker/src/ops/attention/reference.rs`).
    fn probabilities(&self, texts: &Encoded) -> f64 {
        if self.device == Device::Cpu || self.flash_attends() {
            return 0.0;
        }
        // The longest text of all: it need not be in the largest sub-batch.
        let longest = texts.longest.max(self.load.encoded.longest);
        let (square, heads) = (longest * longest, self.shape.config.num_attention_heads as f64);
        self.shape.compute_bytes as f64 * (heads * square).min(square.max(MOST_PROBABILITIES as f64))
    }

    /// Bytes per number of the embeddings' norm, which libtorch computes in float32 where a GPU computes layers in
    /// bfloat16: on its way back the sum, and the gradients of sum and result. Layers' norms are kernels.
    fn embedding_norm(&self) -> f64 {
        if self.device == Device::Cuda && self.computes_in_bf16() { 3.0 * self.e() } else { 0.0 }
    }

    fn computes_in_bf16(&self) -> bool {
        self.shape.compute_bytes < self.shape.element_bytes
    }

    /// The room in which NCCL's collectives on parts find parts of one length, as long as the largest bucket that needs
    /// it (`cluster/src/nccl/even.rs`).
    fn uneven_parts(&self) -> f64 {
        if self.device == Device::Cpu || self.world_size == 1 || !self.shards_state {
            return 0.0;
        }
        BUCKET_BYTES.min(self.shape.element_bytes * self.shape.num_parameters).next_power_of_two() as f64
    }
}

/// The sum of parts.
pub(super) fn bytes_of(parts: &[Part]) -> f64 {
    parts.iter().map(|part| part.bytes).sum()
}

/// A part of that name.
pub(super) fn part(name: &'static str, bytes: f64) -> Part {
    Part { name, bytes }
}
