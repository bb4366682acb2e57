//! Cuts a rank's texts into sub-batches and lays out, from token ids alone, where every hidden state goes.
//!
//! Texts are sorted by length. A sub-batch is a run of them whose tokens lie one after another in one flat list, so that
//! everything that works token by token sees no padding. Attention works text by text: it takes groups of neighbours of
//! nearly one length, padded to the longest as long as that costs at most 3 % of the tokens.
//!
//! Legend: T tokens of the sub-batch, padding included; S its distinct (text, token) pairs; V its vectors.

use tch::{Device, Kind, Tensor};

use crate::representation::{TextInput, offsets};

/// Padding's largest share of a group's tokens.
const MAX_PADDING: f64 = 0.03;

/// How much goes through the encoder at a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SubBatchLimit {
    /// Padded tokens at most; a longer text goes alone.
    pub tokens: usize,
    /// Texts at most; 0: as many as `tokens` allows.
    pub texts: usize,
}

/// Tokens whose hidden states a text's dense representation averages.
pub struct Pooled {
    /// Places among the T tokens, int64 `[K]`.
    pub token: Tensor,
    /// The text of each, int64 `[K]`.
    pub text: Tensor,
    /// How many each text has, int64 `[texts]`.
    pub per_text: Tensor,
    /// Every text has exactly one, in order.
    pub one_per_text: bool,
}

/// Neighbours of nearly one length: tokens `first .. first + num_texts · len`.
pub struct Group {
    /// The first token's place.
    pub first: i64,
    /// Texts.
    pub num_texts: i64,
    /// Tokens of each, padding included.
    pub len: i64,
    /// True where a token may be attended to, bool [num_texts, 1, 1, len]; none when nothing is padded.
    pub attention_mask: Option<Tensor>,
}

/// One sub-batch on its device.
pub struct SubBatch {
    /// Longest first; together they are the T tokens.
    pub groups: Vec<Group>,
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
    /// Places of non-special tokens, int64 `[K]`.
    pub lexical_token: Tensor,
    /// Which distinct (text, token) pair of the sub-batch each of them is, int64 `[K]`.
    pub lexical_slot: Tensor,
    /// Where each distinct pair lies in the whole list's lexical weights, int64 `[S]`.
    pub lexical_target: Tensor,
    /// Places of the tokens that get a vector, int64 `[V]`.
    pub vector_token: Tensor,
    /// Where each vector lies in the whole list's vectors, int64 `[V]`.
    pub vector_target: Tensor,
    /// Real tokens.
    pub num_tokens: usize,
}

impl SubBatch {
    /// Texts.
    pub fn num_texts(&self) -> i64 {
        self.texts.size()[0]
    }

    /// T.
    pub fn num_padded_tokens(&self) -> usize {
        self.token_ids.size()[0] as usize
    }
}

/// Cuts `texts` into sub-batches, longest texts first: if memory does not suffice, that shows at once.
pub fn cut(texts: &[TextInput], limit: SubBatchLimit, special: &[i64], pad: i64, device: Device) -> Vec<SubBatch> {
    let mut order: Vec<usize> = (0..texts.len()).collect();
    order.sort_by_key(|&i| std::cmp::Reverse(texts[i].ids.len()));
    let whole = WholeList {
        texts,
        lexical: offsets(texts.iter().map(|text| text.lexical_ids(special).len())),
        vector: offsets(texts.iter().map(TextInput::num_vectors)),
    };
    let groups = group(texts, &order);

    let mut sub_batches = Vec::new();
    let mut builder = Builder::default();
    for members in groups {
        let len = texts[members[0]].ids.len();
        for &text in members {
            let full = builder.num_tokens() + len > limit.tokens;
            let many = limit.texts > 0 && builder.texts.len() >= limit.texts;
            if !builder.texts.is_empty() && (full || many) {
                sub_batches.push(std::mem::take(&mut builder).finish(device));
            }
            builder.push(text, len, &whole, special, pad);
        }
        builder.end_group();
    }
    if !builder.texts.is_empty() {
        sub_batches.push(builder.finish(device));
    }
    sub_batches
}

/// Runs of `order` (by length, longest first) that are padded together.
fn group<'a>(texts: &[TextInput], order: &'a [usize]) -> Vec<&'a [usize]> {
    let mut groups = Vec::new();
    let (mut start, mut real) = (0, 0);
    for (i, &text) in order.iter().enumerate() {
        let len = texts[text].ids.len();
        let padded = (i + 1 - start) * texts[order[start]].ids.len();
        if i > start && (padded - real - len) as f64 > MAX_PADDING * padded as f64 {
            groups.push(&order[start..i]);
            (start, real) = (i, 0);
        }
        real += len;
    }
    if start < order.len() {
        groups.push(&order[start..]);
    }
    groups
}

/// The list that is cut, and where each text's ragged parts start in its flat tensors.
struct WholeList<'a> {
    texts: &'a [TextInput],
    lexical: Vec<usize>,
    vector: Vec<usize>,
}

/// A sub-batch as it grows, text by text.
#[derive(Default)]
struct Builder {
    groups: Vec<(usize, usize, usize)>,
    open: bool,
    texts: Vec<i64>,
    ids: Vec<i64>,
    positions: Vec<i64>,
    mask: Vec<bool>,
    cls: Vec<(usize, usize)>,
    real: Vec<(usize, usize)>,
    lexical_token: Vec<i64>,
    lexical_slot: Vec<i64>,
    lexical_target: Vec<i64>,
    vector_token: Vec<i64>,
    vector_target: Vec<i64>,
}

impl Builder {
    fn num_tokens(&self) -> usize {
        self.ids.len()
    }

    /// Appends text `i`, padded to `len`, to the open group or a new one.
    fn push(&mut self, i: usize, len: usize, whole: &WholeList, special: &[i64], pad: i64) {
        let (text, base, b) = (&whole.texts[i], self.ids.len(), self.texts.len());
        match self.groups.last_mut().filter(|_| self.open) {
            Some((_, count, _)) => *count += 1,
            None => self.groups.push((base, 1, len)),
        }
        self.open = true;
        self.texts.push(i as i64);
        let vocabulary = text.lexical_ids(special);
        let first_slot = self.lexical_target.len();
        self.lexical_target.extend((0..vocabulary.len()).map(|k| (whole.lexical[i] + k) as i64));
        self.vector_target.extend((whole.vector[i]..whole.vector[i + 1]).map(|k| k as i64));
        for (t, &id) in text.ids.iter().enumerate() {
            self.real.push((base + t, b));
            if text.is_cls(t) {
                self.cls.push((base + t, b));
            } else {
                self.vector_token.push((base + t) as i64);
            }
            if let Ok(k) = vocabulary.binary_search(&id) {
                self.lexical_token.push((base + t) as i64);
                self.lexical_slot.push((first_slot + k) as i64);
            }
        }
        self.ids.extend(text.ids.iter().copied().chain(std::iter::repeat(pad)).take(len));
        self.positions.extend(0..len as i64);
        self.mask.extend((0..len).map(|t| t < text.ids.len()));
    }

    fn end_group(&mut self) {
        self.open = false;
    }

    fn finish(self, device: Device) -> SubBatch {
        let to_tensor = |values: &[i64]| Tensor::from_slice(values).to_device(device);
        let groups = self.groups.iter().map(|&(first, count, len)| {
            let mask = &self.mask[first..first + count * len];
            let shape = [count as i64, 1, 1, len as i64];
            let to_mask = || Tensor::from_slice(mask).to_kind(Kind::Bool).to_device(device).view(shape);
            let attention_mask = (!mask.iter().all(|&real| real)).then(to_mask);
            Group { first: first as i64, num_texts: shape[0], len: shape[3], attention_mask }
        });
        SubBatch {
            groups: groups.collect(),
            num_tokens: self.real.len(),
            cls: pooled(&self.cls, self.texts.len(), device),
            real: pooled(&self.real, self.texts.len(), device),
            texts: to_tensor(&self.texts),
            token_ids: to_tensor(&self.ids),
            positions: to_tensor(&self.positions),
            lexical_token: to_tensor(&self.lexical_token),
            lexical_slot: to_tensor(&self.lexical_slot),
            lexical_target: to_tensor(&self.lexical_target),
            vector_token: to_tensor(&self.vector_token),
            vector_target: to_tensor(&self.vector_target),
        }
    }
}

fn pooled(tokens: &[(usize, usize)], num_texts: usize, device: Device) -> Pooled {
    let mut per_text = vec![0i64; num_texts];
    for &(_, text) in tokens {
        per_text[text] += 1;
    }
    let column = |f: fn(&(usize, usize)) -> i64| Tensor::from_slice(&tokens.iter().map(f).collect::<Vec<_>>());
    Pooled {
        token: column(|t| t.0 as i64).to_device(device),
        text: column(|t| t.1 as i64).to_device(device),
        one_per_text: per_text.iter().all(|&n| n == 1),
        per_text: Tensor::from_slice(&per_text).to_device(device),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(lens: &[usize]) -> Vec<TextInput> {
        lens.iter()
            .map(|&n| TextInput::new((0..n as i64).map(|t| if t == 0 { 0 } else { 4 + t % 3 }).collect()))
            .collect()
    }

    fn cut_all(lens: &[usize], tokens: usize, limit: usize) -> Vec<SubBatch> {
        cut(&texts(lens), SubBatchLimit { tokens, texts: limit }, &[0, 1, 2, 3], 1, Device::Cpu)
    }

    /// (texts, tokens) of each sub-batch.
    fn sizes(lens: &[usize], tokens: usize, limit: usize) -> Vec<(i64, usize)> {
        cut_all(lens, tokens, limit).iter().map(|s| (s.num_texts(), s.num_padded_tokens())).collect()
    }

    #[test]
    fn texts_are_cut_by_tokens_longest_first() {
        assert_eq!(sizes(&[3, 9, 4, 4], 8, 0), [(1, 9), (2, 8), (1, 3)]);
        assert_eq!(sizes(&[3, 9, 4, 4], 1000, 3), [(3, 17), (1, 3)]);
        assert_eq!(sizes(&[5; 7], 10, 0), [(2, 10), (2, 10), (2, 10), (1, 5)]);
    }

    #[test]
    fn only_neighbours_of_nearly_one_length_are_padded_together() {
        let cut = cut_all(&[100, 99, 98, 50, 50], 1000, 0);
        let groups: Vec<(i64, i64, i64)> = cut[0].groups.iter().map(|g| (g.first, g.num_texts, g.len)).collect();
        assert_eq!(groups, [(0, 3, 100), (300, 2, 50)]);
        assert!(cut[0].groups[0].attention_mask.is_some() && cut[0].groups[1].attention_mask.is_none());
        assert_eq!((cut[0].num_tokens, cut[0].num_padded_tokens()), (397, 400));
    }

    #[test]
    fn repeated_tokens_share_a_slot_and_cls_gets_no_vector() {
        let cut = cut_all(&[6], 100, 0);
        // Ids 0 5 6 4 5 6: three distinct ones, the CLS without weight and vector.
        assert_eq!(cut[0].lexical_target.size(), [3]);
        assert_eq!(Vec::<i64>::try_from(&cut[0].lexical_slot).unwrap(), [1, 2, 0, 1, 2]);
        assert_eq!(cut[0].vector_token.size(), [5]);
    }
}
