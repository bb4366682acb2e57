//! The representations that the heads make of texts, and how the ragged parts lie in memory.
//!
//! Lexical weights and multi-vector vectors differ in number from text to text. They lie one text after another in flat
//! tensors, without padding; where each text's part starts follows from its token ids alone, so it is known before
//! anything is encoded.
//!
//! Legend: B texts, S distinct (text, token) pairs, V vectors, d hidden size, dm width of a vector.

use tch::{Device, Kind, Tensor};
use tercet_sampler::TextInput;

use tercet_configs::PerHead;

pub use tercet_configs::Heads;

use crate::tensors::upload::upload;

/// The lexical head's output.
#[derive(Debug)]
pub struct Lexical {
    /// Token ids, ascending within a text, int64 `[S]`.
    pub token_ids: Tensor,
    /// The same on the host, where this rank made them; none of another rank's texts.
    pub host_ids: Option<Vec<i64>>,
    /// Weights ≥ 0, `[S]`.
    pub weights: Tensor,
    /// Text i has entries `offsets[i]..offsets[i + 1]`; [B + 1].
    pub offsets: Vec<usize>,
}

/// The multi-vector head's output.
#[derive(Debug)]
pub struct MultiVector {
    /// [V, dm].
    pub vectors: Tensor,
    /// Text i has vectors `offsets[i]..offsets[i + 1]`; [B + 1].
    pub offsets: Vec<usize>,
}

/// The representations of B texts.
#[derive(Debug)]
pub struct Representations {
    /// [B, d].
    pub dense: Tensor,
    /// The lexical head's, if it ran.
    pub lexical: Option<Lexical>,
    /// The multi-vector head's, if it ran.
    pub multi_vector: Option<MultiVector>,
}

/// What the heads make of one sub-batch: the same flat tensors, in the sub-batch's own order. Dense is [B, d], lexical
/// `[S]`, multi-vector [V, dm].
pub type SubBatchRepresentations = PerHead<Tensor>;

/// Gradients of representations: the same flat tensors.
pub type Gradients = PerHead<Tensor>;

impl Representations {
    /// Zeros of the right shapes for `texts`.
    pub fn zeros(
        texts: &[TextInput],
        (dense_dim, vector_dim): (i64, i64),
        heads: Heads,
        (kind, device): (Kind, Device),
    ) -> Self {
        let lexical = heads.lexical.then(|| {
            let per_text: Vec<&[i64]> = texts.iter().map(TextInput::lexical_ids).collect();
            let offsets = offsets(per_text.iter().map(|ids| ids.len()));
            let host_ids = per_text.concat();
            let token_ids = upload(&host_ids, device);
            let weights = Tensor::zeros([host_ids.len() as i64], (kind, device));
            Lexical { token_ids, host_ids: Some(host_ids), weights, offsets }
        });
        let multi_vector = heads.multi_vector.then(|| {
            let offsets = offsets(texts.iter().map(TextInput::num_vectors));
            let total = offsets[offsets.len() - 1] as i64;
            MultiVector { vectors: Tensor::zeros([total, vector_dim], (kind, device)), offsets }
        });
        Self { dense: Tensor::zeros([texts.len() as i64, dense_dim], (kind, device)), lexical, multi_vector }
    }

    /// Views of texts `start..end`.
    pub fn narrow(&self, start: usize, end: usize) -> Self {
        let part = |offsets: &[usize]| {
            let (from, to) = (offsets[start], offsets[end]);
            let own: Vec<usize> = offsets[start..=end].iter().map(|o| o - from).collect();
            (from as i64, (to - from) as i64, own)
        };
        Self {
            dense: self.dense.narrow(0, start as i64, (end - start) as i64),
            lexical: self.lexical.as_ref().map(|l| {
                let (from, len, offsets) = part(&l.offsets);
                let (token_ids, weights) = (l.token_ids.narrow(0, from, len), l.weights.narrow(0, from, len));
                let host_ids = l.host_ids.as_ref().map(|ids| ids[from as usize..(from + len) as usize].to_vec());
                Lexical { token_ids, host_ids, weights, offsets }
            }),
            multi_vector: self.multi_vector.as_ref().map(|m| {
                let (from, len, offsets) = part(&m.offsets);
                MultiVector { vectors: m.vectors.narrow(0, from, len), offsets }
            }),
        }
    }

    /// These, rounded as `kind` has them; their own type stays.
    #[must_use]
    pub fn rounded(self, kind: Kind) -> Self {
        let round = |of: Tensor| of.to_kind(kind).to_kind(of.kind());
        Self {
            dense: round(self.dense),
            lexical: self.lexical.map(|own| Lexical { weights: round(own.weights), ..own }),
            multi_vector: self.multi_vector.map(|own| MultiVector { vectors: round(own.vectors), ..own }),
        }
    }

    /// The heads that ran.
    pub fn heads(&self) -> Heads {
        Heads { lexical: self.lexical.is_some(), multi_vector: self.multi_vector.is_some() }
    }

    /// The number of texts (B).
    pub fn num_texts(&self) -> usize {
        self.dense.size()[0] as usize
    }
}

/// Zeros for the gradients of `representations`.
pub fn zero_gradients(representations: &Representations) -> Gradients {
    Gradients {
        dense: representations.dense.zeros_like(),
        lexical: representations.lexical.as_ref().map(|l| l.weights.zeros_like()),
        multi_vector: representations.multi_vector.as_ref().map(|m| m.vectors.zeros_like()),
    }
}

/// The gradients of one list of texts, then those of another.
pub fn joined(first: &Gradients, second: &Gradients) -> Gradients {
    first.as_ref().zip(second.as_ref()).map(|(first, second)| Tensor::cat(&[first, second], 0))
}

/// 0 and the running sums of `lengths`.
pub fn offsets(lengths: impl Iterator<Item = usize>) -> Vec<usize> {
    let mut offsets = vec![0];
    offsets.extend(lengths.scan(0, |sum, len| {
        *sum += len;
        Some(*sum)
    }));
    offsets
}

/// For each entry, the index of the text that it belongs to: the inverse of `offsets`.
pub fn owners(offsets: &[usize]) -> Vec<i64> {
    offsets.windows(2).enumerate().flat_map(|(i, w)| std::iter::repeat_n(i as i64, w[1] - w[0])).collect()
}
