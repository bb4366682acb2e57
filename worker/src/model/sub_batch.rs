//! A rank's sub-batches and their tensors. The tensors say where every hidden state goes, and follow from token ids
//! alone.
//!
//! The sampler's layout decides which texts go together. A sub-batch's tokens lie one after another in one flat list,
//! so that everything that works token by token sees no padding. On a CPU attention works text by text; on a GPU it
//! takes the layout's groups of neighbours of nearly one length, padded to the longest.
//!
//! Legend: T tokens of the sub-batch, padding included; K those with a lexical weight; S its distinct (text, token)
//! pairs; V its vectors.

use tch::{Device, Kind, Tensor};
use tercet_configs::{Head, PerHead};
use tercet_sampler::{SubBatchLayout, SubBatchLimit, TextGroup, TextInput, lay_out};

use crate::machine::device::device_kind;
use crate::model::pooled::{Pooled, PooledParts};
use crate::model::representation::{Gradients, Heads, SubBatchRepresentations, offsets};
use crate::ops::attention::{Group, TextSpan, Texts};
use crate::tensors::upload::Upload;

/// One sub-batch on its device.
pub struct SubBatch {
    /// Groups of texts, longest first; together they are the T tokens.
    pub groups: Vec<Group>,
    /// Where each text's real tokens lie.
    pub spans: Vec<TextSpan>,
    /// The texts' indices in the list that was cut, int64 `[texts]`.
    pub texts: Tensor,
    /// int64 `[T]`.
    pub token_ids: Tensor,
    /// Each token's place in its text, int64 `[T]`.
    pub positions: Tensor,
    /// The CLS tokens.
    pub cls: Pooled,
    /// All real tokens.
    pub real: Pooled,
    /// Places of the tokens with a lexical weight, int64 `[K]`. Empty, as are the fields below, for a head that does
    /// not run.
    pub lexical_token: Tensor,
    /// Which distinct (text, token) pair of the sub-batch each of them is, int64 `[K]`.
    pub lexical_slot: Tensor,
    /// Where each distinct pair lies in the whole list's lexical weights, int64 `[S]`.
    pub lexical_target: Tensor,
    /// Places of the tokens that get a vector, int64 `[V]`.
    pub vector_token: Tensor,
    /// Where each vector lies in the whole list's vectors, int64 `[V]`.
    pub vector_target: Tensor,
}

impl SubBatch {
    /// This sub-batch's part of all texts' gradients, in its own order.
    pub fn part_of(&self, gradients: &Gradients) -> SubBatchRepresentations {
        let places = PerHead::of(gradients.heads(), |head| match head {
            Head::Dense => &self.texts,
            Head::Lexical => &self.lexical_target,
            Head::MultiVector => &self.vector_target,
        });
        gradients.as_ref().zip(places).map(|(gradient, places)| gradient.index_select(0, places))
    }

    /// The number of texts.
    pub fn num_texts(&self) -> i64 {
        self.texts.size()[0]
    }

    /// Which tokens are one text's, for attention.
    pub fn spans(&self) -> Texts<'_> {
        Texts { spans: &self.spans, groups: &self.groups }
    }

    /// The number of tokens, padding included (T).
    pub fn num_padded_tokens(&self) -> usize {
        self.token_ids.size()[0] as usize
    }
}

/// What sub-batches take from the model that they are for.
#[derive(Debug, Clone, Copy)]
pub struct Framing {
    /// The token id that fills the shorter texts of a group.
    pub pad: i64,
    /// The device of their tensors.
    pub device: Device,
    /// The type that attention computes in.
    pub kind: Kind,
}

/// A row of an attention mask takes a multiple of this many elements: a GPU's kernels want it, and would copy a mask
/// whose rows do not, in every layer.
const MASK_ROW_ELEMENTS: usize = 16;

/// A list of texts, cut into sub-batches as [`lay_out`] says. On a CPU nothing is padded, because attention goes text
/// by text.
///
/// A sub-batch's tensors are made when it is asked for: all of them together would take some seventy bytes a token.
pub struct SubBatches<'a> {
    texts: &'a [TextInput],
    heads: Heads,
    framing: Framing,
    /// Where each text's ragged parts start in the whole list's flat tensors.
    lexical: Vec<usize>,
    vector: Vec<usize>,
    layouts: Vec<SubBatchLayout>,
}

impl<'a> SubBatches<'a> {
    /// Cuts `texts` for a model of which `heads` run.
    pub fn new(texts: &'a [TextInput], limit: SubBatchLimit, framing: Framing, heads: Heads) -> Self {
        let max_padding = device_kind(framing.device).max_padding();
        Self::padded(texts, limit, max_padding, framing, heads)
    }

    /// As [`SubBatches::new`], with padding of at most the share `max_padding` of a group's tokens.
    pub(crate) fn padded(
        texts: &'a [TextInput],
        limit: SubBatchLimit,
        max_padding: f64,
        framing: Framing,
        heads: Heads,
    ) -> Self {
        let lens: Vec<usize> = texts.iter().map(|text| text.ids.len()).collect();
        let lexical = |text: &TextInput| if heads.lexical { text.lexical_ids().len() } else { 0 };
        Self {
            lexical: offsets(texts.iter().map(lexical)),
            vector: offsets(texts.iter().map(TextInput::num_vectors)),
            layouts: lay_out(&lens, limit, max_padding),
            texts,
            heads,
            framing,
        }
    }

    /// The number of sub-batches.
    pub fn len(&self) -> usize {
        self.layouts.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.layouts.is_empty()
    }

    /// The number of real tokens in all of them.
    pub fn num_tokens(&self) -> usize {
        self.texts.iter().map(|text| text.ids.len()).sum()
    }

    /// The number of tokens in all of them, padding included.
    pub fn num_padded_tokens(&self) -> usize {
        self.layouts.iter().map(SubBatchLayout::num_padded_tokens).sum()
    }

    /// The texts of sub-batch `i`, as indices in the list that was cut, in its own order.
    pub fn texts_of(&self, i: usize) -> impl Iterator<Item = usize> {
        self.layouts[i].groups.iter().flat_map(|group| group.texts.iter().copied())
    }

    /// The tensors of sub-batch `i`.
    pub fn build(&self, i: usize) -> SubBatch {
        let mut builder = Builder::default();
        self.layouts[i].groups.iter().for_each(|group| builder.push_group(group, self));
        builder.finish(self.framing)
    }

    /// All sub-batches, one after the other.
    pub fn iter(&self) -> impl Iterator<Item = SubBatch> {
        (0..self.len()).map(|i| self.build(i))
    }
}

/// Where a group lies.
struct GroupPlace {
    first: usize,
    num_texts: usize,
    len: usize,
    /// The first element of its mask; none without padding.
    mask: Option<usize>,
}

/// A sub-batch as it grows, text by text.
#[derive(Default)]
struct Builder {
    groups: Vec<GroupPlace>,
    spans: Vec<TextSpan>,
    texts: Vec<i64>,
    ids: Vec<i64>,
    positions: Vec<i64>,
    /// What is added to similarities: 0, or −∞ where a token is padding. Only groups with padding have a part, row by
    /// row.
    mask: Vec<f32>,
    cls: Vec<(usize, usize)>,
    real: Vec<(usize, usize)>,
    lexical_token: Vec<i64>,
    lexical_slot: Vec<i64>,
    lexical_target: Vec<i64>,
    vector_token: Vec<i64>,
    vector_target: Vec<i64>,
}

impl Builder {
    fn push_group(&mut self, group: &TextGroup, whole: &SubBatches) {
        let (num_texts, len) = (group.texts.len(), group.padded_len);
        let lens = group.texts.iter().map(|&i| whole.texts[i].ids.len());
        let mask = lens.clone().any(|real| real < len).then_some(self.mask.len());
        if mask.is_some() {
            let row = |real| {
                (0..len.next_multiple_of(MASK_ROW_ELEMENTS))
                    .map(move |t| if t < real { 0.0 } else { f32::NEG_INFINITY })
            };
            self.mask.extend(lens.flat_map(row));
        }
        self.groups.push(GroupPlace { first: self.ids.len(), num_texts, len, mask });
        group.texts.iter().for_each(|&i| self.push_text(i, len, whole));
    }

    /// Appends text `i`, padded to `len`.
    fn push_text(&mut self, i: usize, len: usize, whole: &SubBatches) {
        let (text, base, b) = (&whole.texts[i], self.ids.len(), self.texts.len());
        self.spans.push(TextSpan { first: base, len: text.ids.len() });
        self.texts.push(i as i64);
        for t in 0..text.ids.len() {
            self.real.push((base + t, b));
            if text.is_cls(t) {
                self.cls.push((base + t, b));
            }
        }
        if whole.heads.lexical {
            self.push_lexical(text, base, whole.lexical[i]);
        }
        if whole.heads.multi_vector {
            let tokens = (0..text.ids.len()).filter(|&t| !text.is_cls(t));
            self.vector_token.extend(tokens.map(|t| (base + t) as i64));
            self.vector_target.extend((whole.vector[i]..whole.vector[i + 1]).map(|k| k as i64));
        }
        self.ids.extend(text.ids.iter().copied().chain(std::iter::repeat(whole.framing.pad)).take(len));
        self.positions.extend(0..len as i64);
    }

    /// A text's distinct tokens, whose weights begin at `first` in the whole list's.
    fn push_lexical(&mut self, text: &TextInput, base: usize, first: usize) {
        let vocabulary = text.lexical_ids();
        let first_slot = self.lexical_target.len();
        self.lexical_target.extend((first..first + vocabulary.len()).map(|k| k as i64));
        for (t, id) in text.ids.iter().enumerate() {
            if let Ok(k) = vocabulary.binary_search(id) {
                self.lexical_token.push((base + t) as i64);
                self.lexical_slot.push((first_slot + k) as i64);
            }
        }
    }

    /// The tensors on the device, sent by one copy.
    fn finish(self, framing: Framing) -> SubBatch {
        let mut upload = Upload::default();
        let lists = [
            &self.texts,
            &self.ids,
            &self.positions,
            &self.lexical_token,
            &self.lexical_slot,
            &self.lexical_target,
            &self.vector_token,
            &self.vector_target,
        ];
        let lists = lists.map(|values| upload.add(values));
        let [cls, real] = [&self.cls, &self.real].map(|tokens| PooledParts::of(tokens, self.texts.len(), &mut upload));
        let mask = upload.add(&self.mask);
        let sent = upload.send(framing.device);
        let [texts, token_ids, positions, lexical_token, lexical_slot, lexical_target, vector_token, vector_target] =
            lists.map(|part| sent.of(&part));
        SubBatch {
            groups: groups(&self.groups, &sent.of(&mask).to_kind(framing.kind)),
            spans: self.spans,
            texts,
            token_ids,
            positions,
            cls: cls.on(&sent),
            real: real.on(&sent),
            lexical_token,
            lexical_slot,
            lexical_target,
            vector_token,
            vector_target,
        }
    }
}

/// The groups, with views of their masks.
fn groups(places: &[GroupPlace], masks: &Tensor) -> Vec<Group> {
    let group = |place: &GroupPlace| {
        let (num_texts, len) = (place.num_texts as i64, place.len as i64);
        let row = place.len.next_multiple_of(MASK_ROW_ELEMENTS) as i64;
        let mask =
            |first| masks.narrow(0, first as i64, num_texts * row).view([num_texts, 1, 1, row]).narrow(3, 0, len);
        Group { first: place.first as i64, num_texts, len, attention_mask: place.mask.map(mask) }
    };
    places.iter().map(group).collect()
}

#[cfg(test)]
mod tests {
    use tercet_configs::limits::GPU_PADDING;
    use tercet_sampler::SpecialTokens;

    use super::*;

    const SPECIAL: SpecialTokens = SpecialTokens { cls: 0, eos: 2, pad: 1, unk: 3, mask: None };

    fn texts(lens: &[usize]) -> Vec<TextInput> {
        let ids = |n: usize| (0..n as i64).map(|t| if t == 0 { 0 } else { 4 + t % 3 }).collect();
        lens.iter().map(|&n| TextInput::new(ids(n), &SPECIAL)).collect()
    }

    fn cut_all(lens: &[usize], tokens: usize, max_padding: f64) -> Vec<SubBatch> {
        let (texts, limit) = (texts(lens), SubBatchLimit { tokens, texts: 0 });
        let framing = Framing { pad: 1, device: Device::Cpu, kind: Kind::Float };
        SubBatches::padded(&texts, limit, max_padding, framing, Heads::ALL).iter().collect()
    }

    #[test]
    fn groups_lie_one_after_another_and_are_masked_where_padded() {
        let cut = cut_all(&[100, 99, 98, 50, 50], 1000, GPU_PADDING);
        let groups: Vec<(i64, i64, i64)> = cut[0].groups.iter().map(|g| (g.first, g.num_texts, g.len)).collect();
        assert_eq!(groups, [(0, 3, 100), (300, 2, 50)]);
        let masks: Vec<_> = cut[0].groups.iter().map(|g| g.attention_mask.as_ref()).collect();
        let mask = masks[0].unwrap();
        assert_eq!((mask.size(), mask.stride()), (vec![3, 1, 1, 100], vec![112, 112, 112, 1]));
        let closed = mask.isneginf().sum_dim_intlist([1i64, 2, 3].as_slice(), false, Kind::Int64);
        assert_eq!(Vec::<i64>::try_from(closed).unwrap(), [0, 1, 2]);
        assert_eq!(mask.narrow(3, 0, 98).abs().sum(Kind::Float).double_value(&[]), 0.0);
        assert!(masks[1].is_none());
        assert_eq!(cut[0].num_texts(), 5);
        assert_eq!((cut[0].real.token.size(), cut[0].num_padded_tokens()), (vec![397], 400));
    }

    #[test]
    fn groups_without_padding_are_of_one_length() {
        let cut = cut_all(&[100, 99, 99], 1000, 0.0);
        let groups: Vec<(i64, i64, i64)> = cut[0].groups.iter().map(|g| (g.first, g.num_texts, g.len)).collect();
        assert_eq!(groups, [(0, 1, 100), (100, 2, 99)]);
        assert_eq!(cut[0].num_padded_tokens(), 298);
        assert_eq!(cut[0].spans[2], TextSpan { first: 199, len: 99 });
    }

    #[test]
    fn repeated_tokens_share_a_slot_and_cls_gets_no_vector() {
        let cut = cut_all(&[6], 100, 0.0);
        // Ids 0 5 6 4 5 6: three distinct ones, the CLS without weight and vector.
        assert_eq!(cut[0].lexical_target.size(), [3]);
        assert_eq!(Vec::<i64>::try_from(&cut[0].lexical_slot).unwrap(), [1, 2, 0, 1, 2]);
        assert_eq!(cut[0].vector_token.size(), [5]);
    }
}
