//! A rank's sub-batches and their tensors. The tensors say where every hidden state goes, and follow from token ids
//! alone.
//!
//! The sampler's layout decides which texts go together. A sub-batch's tokens lie one after another in one flat list,
//! without padding, on every device.
//!
//! Legend: T tokens of the sub-batch; K those with a lexical weight; S its distinct (text, token) pairs; V its vectors.

use tch::{Device, Kind, Tensor};
use tercet_configs::{Head, PerHead};
use tercet_sampler::{SubBatchLayout, SubBatchLimit, TextInput, lay_out};

use crate::model::pooled::{Pooled, PooledParts};
use crate::model::representation::{Gradients, Heads, SubBatchRepresentations, offsets};
use crate::ops::attention::{TextRows, TextSpan, spans, starts};
use crate::tensors::upload::{Part, Staged, Upload, Uploaded};

/// One sub-batch on its device.
pub struct SubBatch {
    /// Which of the T tokens are each text's, longest text first.
    pub tokens: TextRows,
    /// One row a text, for what its first token alone asks.
    pub firsts: TextRows,
    /// The texts' indices in the list that was cut, int64 `[texts]`.
    pub texts: Tensor,
    /// int64 `[T]`.
    pub token_ids: Tensor,
    /// Each token's place in its text, int64 `[T]`.
    pub positions: Tensor,
    /// The CLS tokens.
    pub cls: Pooled,
    /// All tokens.
    pub all: Pooled,
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

/// A [`SubBatch`] on its way to the device.
pub struct SubBatchParts {
    /// The fields that are lists of numbers, in their order.
    lists: [Part; 8],
    cls: PooledParts,
    all: PooledParts,
    /// Rows of [`SubBatch::tokens`] and of [`SubBatch::firsts`].
    rows: [(Part, Vec<TextSpan>); 2],
}

impl SubBatchParts {
    /// Which of the T tokens are each text's.
    pub fn spans(&self) -> &[TextSpan] {
        &self.rows[0].1
    }

    /// The tensors.
    pub fn on(self, sent: &Uploaded) -> SubBatch {
        let [texts, token_ids, positions, lexical_token, lexical_slot, lexical_target, vector_token, vector_target] =
            self.lists.map(|part| sent.of(&part));
        let [tokens, firsts] = self.rows.map(|(starts, spans)| TextRows::new(spans, sent.of(&starts)));
        SubBatch {
            tokens,
            firsts,
            texts,
            token_ids,
            positions,
            cls: self.cls.on(sent),
            all: self.all.on(sent),
            lexical_token,
            lexical_slot,
            lexical_target,
            vector_token,
            vector_target,
        }
    }
}

impl SubBatch {
    /// What was made ready, sent by one copy.
    pub fn sent(staged: Staged<SubBatchParts>) -> Self {
        let (parts, sent) = staged.send();
        parts.on(&sent)
    }

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

    /// The number of tokens (T).
    pub fn num_tokens(&self) -> usize {
        self.token_ids.size()[0] as usize
    }
}

/// What sub-batches take from the model that they are for.
#[derive(Debug, Clone, Copy)]
pub struct Framing {
    /// The device of their tensors.
    pub device: Device,
    /// The type that attention computes in.
    pub kind: Kind,
    /// The padding token, where positions are counted from its id, as RoBERTa's family does: written in a text it has
    /// the position of padding, and those behind it are counted as if it were not there.
    pub uncounted: Option<i64>,
}

/// A list of texts, cut into sub-batches as [`lay_out`] says.
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
        let lens: Vec<usize> = texts.iter().map(|text| text.ids.len()).collect();
        let lexical = |text: &TextInput| if heads.lexical { text.lexical_ids().len() } else { 0 };
        Self {
            lexical: offsets(texts.iter().map(lexical)),
            vector: offsets(texts.iter().map(TextInput::num_vectors)),
            layouts: lay_out(&lens, limit),
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

    /// The number of tokens of sub-batch `i`.
    pub fn num_tokens_of(&self, i: usize) -> usize {
        self.layouts[i].num_tokens
    }

    /// The number of tokens in all of them.
    pub fn num_tokens(&self) -> usize {
        self.layouts.iter().map(|layout| layout.num_tokens).sum()
    }

    /// The texts of sub-batch `i`, as indices in the list that was cut, in its own order.
    pub fn texts_of(&self, i: usize) -> impl Iterator<Item = usize> {
        self.layouts[i].texts.iter().copied()
    }

    /// Adds what sub-batch `i` consists of to `upload`.
    pub fn add(&self, i: usize, upload: &mut Upload) -> SubBatchParts {
        let mut builder = Builder::default();
        self.layouts[i].texts.iter().for_each(|&text| builder.push_text(text, self));
        builder.finish(upload)
    }

    /// Sub-batch `i`, ready to be sent. Any thread may ask for it.
    pub fn stage(&self, i: usize) -> Staged<SubBatchParts> {
        let mut upload = Upload::default();
        let parts = self.add(i, &mut upload);
        upload.stage(self.framing.device, parts)
    }

    /// The tensors of sub-batch `i`.
    pub fn build(&self, i: usize) -> SubBatch {
        SubBatch::sent(self.stage(i))
    }

    /// All sub-batches, one after the other.
    pub fn iter(&self) -> impl Iterator<Item = SubBatch> {
        (0..self.len()).map(|i| self.build(i))
    }
}

/// A sub-batch as it grows, text by text.
#[derive(Default)]
struct Builder {
    lens: Vec<usize>,
    texts: Vec<i64>,
    ids: Vec<i64>,
    positions: Vec<i64>,
    cls: Vec<(usize, usize)>,
    all: Vec<(usize, usize)>,
    lexical_token: Vec<i64>,
    lexical_slot: Vec<i64>,
    lexical_target: Vec<i64>,
    vector_token: Vec<i64>,
    vector_target: Vec<i64>,
}

impl Builder {
    /// Appends text `i`.
    fn push_text(&mut self, i: usize, whole: &SubBatches) {
        let (text, base, b) = (&whole.texts[i], self.ids.len(), self.texts.len());
        self.lens.push(text.ids.len());
        self.texts.push(i as i64);
        for t in 0..text.ids.len() {
            self.all.push((base + t, b));
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
        self.ids.extend_from_slice(&text.ids);
        match whole.framing.uncounted.filter(|padding| text.ids.contains(padding)) {
            None => self.positions.extend(0..text.ids.len() as i64),
            Some(padding) => {
                let mut counted = 0..;
                let place = |&id: &i64| if id == padding { -1 } else { counted.next().unwrap_or_default() };
                self.positions.extend(text.ids.iter().map(place));
            }
        }
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

    fn finish(self, upload: &mut Upload) -> SubBatchParts {
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
        let [cls, all] = [&self.cls, &self.all].map(|tokens| PooledParts::of(tokens, self.texts.len(), upload));
        let rows = [spans(self.lens.iter().copied()), spans(self.lens.iter().map(|_| 1))];
        let rows = rows.map(|spans| (upload.add(&starts(&spans)), spans));
        SubBatchParts { lists, cls, all, rows }
    }
}

#[cfg(test)]
mod tests {
    use tercet_sampler::SpecialTokens;

    use super::*;
    use crate::ops::attention::TextSpan;

    const SPECIAL: SpecialTokens = SpecialTokens { cls: 0, eos: 2, pad: 1, unk: 3, mask: None };

    fn cut_all(lens: &[usize], tokens: usize) -> Vec<SubBatch> {
        let ids = |n: usize| (0..n as i64).map(|t| if t == 0 { 0 } else { 4 + t % 3 }).collect();
        let texts: Vec<TextInput> = lens.iter().map(|&n| TextInput::new(ids(n), &SPECIAL)).collect();
        let framing = Framing { device: Device::Cpu, kind: Kind::Float, uncounted: Some(i64::from(SPECIAL.pad)) };
        let limit = SubBatchLimit { tokens, texts: 0 };
        SubBatches::new(&texts, limit, framing, Heads::ALL).iter().collect()
    }

    #[test]
    fn padding_that_is_written_in_a_text_is_not_counted() {
        let texts = [TextInput::new(vec![0, 5, 1, 6, 2], &SPECIAL), TextInput::new(vec![0, 5, 6, 2], &SPECIAL)];
        let positions = |uncounted| {
            let framing = Framing { device: Device::Cpu, kind: Kind::Float, uncounted };
            let limit = SubBatchLimit { tokens: 100, texts: 0 };
            let sub_batch = SubBatches::new(&texts, limit, framing, Heads::ALL).build(0);
            Vec::<i64>::try_from(sub_batch.positions).unwrap()
        };
        assert_eq!(positions(Some(1)), [0, 1, -1, 2, 3, 0, 1, 2, 3]);
        assert_eq!(positions(None), [0, 1, 2, 3, 4, 0, 1, 2, 3]);
    }

    #[test]
    fn texts_lie_one_after_another_longest_first() {
        let cut = cut_all(&[50, 99, 100], 200);
        let sizes: Vec<_> = cut.iter().map(|c| (c.num_texts(), c.num_tokens())).collect();
        assert_eq!(sizes, [(2, 199), (1, 50)]);
        assert_eq!(cut[0].tokens.spans()[1], TextSpan { first: 100, len: 99 });
        let starts = |rows: &TextRows| Vec::<i32>::try_from(rows.starts()).unwrap();
        assert_eq!((starts(&cut[0].tokens), cut[0].tokens.longest()), (vec![0, 100, 199], 100));
        assert_eq!((starts(&cut[0].firsts), cut[0].firsts.longest()), (vec![0, 1, 2], 1));
        assert_eq!(Vec::<i64>::try_from(&cut[0].texts).unwrap(), [2, 1]);
    }

    #[test]
    fn repeated_tokens_share_a_slot_and_cls_gets_no_vector() {
        let cut = cut_all(&[6], 100);
        // Ids 0 5 6 4 5 6: three distinct ones, the CLS without weight and vector.
        assert_eq!(cut[0].lexical_target.size(), [3]);
        assert_eq!(Vec::<i64>::try_from(&cut[0].lexical_slot).unwrap(), [1, 2, 0, 1, 2]);
        assert_eq!(cut[0].vector_token.size(), [5]);
    }
}
