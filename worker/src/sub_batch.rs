//! Cuts a rank's texts into sub-batches and lays out, from token ids alone, where every hidden state goes.
//!
//! Texts are sorted by length first, so that a sub-batch holds texts of nearly one length and little padding.
//!
//! Legend: B texts of the sub-batch, L its padded length, S its distinct (text, token) pairs, T its vectors.

use tch::{Device, Kind, Tensor};

use crate::representation::{TextInput, offsets};

/// How much goes through the encoder at a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SubBatchLimit {
    /// Padded tokens at most; a longer text goes alone.
    pub tokens: usize,
    /// Texts at most; 0: as many as `tokens` allows.
    pub texts: usize,
}

/// Positions (in B·L) whose hidden states a text's dense representation averages.
pub struct Pooled {
    /// int64 [K].
    pub token: Tensor,
    /// The text of each, int64 [K].
    pub text: Tensor,
    /// How many each text has, int64 [B].
    pub per_text: Tensor,
    /// Every text has exactly one, in order.
    pub one_per_text: bool,
}

/// One sub-batch on its device.
pub struct SubBatch {
    /// The texts' indices in the list that was cut.
    pub texts: Tensor,
    /// Token ids, right-padded, int64 [B, L].
    pub token_ids: Tensor,
    /// True where a token may be attended to, bool [B, 1, 1, L]; none when nothing is padded.
    pub attention_mask: Option<Tensor>,
    /// The CLS tokens.
    pub cls: Pooled,
    /// All real tokens.
    pub real: Pooled,
    /// Positions (in B·L) of non-special tokens, int64 [K].
    pub lexical_token: Tensor,
    /// Which distinct (text, token) pair of the sub-batch each of them is, int64 [K].
    pub lexical_slot: Tensor,
    /// Where each distinct pair lies in the whole list's lexical weights, int64 [S].
    pub lexical_target: Tensor,
    /// Positions (in B·L) of the tokens that get a vector, int64 [T].
    pub vector_token: Tensor,
    /// Where each vector lies in the whole list's vectors, int64 [T].
    pub vector_target: Tensor,
    /// Real tokens.
    pub num_tokens: usize,
}

impl SubBatch {
    /// B.
    pub fn num_texts(&self) -> i64 {
        self.token_ids.size()[0]
    }

    /// L.
    pub fn padded_len(&self) -> i64 {
        self.token_ids.size()[1]
    }
}

/// Cuts `texts` into sub-batches, longest texts first: if memory does not suffice, that shows at once.
pub fn cut(texts: &[TextInput], limit: SubBatchLimit, special: &[i64], pad: i64, device: Device) -> Vec<SubBatch> {
    let mut order: Vec<usize> = (0..texts.len()).collect();
    order.sort_by_key(|&i| std::cmp::Reverse(texts[i].ids.len()));
    let lexical_offsets = offsets(texts.iter().map(|text| text.lexical_ids(special).len()));
    let vector_offsets = offsets(texts.iter().map(TextInput::num_vectors));
    let targets = Targets { lexical: &lexical_offsets, vector: &vector_offsets };

    let mut sub_batches = Vec::new();
    let mut rest = order.as_slice();
    while let Some(&longest) = rest.first() {
        let mut count = (limit.tokens / texts[longest].ids.len().max(1)).clamp(1, rest.len());
        if limit.texts > 0 {
            count = count.min(limit.texts);
        }
        let (now, later) = rest.split_at(count);
        sub_batches.push(lay_out(texts, now, &targets, special, pad, device));
        rest = later;
    }
    sub_batches
}

/// Where each text's ragged parts start in the whole list's flat tensors.
struct Targets<'a> {
    lexical: &'a [usize],
    vector: &'a [usize],
}

fn lay_out(
    texts: &[TextInput],
    chosen: &[usize],
    targets: &Targets,
    special: &[i64],
    pad: i64,
    device: Device,
) -> SubBatch {
    let len = chosen.iter().map(|&i| texts[i].ids.len()).max().unwrap_or(0);
    let mut ids = vec![pad; chosen.len() * len];
    let mut mask = vec![false; chosen.len() * len];
    let (mut cls, mut real) = (Vec::new(), Vec::new());
    let (mut lexical_token, mut lexical_slot, mut lexical_target) = (Vec::new(), Vec::new(), Vec::new());
    let (mut vector_token, mut vector_target) = (Vec::new(), Vec::new());

    for (b, &i) in chosen.iter().enumerate() {
        let text = &texts[i];
        let base = b * len;
        let vocabulary = text.lexical_ids(special);
        let first_slot = lexical_target.len();
        lexical_target.extend((0..vocabulary.len()).map(|k| (targets.lexical[i] + k) as i64));
        vector_target.extend((targets.vector[i]..targets.vector[i + 1]).map(|k| k as i64));
        for (t, &id) in text.ids.iter().enumerate() {
            ids[base + t] = id;
            mask[base + t] = true;
            real.push((base + t, b));
            if text.is_cls(t) {
                cls.push((base + t, b));
            } else {
                vector_token.push((base + t) as i64);
            }
            if let Ok(k) = vocabulary.binary_search(&id) {
                lexical_token.push((base + t) as i64);
                lexical_slot.push((first_slot + k) as i64);
            }
        }
    }

    let shape = [chosen.len() as i64, len as i64];
    let to_tensor = |values: &[i64]| Tensor::from_slice(values).to_device(device);
    let num_tokens = real.len();
    let padded = num_tokens < ids.len();
    SubBatch {
        texts: to_tensor(&chosen.iter().map(|&i| i as i64).collect::<Vec<_>>()),
        token_ids: to_tensor(&ids).view(shape),
        attention_mask: padded
            .then(|| Tensor::from_slice(&mask).to_kind(Kind::Bool).to_device(device).view([shape[0], 1, 1, shape[1]])),
        cls: pooled(&cls, chosen.len(), device),
        real: pooled(&real, chosen.len(), device),
        lexical_token: to_tensor(&lexical_token),
        lexical_slot: to_tensor(&lexical_slot),
        lexical_target: to_tensor(&lexical_target),
        vector_token: to_tensor(&vector_token),
        vector_target: to_tensor(&vector_target),
        num_tokens,
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

    fn sizes(lens: &[usize], tokens: usize, limit: usize) -> Vec<(i64, i64)> {
        let cut = cut(&texts(lens), SubBatchLimit { tokens, texts: limit }, &[0, 1, 2, 3], 1, Device::Cpu);
        cut.iter().map(|s| (s.num_texts(), s.padded_len())).collect()
    }

    #[test]
    fn texts_are_cut_by_padded_tokens_longest_first() {
        assert_eq!(sizes(&[3, 9, 4, 4], 8, 0), [(1, 9), (2, 4), (1, 3)]);
        assert_eq!(sizes(&[3, 9, 4, 4], 1000, 3), [(3, 9), (1, 3)]);
    }

    #[test]
    fn repeated_tokens_share_a_slot_and_cls_gets_no_vector() {
        let cut = cut(&texts(&[6]), SubBatchLimit { tokens: 100, texts: 0 }, &[0, 1, 2, 3], 1, Device::Cpu);
        // Ids 0 5 6 4 5 6: three distinct ones, the CLS without weight and vector.
        assert_eq!(cut[0].lexical_target.size(), [3]);
        assert_eq!(Vec::<i64>::try_from(&cut[0].lexical_slot).unwrap(), [1, 2, 0, 1, 2]);
        assert_eq!(cut[0].vector_token.size(), [5]);
        assert!(cut[0].attention_mask.is_none());
    }
}
