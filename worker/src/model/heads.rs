//! The three heads: hidden states [T, d] of a sub-batch's tokens → its representations.
//!
//! Sources: M3-Embedding (Chen et al., 2024, arXiv 2402.03216), where it describes hybrid retrieval. The zero weight of
//! special tokens and the first token's missing vector are the published trainer's.

use tch::{Kind, Tensor};
use tercet_configs::{EncoderConfig, Pooling};

use super::parameters::{Init, Parameters, Spec};
use crate::model::representation::{Heads, SubBatchRepresentations};
use crate::model::sub_batch::SubBatch;
use crate::ops::sums;

/// The smallest number that a vector is divided by, so that zeros stay zeros (as in torch's `normalize`).
const MIN_NORM: f64 = 1e-12;

/// Names, shapes and initial values of the lexical and multi-vector heads' weights.
pub(super) fn specs(c: &EncoderConfig, multi_vector_dim: usize) -> Vec<Spec> {
    let d = c.hidden_size as i64;
    // The gain is 1, so that a fresh multi-vector head already separates tokens.
    let unit = (d as f64).powf(-0.5);
    [
        ("colbert_linear.weight", vec![multi_vector_dim as i64, d], Init::Normal(unit)),
        ("colbert_linear.bias", vec![multi_vector_dim as i64], Init::Constant(0.0)),
        // Larger weights would make scores, once divided by the temperature, so far apart that InfoNCE drives all
        // tokens below the ReLU's zero, where none gets a gradient. The bias is a little above zero, so that most
        // tokens start with one.
        ("sparse_linear.weight", vec![1, d], Init::Normal(0.3 * unit)),
        ("sparse_linear.bias", vec![1], Init::Constant(0.1)),
    ]
    .into_iter()
    .map(|(name, shape, init)| Spec { name: name.into(), shape, init })
    .collect()
}

/// The heads' linear maps, by the names of their files and weights.
pub(super) const HEADS: [&str; 2] = ["colbert_linear", "sparse_linear"];

/// The head that a weight of this name belongs to; none for all other weights. Autograd computes the gradients of these
/// heads' weights, and hand-written code those of all others.
pub fn head_of(weight: &str) -> Option<&str> {
    let (head, _) = weight.split_once('.')?;
    HEADS.contains(&head).then_some(head)
}

/// The heads' weights, as views of [`Parameters`].
pub struct HeadWeights {
    pooling: Pooling,
    normalize: bool,
    lexical: [Tensor; 2],
    multi_vector: [Tensor; 2],
}

impl HeadWeights {
    pub(super) fn new(parameters: &Parameters, pooling: Pooling, normalize: bool) -> Self {
        Self {
            pooling,
            normalize,
            lexical: ["sparse_linear.weight", "sparse_linear.bias"].map(|name| parameters.leaf(name)),
            multi_vector: ["colbert_linear.weight", "colbert_linear.bias"].map(|name| parameters.leaf(name)),
        }
    }

    /// Whether the hidden states of the texts' first tokens are all that `heads` look at.
    pub fn want_only_cls(&self, texts: &SubBatch, heads: Heads) -> bool {
        let dense_alone = !heads.lexical && !heads.multi_vector;
        dense_alone && matches!(self.pooling, Pooling::Cls) && texts.cls.one_per_text
    }

    /// The wanted heads' outputs for `hidden`, [T, d], or [texts, d] if they [want only
    /// CLS](HeadWeights::want_only_cls); they are of the weights' type, whatever the encoder's is.
    pub fn represent(&self, hidden: &Tensor, texts: &SubBatch, heads: Heads) -> SubBatchRepresentations {
        SubBatchRepresentations {
            dense: match self.want_only_cls(texts, heads) {
                true => self.normalised(hidden.to_kind(self.kind())),
                false => self.dense(hidden, texts),
            },
            lexical: heads.lexical.then(|| self.lexical(hidden, texts)),
            multi_vector: heads.multi_vector.then(|| self.multi_vector(hidden, texts)),
        }
    }

    /// [texts, d]: the mean of each text's pooled tokens; with CLS pooling that is usually the one CLS.
    fn dense(&self, tokens: &Tensor, texts: &SubBatch) -> Tensor {
        let pooled = match self.pooling {
            Pooling::Cls => &texts.cls,
            Pooling::Mean => &texts.all,
        };
        let rows = tokens.index_select(0, &pooled.token).to_kind(self.kind()); // [K, d]
        let dense = if pooled.one_per_text {
            rows
        } else {
            let counts = pooled.per_text.to_kind(self.kind()).unsqueeze(-1);
            sums::of_runs(&rows, &pooled.text, &pooled.per_text) / counts
        };
        self.normalised(dense)
    }

    /// `[S]`: a weight for every distinct non-special token of every text, the largest where a token repeats.
    fn lexical(&self, tokens: &Tensor, texts: &SubBatch) -> Tensor {
        let weights = self.map(tokens, &self.lexical).squeeze_dim(-1).relu(); // [T]
        let weights = weights.index_select(0, &texts.lexical_token); // [K]
        let zeros = Tensor::zeros([texts.lexical_target.size()[0]], (self.kind(), tokens.device()));
        zeros.internal_scatter_reduce(0, &texts.lexical_slot, &weights, "amax", true) // [S]
    }

    /// [V, dm]: a vector for every token but CLS.
    fn multi_vector(&self, tokens: &Tensor, texts: &SubBatch) -> Tensor {
        self.normalised(self.map(tokens, &self.multi_vector).index_select(0, &texts.vector_token))
    }

    /// A linear map computed in the type of `x`; its result is of the weights'.
    fn map(&self, x: &Tensor, [weight, bias]: &[Tensor; 2]) -> Tensor {
        x.linear(&weight.to_kind(x.kind()), Some(bias.to_kind(x.kind()))).to_kind(self.kind())
    }

    fn kind(&self) -> Kind {
        self.lexical[0].kind()
    }

    fn normalised(&self, x: Tensor) -> Tensor {
        if !self.normalize {
            return x;
        }
        let norm = (&x * &x).sum_dim_intlist([-1i64].as_slice(), true, None::<Kind>).sqrt();
        x / norm.clamp_min(MIN_NORM)
    }
}
