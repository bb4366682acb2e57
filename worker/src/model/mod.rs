//! The model: encoder and heads over one flat buffer of weights; reading and writing Hugging Face directories.

pub mod encode;
mod encoder;
mod error;
mod files;
mod heads;
mod layer;
mod on_encoder;
mod options;
mod parameters;
mod places;
mod pooled;
pub mod pretraining;
pub mod representation;
pub mod sub_batch;
mod word_shares;

use std::path::{Path, PathBuf};

use serde_json::{Map, Value};
use tch::{Device, Kind, Tensor};
use tercet_configs::{DecoderQuery, EncoderConfig, Pooling, Prompts};
use tercet_sampler::{SpecialTokens, not_in_table};

pub use encoder::Encoder;
pub use error::ModelError;
pub use files::{HostTensor, ModelFiles, dtype, write_safetensors};
pub use heads::{HeadWeights, head_of};
pub use options::ModelOptions;
pub use parameters::{Init, Parameters, Spec};
pub use tercet_configs::Purpose;

use crate::machine::phase::{Phase, during};
use crate::model::on_encoder::OnEncoder;
use crate::model::pretraining::{Body, PretrainingBatch, Scales, Told};
use crate::model::representation::{Gradients, Heads, SubBatchRepresentations};
use crate::model::sub_batch::{Framing, SubBatch};
use crate::ops::attention::Attention;
use crate::ops::dropout::Dropout;
use crate::tensors::libtorch;

/// What the backward pass of a sub-batch needs of its forward pass.
pub struct Graph {
    saved: encoder::SavedEncoder,
    /// The hidden states that the heads read: [T, d], or [texts, d] if these are of CLS alone.
    hidden: Tensor,
}

/// What a model has besides encoder, heads and weights: what its folder says.
struct Origin {
    special: SpecialTokens,
    continuations: Vec<bool>,
    fresh: Vec<String>,
    tokenizer: PathBuf,
    normalize: bool,
    max_seq_len: usize,
    prompts: Prompts,
    settings: Map<String, Value>,
    remarks: Vec<String>,
}

const SLOW_ATTENTION: &str = "attention goes text by text, many times slower than libtorch's flash kernel, which takes \
    bfloat16 on cards of compute capability 8.0 and newer, and heads of a multiple of 8 dimensions up to 256";

/// Encoder, heads and all their weights.
pub struct M3Model {
    /// The encoder's config.json.
    pub config: EncoderConfig,
    /// Every weight and gradient.
    pub parameters: Parameters,
    /// How the dense head reads a text.
    pub pooling: Pooling,
    /// Whether dense and multi-vector representations are scaled to length 1.
    pub normalize: bool,
    /// The special tokens. CLS, EOS, PAD and UNK get no lexical weight.
    pub special: SpecialTokens,
    /// For pre-training: whether the token of each id continues a word; empty if the tokenizer marks none.
    pub continuations: Vec<bool>,
    /// The names of the weights that no file had and that were drawn afresh.
    pub fresh: Vec<String>,
    /// The prompts before texts, as the folder states them or as the model was trained with.
    pub prompts: Prompts,
    /// What the user should know about the folder that the model was read from.
    pub remarks: Vec<String>,
    /// Where the tokenizer comes from, for export: a tokenizer.json, or a directory without one.
    tokenizer: PathBuf,
    /// The largest number of tokens of a text, for export.
    max_seq_len: usize,
    /// The folder's config_sentence_transformers.json, for export.
    settings: Map<String, Value>,
    encoder: Encoder,
    on_encoder: OnEncoder,
}

impl M3Model {
    /// What sub-batches need to know of the model.
    pub fn framing(&self) -> Framing {
        let (device, kind) = (self.parameters.flat.device(), self.parameters.compute_kind());
        let uncounted = (self.config.first_position() > 0).then_some(i64::from(self.special.pad));
        Framing { device, kind, uncounted }
    }

    /// Widths of a dense and of a multi-vector representation; 0 without that head.
    pub fn dims(&self) -> (i64, i64) {
        (self.config.hidden_size as i64, self.on_encoder.multi_vector_dim() as i64)
    }

    /// What it is for.
    pub fn purpose(&self) -> Purpose {
        self.on_encoder.purpose()
    }

    /// Type and device of weights, gradients and representations.
    pub fn options(&self) -> (Kind, Device) {
        (self.parameters.flat.kind(), self.parameters.flat.device())
    }

    /// What is to be said where it computes in `kind` on a GPU and no kernel attends.
    pub fn slow_attention(&self, kind: Kind) -> Option<&'static str> {
        let like = Tensor::empty([0], (kind, self.parameters.flat.device()));
        let (heads, p) = (self.config.num_attention_heads, self.config.attention_probs_dropout_prob);
        let attention = Attention { num_heads: heads as i64, dropout: Dropout::new(0, p) };
        let name = attention.kernel_name(&like, (self.config.hidden_size / heads) as i64);
        (like.device().is_cuda() && name == "reference").then_some(SLOW_ATTENTION)
    }

    /// Allocates gradients and makes the encoder compute in `kind`; needed once before [`M3Model::backward`].
    pub fn enable_gradients(&mut self, kind: Kind) {
        self.parameters.enable_gradients(|name| head_of(name).is_none());
        self.parameters.compute_in(kind);
    }

    /// The representations of one sub-batch, without gradient. With `keep`, what [`M3Model::backward`] needs is
    /// returned as well. `seed` seeds dropout; without one nothing is dropped.
    pub fn represent(
        &self,
        texts: &SubBatch,
        heads: Heads,
        seed: Option<u64>,
        keep: bool,
    ) -> (SubBatchRepresentations, Option<Graph>) {
        let _guard = tch::no_grad_guard();
        let (hidden, saved) = self.encode(texts, heads, seed, keep);
        let own = during(Phase::Heads, || self.on_encoder.heads().represent(&hidden, texts, heads));
        (own, saved.map(|saved| Graph { saved, hidden }))
    }

    /// Only what [`M3Model::backward`] needs, without representations.
    pub fn graph(&self, texts: &SubBatch, heads: Heads, seed: Option<u64>) -> Graph {
        match self.encode(texts, heads, seed, true) {
            (hidden, Some(saved)) => Graph { saved, hidden },
            (_, None) => unreachable!("a graph was asked for"),
        }
    }

    /// The hidden states that `heads` read.
    fn encode(
        &self,
        texts: &SubBatch,
        heads: Heads,
        seed: Option<u64>,
        keep: bool,
    ) -> (Tensor, Option<encoder::SavedEncoder>) {
        self.encoder.forward(&self.parameters, texts, self.on_encoder.heads().want_only_cls(texts, heads), seed, keep)
    }

    /// Adds the gradients of all weights to the flat gradient. `gradients` are those of all texts' representations, and
    /// `seed` is the one that `graph` was made with. Calls `ready(first)` once this sub-batch adds nothing more to the
    /// gradients of matrices from offset `first` on.
    ///
    /// The heads compute their representations once more, which is cheap, instead of keeping what autograd needs.
    pub fn backward(
        &self,
        graph: Graph,
        gradients: &Gradients,
        texts: &SubBatch,
        seed: Option<u64>,
        ready: &mut dyn FnMut(i64),
    ) {
        let Graph { saved, hidden } = graph;
        let grad = during(Phase::Heads, || {
            let hidden = hidden.set_requires_grad(true);
            let (own, seeds) =
                (self.on_encoder.heads().represent(&hidden, texts, gradients.heads()), texts.part_of(gradients));
            libtorch::backward(&own.iter().zip(seeds.iter()).collect::<Vec<_>>());
            hidden.grad()
        });
        self.encoder.backward(&self.parameters, saved, texts, seed, grad, ready);
    }

    /// Runs one sub-batch of pre-training forward and backward, and adds the gradients of the encoder's and the
    /// decoder's losses, each times its scale, to the flat gradient. `seed` and `ready` are as for
    /// [`M3Model::backward`].
    ///
    /// # Panics
    /// If the model is not for pre-training.
    pub fn pretrain(
        &self,
        batch: &PretrainingBatch,
        query: DecoderQuery,
        scales: Scales,
        seed: Option<u64>,
        ready: &mut dyn FnMut(i64),
    ) -> Told {
        self.on_encoder.pretraining().learn(self.body(), batch, (query, scales), seed, ready)
    }

    /// The decoder's sums as in [`Told`], without gradient, from the sentence vectors `cls`, [texts, d]. None if the
    /// model has no decoder, or the decoder has nothing to predict.
    ///
    /// # Panics
    /// If the model is not for pre-training.
    pub fn decode(
        &self,
        cls: &Tensor,
        batch: &PretrainingBatch,
        query: DecoderQuery,
        seed: Option<u64>,
    ) -> Option<Tensor> {
        self.on_encoder.pretraining().decode(self.body(), cls, batch, query, seed)
    }

    fn body(&self) -> Body<'_> {
        Body { encoder: &self.encoder, parameters: &self.parameters }
    }

    /// The model's tokenizer.json; none if its directory only names the special tokens.
    pub fn tokenizer_json(&self) -> Option<&Path> {
        Some(self.tokenizer.as_path()).filter(|path| !path.is_dir())
    }

    /// The folder of the model's tokenizer.
    pub fn tokenizer_folder(&self) -> &Path {
        match self.tokenizer_json() {
            Some(file) => file.parent().unwrap_or(Path::new(".")),
            None => &self.tokenizer,
        }
    }

    /// Checks that every text fits: its length the positions, its ids the vocabulary.
    ///
    /// # Errors
    /// [`ModelError::Setting`] with the numbers and the setting that mends them.
    pub fn check_lengths(&self, longest: usize, max_id: i64) -> Result<(), ModelError> {
        let limit = self.config.max_text_len();
        if longest > limit {
            let key = match self.purpose() {
                Purpose::Retrieval => "passage_max_len",
                Purpose::Pretraining { .. } => "text_max_len",
            };
            return Err(ModelError::Setting(format!(
                "a text of {longest} tokens is longer than the model's limit of {limit}: lower data.{key} or raise \
                 model.max_position_embeddings to {}",
                longest + self.config.first_position()
            )));
        }
        if max_id >= self.config.vocab_size as i64 {
            return Err(ModelError::Setting(not_in_table(
                max_id.try_into().unwrap_or(u32::MAX),
                self.config.vocab_size,
                self.tokenizer_json(),
            )));
        }
        Ok(())
    }

    /// Records what the model is trained with, for export: the prompts of queries and passages (none: data sets differ
    /// in them), and the longest text's number of tokens. A remark is added where the model's folder names other
    /// prompts.
    pub fn trains_on(&mut self, prompts: Option<Prompts>, longest: usize) {
        self.max_seq_len = self.max_seq_len.max(longest).min(self.config.max_text_len());
        let trained = prompts.clone().unwrap_or_default();
        let before = &self.prompts;
        let text = |prompt: &Option<String>| prompt.clone().unwrap_or_default();
        let differs = text(&before.query) != text(&trained.query) || text(&before.passage) != text(&trained.passage);
        if !before.are_empty() && differs {
            let shown =
                |prompts: &Prompts| format!("query {:?}, passage {:?}", text(&prompts.query), text(&prompts.passage));
            self.remarks.push(match &prompts {
                Some(now) => format!(
                    "the model's folder puts prompts before texts ({}), and this run puts others ({}): data.query_prefix and \
                     data.passage_prefix say which",
                    shown(before),
                    shown(now)
                ),
                None => "the data sets have different prefixes: the exported model names no prompts".into(),
            });
        }
        self.prompts = Prompts { query: Some(String::new()), passage: Some(String::new()), default: None };
        if let Some(now) = prompts {
            self.prompts = now;
        }
    }

    fn assemble(config: EncoderConfig, parameters: Parameters, pooling: Pooling, origin: Origin) -> Self {
        let Origin { special, continuations, fresh, tokenizer, normalize, max_seq_len, prompts, settings, remarks } =
            origin;
        Self {
            encoder: Encoder::new(&config, &parameters),
            on_encoder: OnEncoder::new(&config, &parameters, pooling, normalize),
            config,
            parameters,
            pooling,
            normalize,
            special,
            continuations,
            fresh,
            prompts,
            remarks,
            tokenizer,
            max_seq_len,
            settings,
        }
    }
}
