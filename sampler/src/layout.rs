//! Cuts a rank's texts into sub-batches by their lengths alone.
//!
//! Texts are sorted by length. A sub-batch is a run of them that goes through the encoder together. Within it,
//! neighbours of nearly equal length form groups that are padded to their longest text, for devices that should attend
//! to many texts at a time. A caller that attends text by text asks for no padding, and its groups have one length
//! each.
//!
//! The tensors are built by the worker.

use std::cmp::Reverse;

/// How much goes through the encoder at a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SubBatchLimit {
    /// The largest number of tokens, padding included; a longer text goes alone.
    pub tokens: usize,
    /// The largest number of texts; 0 is as many as `tokens` allows.
    pub texts: usize,
}

/// Neighbours of nearly equal length.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TextGroup {
    /// Their indices in the list of texts, longest first.
    pub texts: Vec<usize>,
    /// The number of tokens of each text, padding included.
    pub padded_len: usize,
}

/// The groups of one sub-batch, longest first.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SubBatchLayout {
    /// At least one group; none is empty.
    pub groups: Vec<TextGroup>,
}

impl SubBatchLayout {
    /// The number of texts.
    pub fn num_texts(&self) -> usize {
        self.groups.iter().map(|group| group.texts.len()).sum()
    }

    /// The number of tokens, padding included.
    pub fn num_padded_tokens(&self) -> usize {
        self.groups.iter().map(|group| group.texts.len() * group.padded_len).sum()
    }

    /// The number of further texts of `len` tokens that fit; an empty sub-batch takes one of any length.
    fn room(&self, len: usize, limit: SubBatchLimit) -> usize {
        let by_tokens = limit.tokens.saturating_sub(self.num_padded_tokens()) / len.max(1);
        let by_texts = if limit.texts == 0 { usize::MAX } else { limit.texts.saturating_sub(self.num_texts()) };
        by_tokens.min(by_texts).max(usize::from(self.groups.is_empty()))
    }
}

/// Cuts texts of `lens` tokens into sub-batches, longest texts first, so that a lack of memory shows at once. At most
/// the share `max_padding` of a group's tokens is padding.
pub fn lay_out(lens: &[usize], limit: SubBatchLimit, max_padding: f64) -> Vec<SubBatchLayout> {
    let mut order: Vec<usize> = (0..lens.len()).collect();
    order.sort_by_key(|&i| Reverse(lens[i]));

    let mut sub_batches = Vec::new();
    let mut open = SubBatchLayout::default();
    for mut texts in neighbours(lens, &order, max_padding) {
        let padded_len = lens[texts[0]];
        while !texts.is_empty() {
            let room = open.room(padded_len, limit);
            if room == 0 {
                sub_batches.push(std::mem::take(&mut open));
                continue;
            }
            let (now, later) = texts.split_at(room.min(texts.len()));
            open.groups.push(TextGroup { texts: now.to_vec(), padded_len });
            texts = later;
        }
    }
    if !open.groups.is_empty() {
        sub_batches.push(open);
    }
    sub_batches
}

/// Cuts `order` (by length, longest first) into runs that are padded together.
fn neighbours<'a>(lens: &[usize], order: &'a [usize], max_padding: f64) -> Vec<&'a [usize]> {
    let mut runs = Vec::new();
    let (mut start, mut real) = (0, 0);
    for (i, &text) in order.iter().enumerate() {
        let padded = (i + 1 - start) * lens[order[start]];
        if i > start && (padded - real - lens[text]) as f64 > max_padding * padded as f64 {
            runs.push(&order[start..i]);
            (start, real) = (i, 0);
        }
        real += lens[text];
    }
    if start < order.len() {
        runs.push(&order[start..]);
    }
    runs
}

#[cfg(test)]
mod tests {
    use tercet_configs::limits::GPU_PADDING;

    use super::*;

    /// (texts, tokens) of each sub-batch.
    fn sizes(lens: &[usize], tokens: usize, texts: usize) -> Vec<(usize, usize)> {
        let sub_batches = lay_out(lens, SubBatchLimit { tokens, texts }, GPU_PADDING);
        sub_batches.iter().map(|s| (s.num_texts(), s.num_padded_tokens())).collect()
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
    fn only_neighbours_of_nearly_one_length_are_padded_together() {
        let sub_batches = lay_out(&[50, 98, 100, 99, 50], SubBatchLimit { tokens: 1000, texts: 0 }, GPU_PADDING);
        let groups =
            vec![TextGroup { texts: vec![2, 3, 1], padded_len: 100 }, TextGroup { texts: vec![0, 4], padded_len: 50 }];
        assert_eq!(sub_batches, [SubBatchLayout { groups }]);
    }

    #[test]
    fn every_text_is_in_one_group_and_padding_stays_below_its_share() {
        let lens: Vec<usize> = (0..500).map(|i| 2 + (i * 7919) % 300).collect();
        let limits = [SubBatchLimit { tokens: 10, texts: 0 }, SubBatchLimit { tokens: 4000, texts: 7 }];
        for (limit, max_padding) in limits.into_iter().flat_map(|limit| [(limit, GPU_PADDING), (limit, 0.0)]) {
            let sub_batches = lay_out(&lens, limit, max_padding);
            let groups = || sub_batches.iter().flat_map(|s| &s.groups);
            let mut texts: Vec<usize> = groups().flat_map(|g| g.texts.iter().copied()).collect();
            texts.sort_unstable();
            assert!(texts.into_iter().eq(0..lens.len()));
            assert!(groups().all(|g| g.texts.iter().all(|&t| lens[t] <= g.padded_len)));
            let padded: usize = sub_batches.iter().map(SubBatchLayout::num_padded_tokens).sum();
            let real: usize = lens.iter().sum();
            assert!((padded - real) as f64 <= max_padding * padded as f64, "{real} of {padded}");
        }
    }
}
