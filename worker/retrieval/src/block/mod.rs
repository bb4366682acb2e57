//! One block of an index, mapped: everything that is to be had of its passages.

mod scores;

use std::ops::Range;
use std::path::Path;

use safetensors::tensor::Dtype;

use crate::build::{BlockBuilder, Contents};
use crate::error::IndexError;
use crate::number::{Numbers, Stored};
use crate::postings::{BM25, LEXICAL, Postings, Values, WordPostings};
use crate::tensors::{MappedTensors, u64_at};
use crate::texts::Texts;

/// A mapped block. A passage of it is named by its place, from 0.
#[derive(Debug)]
pub struct Block {
    file: MappedTensors,
    stored: Stored,
    num_passages: usize,
    ids: Range<usize>,
    id_offsets: Range<usize>,
    identities: Range<usize>,
    texts: Texts,
    dense: Option<(Range<usize>, usize)>,
    lexical: Option<Postings>,
    counts: Option<(Postings, Range<usize>)>,
    words: Option<(WordPostings, Range<usize>)>,
}

impl Block {
    /// Maps the file at `path`. Only its header is read.
    ///
    /// # Errors
    /// It cannot be read, or is no such block.
    pub fn open(path: &Path, contents: Contents, stored: Stored) -> Result<Self, IndexError> {
        let file = MappedTensors::open(path)?;
        let (id_offsets, shape) = file.find("ids.offsets", Dtype::U64)?;
        let num_passages = shape.iter().product::<usize>().saturating_sub(1);
        if num_passages > BlockBuilder::LARGEST {
            return Err(file.damaged(format!("it has {num_passages} passages")));
        }
        let dense = contents.dense.then(|| {
            let dtype = match stored {
                Stored::Bf16 => Dtype::BF16,
                Stored::Fp32 => Dtype::F32,
            };
            match file.find("dense", dtype)? {
                (place, &[count, width]) if count == num_passages => Ok((place, width)),
                (_, shape) => Err(file.damaged(format!("dense has the shape {shape:?}"))),
            }
        });
        let lexical = contents.lexical.then(|| Postings::find(&file, LEXICAL, Values::Weights(stored)));
        let lens = |name| match file.find(name, Dtype::U32)? {
            (place, [count]) if *count == num_passages => Ok(place),
            (_, shape) => Err(file.damaged(format!("{name} has the shape {shape:?}"))),
        };
        let counts = contents.bm25.then(|| Ok((Postings::find(&file, BM25, Values::Counts)?, lens("bm25.lens")?)));
        let words = contents.words.then(|| Ok((WordPostings::find(&file)?, lens("words.lens")?)));
        let identities = match file.find("texts.identities", Dtype::U64)? {
            (place, &[count, 2]) if count == num_passages => place,
            (_, shape) => return Err(file.damaged(format!("texts.identities has the shape {shape:?}"))),
        };
        Ok(Self {
            stored,
            num_passages,
            identities,
            ids: file.find("ids.bytes", Dtype::U8)?.0,
            id_offsets,
            texts: Texts::find(&file)?,
            dense: dense.transpose()?,
            lexical: lexical.transpose()?,
            counts: counts.transpose()?,
            words: words.transpose()?,
            file,
        })
    }

    /// Whether the content has the checksum that was written with it. It reads the whole file.
    ///
    /// # Errors
    /// [`IndexError::Damaged`].
    pub fn verify(&self) -> Result<(), IndexError> {
        self.file.verify()
    }

    /// The checksum that the file says it has.
    ///
    /// # Errors
    /// [`IndexError::Damaged`]: it says none.
    pub fn checksum(&self) -> Result<&str, IndexError> {
        self.file.stated()
    }

    /// The file.
    pub fn path(&self) -> &Path {
        self.file.path()
    }

    /// N.
    pub fn num_passages(&self) -> usize {
        self.num_passages
    }

    /// The name of passage `i`, as UTF-8.
    ///
    /// # Panics
    /// If there is no such passage.
    pub fn id(&self, i: usize) -> &[u8] {
        let offsets = self.file.bytes(&self.id_offsets);
        &self.file.bytes(&self.ids)[u64_at(offsets, i) as usize..u64_at(offsets, i + 1) as usize]
    }

    /// The hashes by which the text of passage `i` is told to be another's: of the text, and of what it is without its
    /// title.
    ///
    /// # Panics
    /// If there is no such passage.
    pub fn identities(&self, i: usize) -> [u64; 2] {
        let bytes = self.file.bytes(&self.identities);
        [u64_at(bytes, 2 * i), u64_at(bytes, 2 * i + 1)]
    }

    /// The text of passage `i`.
    ///
    /// # Errors
    /// [`IndexError::Damaged`].
    ///
    /// # Panics
    /// If there is no such passage.
    pub fn text(&self, i: usize) -> Result<String, IndexError> {
        self.texts.get(&self.file, i)
    }

    /// The bytes of that.
    ///
    /// # Panics
    /// If there is no such passage.
    pub fn text_len(&self, i: usize) -> usize {
        self.texts.len(&self.file, i)
    }

    /// The dense vectors, [N, d], and d, if the index has them.
    pub fn dense(&self) -> Option<(Numbers<'_>, usize)> {
        let (place, width) = self.dense.as_ref()?;
        Some((Numbers { bytes: self.file.bytes(place), stored: self.stored }, *width))
    }
}

#[cfg(test)]
mod tests {
    use std::fs::File;

    use proptest::prelude::*;

    use super::*;
    use crate::bm25::{Bm25, DocLengths};
    use crate::build::Passage;
    use crate::lexical::LexicalWeights;

    const ALL: Contents = Contents { dense: true, lexical: true, bm25: true, words: true };

    /// Tokens of a passage, and the weight of each distinct one.
    type Made = (Vec<u32>, Vec<(u32, f32)>);

    fn made(tokens: Vec<u32>, weight: impl Fn(u32) -> f32) -> Made {
        let distinct: std::collections::BTreeSet<u32> = tokens.iter().copied().collect();
        let weights = distinct.into_iter().map(|token| (token, weight(token))).collect();
        (tokens, weights)
    }

    fn written(passages: &[Made], contents: Contents, stored: Stored) -> std::path::PathBuf {
        let mut builder = BlockBuilder::new(contents, stored);
        for (i, (tokens, weights)) in passages.iter().enumerate() {
            let (id, text) = (format!("d{i}"), format!("{tokens:?}"));
            let dense = [i as f32 / 3.0, -1.0];
            let identities = [i as u64, u64::MAX - i as u64];
            let passage = Passage { id: &id, text: &text, identities, dense: &dense, lexical: weights, tokens };
            builder.push(passage).unwrap();
        }
        let path = tempfile::tempdir().unwrap().keep().join(crate::manifest::block_name(0));
        builder.write(&mut File::create(&path).unwrap()).unwrap();
        path
    }

    proptest! {
        /// Against one passage at a time, from what was put in.
        #[test]
        fn scores_are_those_of_passages_taken_singly(
            passages in proptest::collection::vec(proptest::collection::vec(0u32..12, 0..20), 1..40),
            query in proptest::collection::vec((0u32..14, 0.0f32..2.0), 0..6),
            fp32: bool,
        ) {
            let stored = if fp32 { Stored::Fp32 } else { Stored::Bf16 };
            let weight = |token: u32| (token % 5) as f32 * 0.37;
            let passages: Vec<Made> = passages.into_iter().map(|tokens| made(tokens, weight)).collect();
            let path = written(&passages, ALL, stored);
            let block = Block::open(&path, ALL, stored).unwrap();
            block.verify().unwrap();
            let query: std::collections::BTreeMap<u32, f32> = query.into_iter().collect();
            let query: Vec<(u32, f32)> = query.into_iter().collect();
            let mut scores = Vec::new();

            let mut found = vec![0.0; passages.len()];
            block.score_lexical(&query, LexicalWeights::Exact, &mut scores, |doc, score| found[doc] = score);
            for (i, (_, weights)) in passages.iter().enumerate() {
                let expected = query.iter().fold(0.0, |sum, (token, own)| {
                    let there = weights.iter().find(|(other, _)| other == token);
                    sum + there.map_or(0.0, |(_, weight)| own * stored.rounded(*weight))
                });
                prop_assert_eq!(found[i], expected);
                prop_assert_eq!(block.lexical_of(&query, i), expected);
            }

            let mut found = vec![0.0; passages.len()];
            block.score_lexical(&query, LexicalWeights::Published, &mut scores, |doc, score| found[doc] = score);
            let hundredths = |weight: f32| (f64::from(weight) * 100.0).ceil() as u32;
            for (i, (_, weights)) in passages.iter().enumerate() {
                let of = |token: &u32| weights.iter().find(|(other, _)| other == token).map_or(0.0, |(_, own)| *own);
                let terms = query.iter().map(|(token, own)| hundredths(*own) * hundredths(stored.rounded(of(token))));
                prop_assert_eq!(found[i], terms.sum::<u32>() as f32);
            }

            let num_tokens: usize = passages.iter().map(|(tokens, _)| tokens.len()).sum();
            let (num_docs, num_tokens) = (passages.len() as u64, num_tokens as u64);
            let bm25 = Bm25 { k1: 0.9, b: 0.4, lengths: DocLengths::Exact, num_docs, num_tokens };
            prop_assert_eq!(block.num_tokens(), bm25.num_tokens);
            let mut found = vec![0.0; passages.len()];
            block.score_bm25(&query, &block.bm25_norms(&bm25), &mut scores, |doc, score| found[doc] = score);
            for (i, (tokens, _)) in passages.iter().enumerate() {
                let mean = num_tokens as f64 / passages.len() as f64;
                let expected: f64 = query.iter().map(|&(token, own)| {
                    let count = tokens.iter().filter(|other| **other == token).count() as f64;
                    let norm = 0.9 * (0.6 + 0.4 * tokens.len() as f64 / mean.max(1e-9));
                    if count == 0.0 { 0.0 } else { f64::from(own) * count / (count + norm) }
                }).sum();
                prop_assert!((f64::from(found[i]) - expected).abs() < 1e-5, "{} {}", found[i], expected);
            }
            // A passage's text has its tokens as words.
            let words: Vec<(String, f32)> = query.iter().map(|(token, own)| (token.to_string(), *own)).collect();
            let mut found_by_words = vec![0.0; passages.len()];
            let put = |doc: usize, score| found_by_words[doc] = score;
            block.score_bm25_words(&words, &block.word_norms(&bm25), &mut scores, put);
            prop_assert_eq!(found_by_words, found);
            prop_assert_eq!(block.num_words(), num_tokens);
            for token in 0..14 {
                prop_assert_eq!(block.word_frequency(&token.to_string()), block.document_frequency(token));
                let having = passages.iter().filter(|(tokens, _)| tokens.contains(&token)).count();
                prop_assert_eq!(block.document_frequency(token), having);
            }
            std::fs::remove_dir_all(path.parent().unwrap()).unwrap();
        }
    }

    #[test]
    fn passages_are_had_as_they_were_put_in() {
        let passages: Vec<Made> = (0..500).map(|i| made(vec![i, i + 1], |_| 1.0)).collect();
        let block = Block::open(&written(&passages, ALL, Stored::Bf16), ALL, Stored::Bf16).unwrap();
        let (dense, width) = block.dense().unwrap();
        assert_eq!((block.num_passages(), width), (500, 2));
        for i in [0, 1, 255, 499] {
            assert_eq!(block.id(i), format!("d{i}").as_bytes());
            assert_eq!(block.identities(i), [i as u64, u64::MAX - i as u64]);
            assert_eq!(block.text(i).unwrap(), format!("[{i}, {}]", i + 1));
            assert_eq!(dense.slice(2 * i, 2).to_vec(), [Stored::Bf16.rounded(i as f32 / 3.0), -1.0]);
        }
    }

    #[test]
    fn the_same_passages_make_the_same_bytes() {
        let passages: Vec<Made> = (0..50).map(|i| made(vec![i % 7, i % 5], |_| 0.5)).collect();
        let bytes = || std::fs::read(written(&passages, ALL, Stored::Bf16)).unwrap();
        assert_eq!(bytes(), bytes());
    }

    #[test]
    fn what_it_does_not_hold_is_not_found_and_what_it_lacks_is_refused() {
        let dense = Contents { dense: true, lexical: false, bm25: false, words: false };
        let path = written(&[made(vec![1], |_| 1.0)], dense, Stored::Fp32);
        let block = Block::open(&path, dense, Stored::Fp32).unwrap();
        block.score_lexical(&[(1, 1.0)], LexicalWeights::Exact, &mut Vec::new(), |_, _| panic!("there are no weights"));
        assert_eq!((block.lexical_of(&[(1, 1.0)], 0), block.document_frequency(1), block.num_tokens()), (0.0, 0, 0));
        let error = Block::open(&path, ALL, Stored::Fp32).unwrap_err();
        assert!(error.to_string().contains("it has no lexical.tokens"), "{error}");
        let error = Block::open(&path, dense, Stored::Bf16).unwrap_err();
        assert!(error.to_string().contains("dense is F32, expected BF16"), "{error}");
    }

    #[test]
    fn a_block_has_a_largest_size() {
        let none = Contents { dense: false, lexical: false, bm25: false, words: false };
        let mut builder = BlockBuilder::new(none, Stored::Bf16);
        let passage = Passage { id: "", text: "", identities: [0; 2], dense: &[], lexical: &[], tokens: &[] };
        (0..BlockBuilder::LARGEST).for_each(|_| builder.push(passage).unwrap());
        assert!(builder.push(passage).is_err());
    }
}
