//! Scores of a block's passages by their inverted lists: lexical weights, and BM25 over tokens or words.

use std::ops::Range;

use super::Block;
use crate::bm25::Bm25;
use crate::lexical::LexicalWeights;
use crate::postings::List;
use crate::tensors::u32_at;

impl Block {
    /// Calls `visit` with each passage that has a token of `query`, and the sum over common tokens of the products of
    /// what `weights` makes of theirs, added in the order of `query`. `scores` is room that is used again.
    pub fn score_lexical(
        &self,
        query: &[(u32, f32)],
        weights: LexicalWeights,
        scores: &mut Vec<f32>,
        visit: impl FnMut(usize, f32),
    ) {
        let list = |token: u32| self.lexical.as_ref()?.list(&self.file, token);
        let lists = query.iter().map(|&(token, own)| (list(token), weights.of(own)));
        self.score(lists, |_, weight| weights.of(weight), scores, visit);
    }

    /// The lexical score of passage `i`, the same number as [`score_lexical`](Self::score_lexical)'s of exact weights;
    /// 0 without a common token.
    ///
    /// # Panics
    /// If `i` is larger than a block's last passage can be.
    pub fn lexical_of(&self, query: &[(u32, f32)], i: usize) -> f32 {
        let doc = u16::try_from(i).expect("a passage of a block");
        let weight = |token: u32| self.lexical.as_ref()?.list(&self.file, token)?.value_of(doc);
        query.iter().fold(0.0, |sum, &(token, own)| sum + weight(token).map_or(0.0, |weight| own * weight))
    }

    /// As [`score_lexical`](Self::score_lexical), by BM25: `query` has qtf · idf of each token, `norms` are
    /// [`bm25_norms`](Self::bm25_norms).
    pub fn score_bm25(
        &self,
        query: &[(u32, f32)],
        norms: &[f32],
        scores: &mut Vec<f32>,
        visit: impl FnMut(usize, f32),
    ) {
        let lists = query.iter().map(|(token, own)| (self.counts_of(*token), *own));
        self.score(lists, |doc, count| count / (count + norms[doc]), scores, visit);
    }

    /// The same over words; `norms` are [`word_norms`](Self::word_norms).
    pub fn score_bm25_words(
        &self,
        query: &[(String, f32)],
        norms: &[f32],
        scores: &mut Vec<f32>,
        visit: impl FnMut(usize, f32),
    ) {
        let lists = query.iter().map(|(word, own)| (self.counts_of_word(word), *own));
        self.score(lists, |doc, count| count / (count + norms[doc]), scores, visit);
    }

    /// What BM25 puts beside each passage's counts.
    pub fn bm25_norms(&self, bm25: &Bm25) -> Vec<f32> {
        self.token_lens().map(|len| bm25.norm(len)).collect()
    }

    /// The same over words.
    pub fn word_norms(&self, bm25: &Bm25) -> Vec<f32> {
        self.word_lens().map(|len| bm25.norm(len)).collect()
    }

    /// Passages that have `token`.
    pub fn document_frequency(&self, token: u32) -> usize {
        self.counts_of(token).map_or(0, |list| list.len())
    }

    /// Passages that have `word`.
    pub fn word_frequency(&self, word: &str) -> usize {
        self.counts_of_word(word).map_or(0, |list| list.len())
    }

    /// Tokens of all passages; 0 without counts.
    pub fn num_tokens(&self) -> u64 {
        self.token_lens().map(u64::from).sum()
    }

    /// Words of all passages; 0 without counts of words.
    pub fn num_words(&self) -> u64 {
        self.word_lens().map(u64::from).sum()
    }

    fn counts_of(&self, token: u32) -> Option<List<'_>> {
        self.counts.as_ref()?.0.list(&self.file, token)
    }

    fn counts_of_word(&self, word: &str) -> Option<List<'_>> {
        self.words.as_ref()?.0.list(&self.file, word)
    }

    fn token_lens(&self) -> impl Iterator<Item = u32> {
        self.lens(self.counts.as_ref().map(|(_, lens)| lens))
    }

    fn word_lens(&self) -> impl Iterator<Item = u32> {
        self.lens(self.words.as_ref().map(|(_, lens)| lens))
    }

    fn lens(&self, place: Option<&Range<usize>>) -> impl Iterator<Item = u32> + use<'_> {
        let bytes = place.map_or(&[][..], |place| self.file.bytes(place));
        (0..bytes.len() / 4).map(|i| u32_at(bytes, i))
    }

    /// `lists` are the postings of the query's terms, where there are any, and what each weighs there.
    #[inline(always)]
    fn score<'a>(
        &self,
        lists: impl Iterator<Item = (Option<List<'a>>, f32)>,
        weigh: impl Fn(usize, f32) -> f32,
        scores: &mut Vec<f32>,
        mut visit: impl FnMut(usize, f32),
    ) {
        scores.clear();
        scores.resize(self.num_passages, 0.0);
        let mut is_any = false;
        for (list, own) in lists.filter_map(|(list, own)| Some((list?, own))) {
            is_any = true;
            list.for_each(|doc, value| scores[doc] += own * weigh(doc, value));
        }
        if is_any {
            scores.iter().enumerate().filter(|(_, score)| **score > 0.0).for_each(|(doc, &score)| visit(doc, score));
        }
    }
}
