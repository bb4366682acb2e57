//! Batches of token ids for `tercet step --tokens`.

use std::path::Path;

use crate::random::Random;
use crate::tensors;

/// The golden models' special tokens; the fourth, UNK, is 3.
const CLS: i64 = 0;
const PAD: i64 = 1;
const EOS: i64 = 2;
/// The first id of a word.
const FIRST_WORD: usize = 4;

/// Q queries and their passages; those of query i are at i·G … i·G + G − 1.
pub struct TokenBatch {
    /// The queries, `[Q]`.
    pub queries: Vec<Vec<i64>>,
    /// The passages, `[Q·G]`.
    pub passages: Vec<Vec<i64>>,
    /// Teacher scores, [Q, G].
    pub teacher: Option<Vec<Vec<f32>>>,
}

impl TokenBatch {
    /// Makes `num_queries` queries with `group_size` passages each, of 2 (no words at all) to `max_len` tokens. Words
    /// repeat within and between texts; some are unknown. Two queries are the same, and some passages answer queries
    /// whose positive they are not, on other ranks too.
    pub fn random(seed: u64, num_queries: usize, group_size: usize, max_len: usize) -> Self {
        let mut random = Random::new(seed);
        let mut text = |longest: usize| {
            let words = random.within(0..longest - 1);
            // The range of ids is small, so that texts share tokens.
            let ids: Vec<i64> = (0..words).map(|_| random.within(FIRST_WORD - 1..40) as i64).collect();
            [vec![CLS], ids, vec![EOS]].concat()
        };
        let mut queries: Vec<_> = (0..num_queries).map(|_| text(max_len / 2)).collect();
        let mut passages: Vec<_> = (0..num_queries * group_size).map(|_| text(max_len)).collect();
        queries[1] = vec![CLS, EOS];
        passages[2] = vec![CLS, EOS];
        queries[num_queries - 1] = queries[0].clone();
        passages[5] = passages[4].clone();
        // A query's own negative equals its positive; the last query's negative and another query's positive equal the
        // second query's positive.
        passages[1] = passages[0].clone();
        passages[num_queries * group_size - 1] = passages[group_size].clone();
        passages[(num_queries - 2) * group_size] = passages[group_size].clone();
        let scores = (0..num_queries).map(|_| (0..group_size).map(|_| random.unit() as f32 * 4.0).collect());
        let teacher = Some(scores.collect());
        Self { queries, passages, teacher }
    }

    /// As [`TokenBatch::random`], but all queries have one length and all passages another, and words go up to
    /// `vocabulary`.
    pub fn even(seed: u64, num_queries: usize, group_size: usize, lens: (usize, usize), vocabulary: usize) -> Self {
        let mut random = Random::new(seed);
        let mut text = |len: usize| {
            let ids: Vec<i64> = (2..len).map(|_| random.within(FIRST_WORD..vocabulary) as i64).collect();
            [vec![CLS], ids, vec![EOS]].concat()
        };
        let queries = (0..num_queries).map(|_| text(lens.0)).collect();
        let passages = (0..num_queries * group_size).map(|_| text(lens.1)).collect();
        Self { queries, passages, teacher: None }
    }

    /// Writes it, right-padded, in the form that `--tokens` reads.
    pub fn write(&self, path: &Path) {
        let padded = |texts: &[Vec<i64>]| {
            let len = texts.iter().map(Vec::len).max().unwrap();
            let pad = |text: &Vec<i64>, pad: i64| [text.clone(), vec![pad; len - text.len()]].concat();
            let ids: Vec<Vec<i64>> = texts.iter().map(|text| pad(text, PAD)).collect();
            let mask: Vec<Vec<i64>> = texts.iter().map(|text| pad(&vec![1; text.len()], 0)).collect();
            (ids, mask)
        };
        let (q, p) = (padded(&self.queries), padded(&self.passages));
        let integers: [(&str, &[Vec<i64>]); 4] =
            [("q.input_ids", &q.0), ("q.attention_mask", &q.1), ("p.input_ids", &p.0), ("p.attention_mask", &p.1)];
        let teacher = self.teacher.as_deref().map(|scores| ("teacher_scores", scores));
        tensors::write(path, &integers, teacher.as_slice());
    }
}
