//! Finds the best segmentation of a word under a Unigram model, as token ids.
//!
//! The `tokenizers` crate's own search makes a string of every piece that it examines. This one walks a double array
//! and makes none. Scores are added in the same order and ties are broken alike, so the ids are the same.

use std::collections::BTreeMap;

use yada::DoubleArray;
use yada::builder::DoubleArrayBuilder;

/// How much lower than the least likely piece an unknown character scores: the `tokenizers` crate's constant.
const UNKNOWN_PENALTY: f64 = 10.0;

const NO_START: u32 = u32::MAX;

/// A Unigram model without byte fallback.
pub(super) struct Unigram {
    pieces: DoubleArray<Vec<u8>>,
    /// The scores by token id.
    scores: Vec<f64>,
    unknown: u32,
    unknown_score: f64,
}

/// The best segmentation of the text before some byte.
#[derive(Clone, Copy)]
pub(super) struct BestPath {
    score: f64,
    /// The start of its last piece; [`NO_START`] if none was found yet.
    start: u32,
    /// The token id of its last piece.
    id: u32,
}

impl Unigram {
    /// The model of a vocabulary: each piece with its score, in the order of the ids. None if they make no model.
    pub(super) fn new(vocab: &[(String, f64)], unknown: usize) -> Option<Self> {
        if unknown >= vocab.len() || vocab.iter().any(|(piece, _)| piece.is_empty() || piece.contains('\0')) {
            return None;
        }
        // If a piece occurs twice, the last one counts.
        let ids: BTreeMap<&[u8], u32> =
            vocab.iter().enumerate().map(|(id, (piece, _))| (piece.as_bytes(), id as u32)).collect();
        let pieces: Vec<(&[u8], u32)> = ids.into_iter().collect();
        let pieces = DoubleArray::new(DoubleArrayBuilder::build(&pieces).ok()?).ok()?;
        let scores: Vec<f64> = vocab.iter().map(|(_, score)| *score).collect();
        let unknown_score = scores.iter().copied().fold(f64::INFINITY, f64::min) - UNKNOWN_PENALTY;
        Some(Self { pieces, scores, unknown: unknown as u32, unknown_score })
    }

    /// Appends the tokens of `word`, which must not contain NUL, to `tokens`. `paths` is working memory.
    pub(super) fn encode(&self, word: &str, paths: &mut Vec<BestPath>, tokens: &mut Vec<u32>) {
        self.search(word, paths);
        let first = tokens.len();
        let mut end = word.len();
        // Adjacent unknown characters are one token.
        let mut unknown_end = None;
        while end > 0 {
            let BestPath { start, id, .. } = paths[end];
            if id == self.unknown {
                unknown_end.get_or_insert(end);
            } else {
                if let Some(unknown_end) = unknown_end.take() {
                    tokens.push(self.id_of(&word[end..unknown_end]));
                }
                tokens.push(id);
            }
            end = start as usize;
        }
        if let Some(unknown_end) = unknown_end {
            tokens.push(self.id_of(&word[..unknown_end]));
        }
        tokens[first..].reverse();
    }

    /// Finds the best path to every character's end.
    fn search(&self, word: &str, paths: &mut Vec<BestPath>) {
        paths.clear();
        paths.resize(word.len() + 1, BestPath { score: 0.0, start: NO_START, id: 0 });
        for (start, character) in word.char_indices() {
            let score_here = paths[start].score;
            let mut reach = |len: usize, id: u32, score: f64| {
                let path = &mut paths[start + len];
                let score = score + score_here;
                if path.start == NO_START || score > path.score {
                    *path = BestPath { score, start: start as u32, id };
                }
            };
            let mut single = false;
            for (id, len) in self.pieces.common_prefix_search(&word.as_bytes()[start..]) {
                reach(len, id, self.scores[id as usize]);
                single |= len == character.len_utf8();
            }
            if !single {
                reach(character.len_utf8(), self.unknown, self.unknown_score);
            }
        }
    }

    /// The id of a run of unknown characters. The run may still be a piece, one that scores below unknown characters.
    fn id_of(&self, unknown: &str) -> u32 {
        self.pieces.exact_match_search(unknown).unwrap_or(self.unknown)
    }
}
