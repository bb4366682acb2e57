//! Passages → the file of a block.

use std::collections::BTreeMap;
use std::io::{self, Write};

use safetensors::tensor::Dtype;
use serde::{Deserialize, Serialize};

use crate::number::Stored;
use crate::postings::{BM25, LEXICAL, PostingsBuilder, Values, WordsBuilder};
use crate::tensors::{Entry, write};
use crate::texts::TextsBuilder;
use crate::words::words;

/// Which heads an index has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Contents {
    /// Dense vectors.
    pub dense: bool,
    /// Weights of tokens.
    pub lexical: bool,
    /// Counts of tokens.
    pub bm25: bool,
    /// Counts of words.
    pub words: bool,
}

/// A passage as it goes into a block. What the block does not hold is not looked at.
#[derive(Debug, Clone, Copy)]
pub struct Passage<'a> {
    /// Its name.
    pub id: &'a str,
    /// What the model reads.
    pub text: &'a str,
    /// Hashes by which texts are told to be the same: of the text, and of what it is without its title.
    pub identities: [u64; 2],
    /// Its dense vector, `[d]`.
    pub dense: &'a [f32],
    /// Its tokens' weights, each token once.
    pub lexical: &'a [(u32, f32)],
    /// Its tokens, special ones excepted, as often as they occur.
    pub tokens: &'a [u32],
}

/// A block that is being made, in memory.
#[derive(Debug)]
pub struct BlockBuilder {
    contents: Contents,
    stored: Stored,
    num_passages: usize,
    dense: Vec<u8>,
    lexical: PostingsBuilder,
    counts: PostingsBuilder,
    lens: Vec<u8>,
    words: WordsBuilder,
    word_lens: Vec<u8>,
    ids: Vec<u8>,
    id_offsets: Vec<u8>,
    identities: Vec<u8>,
    texts: TextsBuilder,
}

impl BlockBuilder {
    /// The most passages of a block: a posting has two bytes for its passage.
    pub const LARGEST: usize = 1 << 16;

    /// An empty block.
    pub fn new(contents: Contents, stored: Stored) -> Self {
        Self {
            contents,
            stored,
            num_passages: 0,
            dense: Vec::new(),
            lexical: PostingsBuilder::new(Values::Weights(stored)),
            counts: PostingsBuilder::new(Values::Counts),
            lens: Vec::new(),
            words: WordsBuilder::new(),
            word_lens: Vec::new(),
            ids: Vec::new(),
            id_offsets: 0u64.to_le_bytes().to_vec(),
            identities: Vec::new(),
            texts: TextsBuilder::default(),
        }
    }

    /// Passages so far.
    pub fn num_passages(&self) -> usize {
        self.num_passages
    }

    /// Adds a passage.
    ///
    /// # Errors
    /// It is one too many, or its text cannot be packed.
    pub fn push(&mut self, passage: Passage) -> io::Result<()> {
        let doc = u16::try_from(self.num_passages).map_err(|_| io::Error::other("a block of too many passages"))?;
        if self.contents.dense {
            passage.dense.iter().for_each(|number| self.stored.push(*number, &mut self.dense));
        }
        if self.contents.lexical {
            self.lexical.push(doc, passage.lexical.iter().copied());
        }
        if self.contents.bm25 {
            let mut counts = BTreeMap::<u32, u32>::new();
            passage.tokens.iter().for_each(|token| *counts.entry(*token).or_default() += 1);
            self.counts.push(doc, counts.into_iter().map(|(token, count)| (token, count as f32)));
            self.lens.extend((passage.tokens.len() as u32).to_le_bytes());
        }
        if self.contents.words {
            let words = words(passage.text);
            self.word_lens.extend((words.len() as u32).to_le_bytes());
            self.words.push(doc, words);
        }
        self.ids.extend(passage.id.as_bytes());
        self.id_offsets.extend((self.ids.len() as u64).to_le_bytes());
        passage.identities.iter().for_each(|identity| self.identities.extend(identity.to_le_bytes()));
        self.texts.push(passage.text)?;
        self.num_passages += 1;
        Ok(())
    }

    /// Writes the block's file.
    ///
    /// # Errors
    /// As of `out`.
    pub fn write(self, out: &mut impl Write) -> io::Result<()> {
        let count = self.num_passages;
        let mut entries: Vec<Entry> = vec![
            ("ids.bytes", Dtype::U8, vec![self.ids.len()], self.ids),
            ("ids.offsets", Dtype::U64, vec![count + 1], self.id_offsets),
            ("texts.identities", Dtype::U64, vec![count, 2], self.identities),
        ];
        if self.contents.dense {
            let dtype = match self.stored {
                Stored::Bf16 => Dtype::BF16,
                Stored::Fp32 => Dtype::F32,
            };
            let width = self.dense.len() / self.stored.bytes() / count.max(1);
            entries.push(("dense", dtype, vec![count, width], self.dense));
        }
        if self.contents.lexical {
            entries.extend(self.lexical.into_entries(LEXICAL));
        }
        if self.contents.bm25 {
            entries.extend(self.counts.into_entries(BM25));
            entries.push(("bm25.lens", Dtype::U32, vec![count], self.lens));
        }
        if self.contents.words {
            entries.extend(self.words.into_entries());
            entries.push(("words.lens", Dtype::U32, vec![count], self.word_lens));
        }
        entries.extend(self.texts.into_entries()?);
        write(entries, out).map(drop)
    }
}
