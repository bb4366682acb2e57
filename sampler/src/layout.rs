//! Cuts a rank's texts into sub-batches by their lengths alone.
//!
//! Texts are sorted by length. A sub-batch is a run of them that goes through the encoder together, side by side,
//! without padding.
//!
//! The tensors are built by the worker.

use std::cmp::Reverse;

/// How much goes through the encoder at a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SubBatchLimit {
    /// The largest number of tokens; a longer text goes alone.
    pub tokens: usize,
    /// The largest number of texts; 0 is as many as `tokens` allows.
    pub texts: usize,
}

/// One sub-batch.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SubBatchLayout {
    /// Its texts, as indices in the list that was cut, longest first; at least one.
    pub texts: Vec<usize>,
    /// Their tokens.
    pub num_tokens: usize,
}

impl SubBatchLayout {
    /// Whether a further text of `len` tokens fits; an empty sub-batch takes one of any length.
    fn has_room(&self, len: usize, limit: SubBatchLimit) -> bool {
        let fits = self.num_tokens + len <= limit.tokens && (limit.texts == 0 || self.texts.len() < limit.texts);
        fits || self.texts.is_empty()
    }
}

/// Cuts texts of `lens` tokens into sub-batches, longest texts first, so that a lack of memory shows at once.
pub fn lay_out(lens: &[usize], limit: SubBatchLimit) -> Vec<SubBatchLayout> {
    let mut order: Vec<usize> = (0..lens.len()).collect();
    order.sort_by_key(|&i| Reverse(lens[i]));
    let mut sub_batches: Vec<SubBatchLayout> = Vec::new();
    for text in order {
        if !sub_batches.last().is_some_and(|open| open.has_room(lens[text], limit)) {
            sub_batches.push(SubBatchLayout::default());
        }
        if let Some(open) = sub_batches.last_mut() {
            open.texts.push(text);
            open.num_tokens += lens[text];
        }
    }
    sub_batches
}

#[cfg(test)]
mod tests {
    use super::*;

    /// (texts, tokens) of each sub-batch.
    fn sizes(lens: &[usize], tokens: usize, texts: usize) -> Vec<(usize, usize)> {
        let sub_batches = lay_out(lens, SubBatchLimit { tokens, texts });
        sub_batches.iter().map(|s| (s.texts.len(), s.num_tokens)).collect()
    }

    #[test]
    fn texts_are_cut_by_tokens_longest_first() {
        assert_eq!(sizes(&[3, 9, 4, 4], 8, 0), [(1, 9), (2, 8), (1, 3)]);
        assert_eq!(sizes(&[3, 9, 4, 4], 1000, 3), [(3, 17), (1, 3)]);
        assert_eq!(sizes(&[5; 7], 10, 0), [(2, 10), (2, 10), (2, 10), (1, 5)]);
        assert_eq!(sizes(&[9, 9], 8, 0), [(1, 9), (1, 9)]);
        assert!(sizes(&[], 8, 0).is_empty());
    }

    #[test]
    fn every_text_is_in_one_sub_batch() {
        let lens: Vec<usize> = (0..500).map(|i| 2 + (i * 7919) % 300).collect();
        for limit in [SubBatchLimit { tokens: 10, texts: 0 }, SubBatchLimit { tokens: 4000, texts: 7 }] {
            let sub_batches = lay_out(&lens, limit);
            let texts: Vec<usize> = sub_batches.iter().flat_map(|s| s.texts.iter().copied()).collect();
            assert!(texts.windows(2).all(|pair| lens[pair[0]] >= lens[pair[1]]));
            let mut sorted = texts;
            sorted.sort_unstable();
            assert!(sorted.into_iter().eq(0..lens.len()));
            assert!(sub_batches.iter().all(|s| s.num_tokens == s.texts.iter().map(|&text| lens[text]).sum::<usize>()));
        }
    }
}
