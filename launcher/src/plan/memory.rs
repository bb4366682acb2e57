//! Peak memory of a rank and what it is made of, phase by phase of a step: what the worker's
//! `step/`, `scoring/` and `model/layer.rs` hold at once.
//!
//! On the CPU it is resident memory, held against real runs (docs/measured/now.md). On a GPU it is an estimate that has
//! never been compared with one: the allocator's fragmentation is not in it.
//!
//! Legend: T tokens of a sub-batch, d hidden size, e bytes of an element, Q local queries, P all ranks' passages.

use serde::Serialize;
use tercet_configs::limits::{BUCKET_BYTES, BUCKETS_UNDER_WAY, TILE_ELEMENTS, TILE_QUERY_VECTORS, UPDATE_CHUNK};
use tercet_configs::{Device, ModelShape};
use tercet_sampler::BATCHES_AHEAD;

use super::load::{Encoded, RankLoad};
use super::traffic::{block_bytes, gradient_bytes};

/// A part of the peak.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Part {
    /// What it is.
    pub name: &'static str,
    /// How much.
    pub bytes: f64,
}

/// The most that a rank holds at once.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct PeakMemory {
    /// The phase of a step in which that is.
    pub phase: &'static str,
    /// The sum of the parts.
    pub total_bytes: f64,
    /// What it is made of; together the peak.
    pub parts: Vec<Part>,
}

const PROGRAM: &str = "program and libraries";
const UNEVEN_PARTS: &str = "NCCL's room for uneven parts";

impl PeakMemory {
    /// Without what a program and its libraries take for themselves.
    pub fn bytes_of_tensors(&self) -> f64 {
        let is_tensor = |part: &&Part| ![PROGRAM, UNEVEN_PARTS].contains(&part.name);
        self.parts.iter().filter(is_tensor).map(|part| part.bytes).sum()
    }
}

/// Program and libraries: on the CPU pages of libtorch, and heap that reading a tokenizer and a model leaves; on a GPU
/// its context.
const PROGRAM_BYTES: [f64; 2] = [225e6, 500e6];

/// MPI's own memory in a rank of several.
const MPI_BYTES: f64 = 10e6;

/// The number of tiles of similarities that a step's scoring has at once: as computed, masked, and what finds the
/// maxima. The allocator keeps them until the next step.
const SIMILARITY_TILES: f64 = 5.0;

/// AdamW's temporaries on a GPU, each of the elements that it updates at a time.
const UPDATE_TEMPORARIES: f64 = 5.0;

/// A token id of a batch; a text has its ids, and its distinct ones once more.
const BATCH_TOKEN_BYTES: f64 = 8.0;

/// A shared (passage, token) pair's two places, which scoring keeps for its way back.
const SHARED_PAIR_BYTES: f64 = 16.0;

/// Bytes per token of the places that a sub-batch's tensors hold for it while it is encoded.
const LAYOUT_TOKEN_BYTES: f64 = 104.0;

/// One rank in one step.
pub struct Holder<'a> {
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

impl Holder<'_> {
    /// The phase that needs most, and its parts.
    pub fn peak(&self) -> PeakMemory {
        let phases = [
            self.first_pass(),
            self.scores_and_loss(),
            self.score_backward(),
            self.second_pass(),
            self.reduce(),
            self.update(),
        ];
        let totals = phases.into_iter().map(|(phase, parts)| {
            let parts: Vec<Part> = self.always().into_iter().chain(parts).filter(|part| part.bytes > 0.0).collect();
            PeakMemory { phase, total_bytes: parts.iter().map(|part| part.bytes).sum(), parts }
        });
        // There are six of them.
        totals.max_by(|a, b| a.total_bytes.total_cmp(&b.total_bytes)).expect("a step has phases")
    }

    fn always(&self) -> Vec<Part> {
        let weights = self.e() * self.num_parameters();
        let program = PROGRAM_BYTES[self.device as usize];
        // In host memory, beside what a GPU holds.
        let snapshot = if self.device == Device::Cpu && self.keeps_snapshot { 3.0 * weights } else { 0.0 };
        let mpi = if self.device == Device::Cpu && self.world_size > 1 { MPI_BYTES } else { 0.0 };
        vec![
            part(PROGRAM, program),
            part("weights", weights),
            part("gradient", weights),
            part(
                "the encoder's bfloat16 weights",
                if self.shape.compute_bytes < self.shape.element_bytes { weights / 2.0 } else { 0.0 },
            ),
            part("AdamW's two moments", 2.0 * weights / if self.shards_state { self.world_size as f64 } else { 1.0 }),
            part("snapshot for checkpoints", snapshot),
            part("MPI", mpi),
            part(UNEVEN_PARTS, self.uneven_parts()),
            part("batch and its layout", self.batch()),
            part("tiles of similarities", self.similarity_tiles()),
        ]
    }

    fn first_pass(&self) -> (&'static str, Vec<Part>) {
        let load = self.load;
        let transient = self.transient_forward(load.largest.tokens);
        let mut parts = vec![part("representations", self.representations())];
        parts.push(part("kept graphs", self.graph(&load.kept)));
        parts.push(part("activations of one sub-batch", transient));
        ("first pass", parts)
    }

    fn scores_and_loss(&self) -> (&'static str, Vec<Part>) {
        let mut parts = self.around_scores();
        parts.push(part("score matrices", self.score_matrix() * self.matrices_in_loss()));
        parts.push(part("multi-vector winners", self.winners()));
        ("scores and loss", parts)
    }

    fn score_backward(&self) -> (&'static str, Vec<Part>) {
        let mut parts = self.around_scores();
        parts.push(part("gradients of representations", self.representations()));
        parts.push(part("score matrices", self.score_matrix() * 2.0 * self.num_heads()));
        parts.push(part("multi-vector winners", self.winners()));
        parts.push(part("temporaries of scoring", self.scoring_temporaries()));
        ("scores backward", parts)
    }

    fn second_pass(&self) -> (&'static str, Vec<Part>) {
        let load = self.load;
        // Kept graphs go first: they are there while the first of them is walked back, and gone when others are built.
        let kept = self.graph(&load.kept);
        let recomputed = self.graph(&load.largest_recomputed);
        let backward = self.transient_backward(load.largest.tokens);
        let representations = self.representations();
        let parts = vec![
            part("representations", representations),
            part("gradients of representations", 2.0 * representations),
            part("score matrices", self.score_matrix() * 2.0 * self.num_heads()),
            part(if kept > recomputed { "kept graphs" } else { "graph of one sub-batch" }, kept.max(recomputed)),
            part("activations of one sub-batch", backward),
        ];
        ("second pass", parts)
    }

    fn reduce(&self) -> (&'static str, Vec<Part>) {
        let weights = self.e() * self.num_parameters();
        let messages = match self.device {
            Device::Cpu if self.world_size > 1 => ((BUCKETS_UNDER_WAY * BUCKET_BYTES) as f64).min(weights),
            _ => 0.0,
        };
        ("all-reduce", self.after_passes(part("other ranks' gradients", messages)))
    }

    fn update(&self) -> (&'static str, Vec<Part>) {
        let chunk = match self.device {
            Device::Cpu => 0.0,
            Device::Cuda => UPDATE_TEMPORARIES * self.e() * (UPDATE_CHUNK as f64).min(self.num_parameters()),
        };
        ("update", self.after_passes(part("AdamW's temporaries", chunk)))
    }

    /// What a step still holds when its gradient is complete, and one part more.
    fn after_passes(&self, more: Part) -> Vec<Part> {
        let representations = self.representations();
        vec![
            part("representations", representations),
            part("gradients of representations", 2.0 * representations),
            part("score matrices", self.score_matrix() * self.num_heads()),
            more,
        ]
    }

    /// The room in which NCCL's collectives on parts find parts of one length, as long as the largest bucket that needs
    /// it (`cluster/src/nccl/even.rs`).
    fn uneven_parts(&self) -> f64 {
        if self.device == Device::Cpu || self.world_size == 1 || !self.shards_state {
            return 0.0;
        }
        BUCKET_BYTES.min(self.shape.element_bytes * self.shape.num_parameters).next_power_of_two() as f64
    }

    fn similarity_tiles(&self) -> f64 {
        if !self.shape.heads.multi_vector {
            return 0.0;
        }
        let pairs = self.load.query_vectors.min(TILE_QUERY_VECTORS as f64) * self.load.passage_vectors;
        SIMILARITY_TILES * self.e() * pairs.min(TILE_ELEMENTS as f64)
    }

    /// What is there from the first trip round the ring to the second.
    fn around_scores(&self) -> Vec<Part> {
        // A block that visits, and the next one as it arrives.
        let visiting = if self.world_size > 1 { 2.0 * block_bytes(self.shape, self.load) } else { 0.0 };
        // Gradients that leave and that arrive, besides the ones computed.
        let passing = if self.world_size > 1 { 2.0 * gradient_bytes(self.shape, self.load) } else { 0.0 };
        vec![
            part("kept graphs", self.graph(&self.load.kept)),
            part("representations", self.representations()),
            part("passages on their way", visiting + passing),
            part("places of shared tokens", self.shared_pairs()),
        ]
    }

    fn e(&self) -> f64 {
        self.shape.element_bytes as f64
    }

    fn num_parameters(&self) -> f64 {
        self.shape.num_parameters as f64
    }

    fn num_heads(&self) -> f64 {
        self.shape.heads.num() as f64
    }

    /// One [Q, P].
    fn score_matrix(&self) -> f64 {
        self.e() * self.load.num_queries * self.num_global_passages
    }

    /// Score matrices that are alive together while the loss is walked back. Each head has its scores, divided by the
    /// temperature, and the logarithm of their softmax; so has the hybrid but for the division. Distillation adds the
    /// teacher, and for each head another softmax and its product with the teacher. Gradients come on top.
    fn matrices_in_loss(&self) -> f64 {
        const GRADIENTS: f64 = 3.0;
        let heads = self.num_heads();
        let hybrid = if heads > 1.0 { 2.0 } else { 0.0 };
        let distilled = if self.distils && heads > 1.0 { 1.0 + heads } else { 0.0 };
        3.0 * heads + hybrid + distilled + GRADIENTS
    }

    /// int32 for every local query vector and passage.
    fn winners(&self) -> f64 {
        if self.shape.heads.multi_vector { 4.0 * self.load.query_vectors * self.num_global_passages } else { 0.0 }
    }

    /// The places of the tokens that all ranks' passages share with the local queries; other ranks' passages count like
    /// own ones.
    fn shared_pairs(&self) -> f64 {
        let all = self.load.shared_pairs * self.world_size as f64;
        if self.shape.heads.lexical { SHARED_PAIR_BYTES * all } else { 0.0 }
    }

    /// Tiles, and what finds the winners' sums.
    fn scoring_temporaries(&self) -> f64 {
        let block = self.load.num_passages;
        let lexical = if self.shape.heads.lexical {
            let weights = self.load.num_queries * self.load.query_vocabulary;
            self.e() * (2.0 * weights + 2.0 * (TILE_ELEMENTS as f64).min(block * self.load.query_vocabulary))
        } else {
            0.0
        };
        // Winner, its clamp, order, sorted and query in int64, three gradients.
        let pairs = (TILE_ELEMENTS as f64).min(self.load.query_vectors * block);
        let multi_vector = if self.shape.heads.multi_vector { pairs * (5.0 * 8.0 + 3.0 * self.e()) } else { 0.0 };
        lexical + multi_vector
    }

    /// All texts' dense vectors, lexical weights with their token ids, and multi-vectors.
    fn representations(&self) -> f64 {
        let (load, heads) = (self.load, self.shape.heads);
        let texts = load.num_queries + load.num_passages;
        let dense = texts * self.shape.config.hidden_size as f64;
        let lexical =
            if heads.lexical { (load.query_pairs + load.passage_pairs) * (1.0 + 8.0 / self.e()) } else { 0.0 };
        let vectors = load.query_vectors + load.passage_vectors;
        let multi_vector = if heads.multi_vector { vectors * self.shape.multi_vector_dim as f64 } else { 0.0 };
        self.e() * (dense + lexical + multi_vector)
    }

    fn batch(&self) -> f64 {
        let ids = self.load.tokens + self.load.query_pairs + self.load.passage_pairs;
        let ids = BATCH_TOKEN_BYTES * ids * (1 + BATCHES_AHEAD) as f64;
        let layout = LAYOUT_TOKEN_BYTES * (self.load.kept.tokens + self.load.largest.tokens);
        match self.device {
            Device::Cpu => ids + layout,
            Device::Cuda => layout,
        }
    }

    /// What the encoder keeps of sub-batches of these tokens until their gradient is computed.
    fn graph(&self, texts: &Encoded) -> f64 {
        let c = &self.shape.config;
        let (d, ffn, heads) = (c.hidden_size as f64, c.intermediate_size as f64, c.num_attention_heads as f64);
        // The layer's input; query, key, value; attended; the two sums before a norm and the first one's result; the
        // feed-forward layer before its activation; attention's normaliser, and mean and deviation of norms.
        let layer = 8.0 * d + ffn + heads + 4.0;
        // The embedding's norm keeps its input in the weights' own type.
        let tokens = texts.tokens * (c.num_hidden_layers as f64 * layer + d);
        self.shape.compute_bytes as f64 * tokens + self.e() * texts.tokens * d
    }

    /// Per token, what the lexical and the multi-vector head keep: the selected hidden states, vectors and their norm.
    fn head_floats(&self) -> f64 {
        let (d, dim) = (self.shape.config.hidden_size as f64, self.shape.multi_vector_dim as f64);
        let lexical = if self.shape.heads.lexical { d + 2.0 } else { 0.0 };
        let multi_vector = if self.shape.heads.multi_vector { d + 2.0 * dim + 2.0 } else { 0.0 };
        lexical + multi_vector
    }

    /// Bytes of one sub-batch on its way through a layer, or through the heads, nothing of it kept.
    fn transient_forward(&self, tokens: f64) -> f64 {
        let c = &self.shape.config;
        let (d, ffn, compute) = (c.hidden_size as f64, c.intermediate_size as f64, self.shape.compute_bytes as f64);
        let layer = match self.device {
            Device::Cpu => compute * (d + (2.0 * ffn).max(5.0 * d) + d),
            // At the second norm: input, queries, keys and values, attended twice, the first norm's input and result,
            // the feed-forward layer before and after its activation; the second norm's input, sum and result.
            Device::Cuda => compute * (11.0 * d + 2.0 * ffn) + self.norm_temporaries(2.0) * d,
        };
        tokens * layer.max(compute * d + self.e() * self.head_floats())
    }

    /// Bytes alive besides the graph while it is walked back: the activation again, its gradient and the gradient
    /// before it, of the layer's two sums; or a norm's input and gradients; or the heads with their gradients.
    fn transient_backward(&self, tokens: f64) -> f64 {
        let c = &self.shape.config;
        let (d, ffn, compute) = (c.hidden_size as f64, c.intermediate_size as f64, self.shape.compute_bytes as f64);
        let layer = compute * (3.0 * ffn + 3.0 * d);
        let norm = (compute * 4.0 + self.norm_temporaries(3.0)) * d;
        tokens * layer.max(norm).max(2.0 * self.e() * self.head_floats())
    }

    /// Bytes of a norm's numbers in float32, where a GPU computes the others in bfloat16: the sum and the result on the
    /// way forward; on the way back the sum, and the gradients of both.
    fn norm_temporaries(&self, num: f64) -> f64 {
        if self.device == Device::Cuda && self.shape.compute_bytes < self.shape.element_bytes {
            num * self.e()
        } else {
            0.0
        }
    }
}

fn part(name: &'static str, bytes: f64) -> Part {
    Part { name, bytes }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::shape_of_tests::shape;

    fn peak(shape: &ModelShape, load: &RankLoad, world_size: usize) -> PeakMemory {
        let holder = Holder {
            shape,
            device: Device::Cuda,
            world_size,
            load,
            num_global_passages: 4.0,
            keeps_snapshot: false,
            distils: false,
            shards_state: false,
        };
        holder.peak()
    }

    fn bytes(memory: &PeakMemory, name: &str) -> f64 {
        memory.parts.iter().find(|part| part.name == name).map_or(0.0, |part| part.bytes)
    }

    #[test]
    fn a_large_sub_batch_is_the_peak_and_is_counted_by_hand() {
        let shape = shape(false);
        let texts = Encoded { num_texts: 10.0, tokens: 1e6, squares: 1e11 };
        let load = RankLoad { encoded: texts, largest: texts, largest_recomputed: texts, ..RankLoad::default() };
        let memory = peak(&shape, &load, 1);
        assert_eq!(memory.phase, "second pass");
        // d 8, ffn 16, 2 heads: a layer keeps 8·8 + 16 + 2 + 4 floats of a token; the last output and the embedding are
        // 2·8.
        assert_eq!(bytes(&memory, "graph of one sub-batch"), 4.0 * 1e6 * (2.0 * 86.0 + 16.0));
        assert_eq!(bytes(&memory, "weights"), 4.0 * shape.num_parameters as f64);
        assert_eq!(bytes(&memory, "AdamW's two moments"), 8.0 * shape.num_parameters as f64);
        assert_eq!(memory.total_bytes, memory.parts.iter().map(|part| part.bytes).sum::<f64>());
    }

    #[test]
    fn kept_graphs_add_up_and_in_bfloat16_are_half_but_for_the_embeddings() {
        let mut shape = shape(false);
        let kept = Encoded { num_texts: 10.0, tokens: 1e6, squares: 1e8 };
        let load = RankLoad { encoded: kept, kept, largest: kept, ..RankLoad::default() };
        assert_eq!(bytes(&peak(&shape, &load, 1), "kept graphs"), 4.0 * 1e6 * (2.0 * 86.0 + 16.0));
        shape.compute_bytes = 2;
        let memory = peak(&shape, &load, 1);
        assert_eq!(bytes(&memory, "kept graphs"), 2.0 * 1e6 * (2.0 * 86.0 + 8.0) + 4.0 * 1e6 * 8.0);
        assert_eq!(bytes(&memory, "the encoder's bfloat16 weights"), 2.0 * shape.num_parameters as f64);
    }

    #[test]
    fn large_score_matrices_are_the_peak_of_the_loss() {
        let load = RankLoad { num_queries: 1e5, num_passages: 1e5, ..RankLoad::default() };
        let shape = shape(false);
        let holder = Holder {
            shape: &shape,
            device: Device::Cuda,
            world_size: 2,
            load: &load,
            num_global_passages: 2e5,
            keeps_snapshot: false,
            distils: false,
            shards_state: false,
        };
        let memory = holder.peak();
        assert_eq!(memory.phase, "scores and loss");
        assert_eq!(bytes(&memory, "score matrices"), 4.0 * 1e5 * 2e5 * 6.0);
    }
}
