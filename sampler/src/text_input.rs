//! A text as the encoder takes it: framed token ids, and what follows from them alone.

use crate::SpecialTokens;

/// One text's token ids, framed by its special tokens.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TextInput {
    /// Token ids, without padding.
    pub ids: Vec<i64>,
    /// Positions of the CLS tokens, ascending and with the first one among them, if there are several; empty if there
    /// is just the first.
    pub cls_positions: Vec<usize>,
    lexical_ids: Vec<i64>,
}

impl TextInput {
    /// A framed text with its one CLS at the start.
    pub fn new(ids: Vec<i64>, special: &SpecialTokens) -> Self {
        Self::with_cls_at(Vec::new(), ids, special)
    }

    /// A framed text with CLS tokens at `cls_positions`, which are ascending and begin with 0.
    pub fn with_cls_at(cls_positions: Vec<usize>, ids: Vec<i64>, special: &SpecialTokens) -> Self {
        let special = special.ids().map(i64::from);
        let mut lexical_ids: Vec<i64> = ids.iter().copied().filter(|id| !special.contains(id)).collect();
        lexical_ids.sort_unstable();
        lexical_ids.dedup();
        lexical_ids.shrink_to_fit();
        Self { ids, cls_positions, lexical_ids }
    }

    /// A framed text for what looks at its tokens alone: its lexical vocabulary is left out.
    pub fn of_tokens(ids: Vec<i64>) -> Self {
        Self { ids, ..Self::default() }
    }

    /// `prefix` and `content` in their frame, as [`SpecialTokens::framed`] cuts them.
    pub fn framed(special: &SpecialTokens, prefix: &[u32], content: &[u32], max_len: usize) -> Self {
        Self::new(special.framed(prefix, content, max_len), special)
    }

    /// Whether position `i` holds a CLS.
    pub fn is_cls(&self, i: usize) -> bool {
        i == 0 || self.cls_positions.binary_search(&i).is_ok()
    }

    /// Distinct non-special token ids, ascending: the text's lexical vocabulary.
    pub fn lexical_ids(&self) -> &[i64] {
        &self.lexical_ids
    }

    /// The number of vectors of the multi-vector head.
    pub fn num_vectors(&self) -> usize {
        self.ids.len() - self.cls_positions.len().max(1).min(self.ids.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SPECIAL: SpecialTokens = SpecialTokens { cls: 0, eos: 2, pad: 1, unk: 3, mask: None };

    #[test]
    fn the_lexical_vocabulary_is_ascending_distinct_and_without_special_tokens() {
        let text = TextInput::framed(&SPECIAL, &[9], &[7, 3, 8, 7, 1], 20);
        assert_eq!(text.ids, [0, 9, 7, 3, 8, 7, 1, 2]);
        assert_eq!(text.lexical_ids(), [7, 8, 9]);
        assert_eq!(TextInput::framed(&SPECIAL, &[], &[], 20).lexical_ids(), [0i64; 0]);
    }

    #[test]
    fn every_token_but_a_cls_has_a_vector() {
        let ids = vec![0, 5, 0, 6, 2];
        assert_eq!(TextInput::new(ids.clone(), &SPECIAL).num_vectors(), 4);
        let text = TextInput::with_cls_at(vec![0, 2], ids, &SPECIAL);
        assert_eq!((text.num_vectors(), text.is_cls(0), text.is_cls(2), text.is_cls(3)), (3, true, true, false));
        assert_eq!(TextInput::default().num_vectors(), 0);
    }
}
