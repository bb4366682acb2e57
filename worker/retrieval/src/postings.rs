//! Postings: for each token the passages of a block that have it, and how much it weighs there.
//!
//! Legend: T distinct tokens of the block, P postings.

use std::ops::Range;

use safetensors::tensor::Dtype;

use crate::error::IndexError;
use crate::number::{Numbers, Stored};
use crate::tensors::{Entry, MappedTensors, u32_at, u64_at};

/// Token id → weight, ascending by token id.
pub type TokenWeights = Vec<(u32, f32)>;

/// Names of the tensors of one inverted index: tokens, offsets, docs, values.
pub(crate) type Names = [&'static str; 4];

pub(crate) const LEXICAL: Names = ["lexical.tokens", "lexical.offsets", "lexical.docs", "lexical.weights"];
pub(crate) const BM25: Names = ["bm25.tokens", "bm25.offsets", "bm25.docs", "bm25.counts"];

/// What a posting's value is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Values {
    /// A number of this type.
    Weights(Stored),
    /// A whole number of 16 bits.
    Counts,
}

impl Values {
    fn dtype(self) -> Dtype {
        match self {
            Self::Weights(Stored::Bf16) => Dtype::BF16,
            Self::Weights(Stored::Fp32) => Dtype::F32,
            Self::Counts => Dtype::U16,
        }
    }
}

#[derive(Debug, Clone, Copy)]
struct Posting {
    token: u32,
    doc: u16,
    value: f32,
}

/// Postings that are collected passage by passage.
#[derive(Debug)]
pub(crate) struct PostingsBuilder {
    values: Values,
    all: Vec<Posting>,
}

impl PostingsBuilder {
    pub(crate) fn new(values: Values) -> Self {
        Self { values, all: Vec::new() }
    }

    /// Adds passage `doc`, whose distinct tokens these are. Of weights only those above 0 are kept.
    pub(crate) fn push(&mut self, doc: u16, tokens: impl Iterator<Item = (u32, f32)>) {
        self.all.extend(tokens.filter(|(_, value)| *value > 0.0).map(|(token, value)| Posting { token, doc, value }));
    }

    pub(crate) fn into_entries(mut self, [tokens, offsets, docs, values]: Names) -> [Entry; 4] {
        self.all.sort_unstable_by_key(|posting| (posting.token, posting.doc));
        let (mut token_bytes, mut offset_bytes) = (Vec::new(), Vec::new());
        let mut num_tokens = 0;
        let mut last = None;
        for (i, posting) in self.all.iter().enumerate() {
            if last != Some(posting.token) {
                last = Some(posting.token);
                num_tokens += 1;
                token_bytes.extend(posting.token.to_le_bytes());
                offset_bytes.extend((i as u64).to_le_bytes());
            }
        }
        let count = self.all.len();
        offset_bytes.extend((count as u64).to_le_bytes());
        let doc_bytes = self.all.iter().flat_map(|posting| posting.doc.to_le_bytes()).collect();
        let mut value_bytes = Vec::with_capacity(count * self.values.dtype().bitsize() / 8);
        for posting in &self.all {
            match self.values {
                Values::Weights(stored) => stored.push(posting.value, &mut value_bytes),
                // A float above the largest becomes the largest.
                Values::Counts => value_bytes.extend((posting.value as u16).to_le_bytes()),
            }
        }
        [
            (tokens, Dtype::U32, vec![num_tokens], token_bytes),
            (offsets, Dtype::U64, vec![num_tokens + 1], offset_bytes),
            (docs, Dtype::U16, vec![count], doc_bytes),
            (values, self.values.dtype(), vec![count], value_bytes),
        ]
    }
}

/// Where the postings of a mapped file lie.
#[derive(Debug)]
pub(crate) struct Postings {
    tokens: Range<usize>,
    offsets: Range<usize>,
    docs: Range<usize>,
    values: Range<usize>,
    values_are: Values,
}

/// The postings of one token.
#[derive(Debug, Clone, Copy)]
pub(crate) struct List<'a> {
    docs: &'a [u8],
    values: &'a [u8],
    values_are: Values,
}

impl Postings {
    pub(crate) fn find(
        file: &MappedTensors,
        [tokens, offsets, docs, values]: Names,
        values_are: Values,
    ) -> Result<Self, IndexError> {
        let (token_place, token_shape) = file.find(tokens, Dtype::U32)?;
        let (offset_place, offset_shape) = file.find(offsets, Dtype::U64)?;
        let (doc_place, doc_shape) = file.find(docs, Dtype::U16)?;
        let (value_place, value_shape) = file.find(values, values_are.dtype())?;
        if offset_shape != [token_shape.iter().product::<usize>() + 1] || doc_shape != value_shape {
            return Err(file.damaged(format!("{tokens} to {values} do not fit each other")));
        }
        Ok(Self { tokens: token_place, offsets: offset_place, docs: doc_place, values: value_place, values_are })
    }

    /// The postings of `token`, if a passage has it.
    pub(crate) fn list<'a>(&self, file: &'a MappedTensors, token: u32) -> Option<List<'a>> {
        let tokens = file.bytes(&self.tokens).as_chunks::<4>().0;
        let place = tokens.binary_search_by_key(&token, |bytes| u32::from_le_bytes(*bytes)).ok()?;
        let offsets = file.bytes(&self.offsets);
        let (from, to) = (u64_at(offsets, place) as usize, u64_at(offsets, place + 1) as usize);
        let size = self.values_are.dtype().bitsize() / 8;
        Some(List {
            docs: &file.bytes(&self.docs)[2 * from..2 * to],
            values: &file.bytes(&self.values)[size * from..size * to],
            values_are: self.values_are,
        })
    }
}

impl<'a> List<'a> {
    pub(crate) fn len(&self) -> usize {
        self.docs.len() / 2
    }

    fn docs(&self) -> impl Iterator<Item = usize> + use<'a> {
        self.docs.as_chunks::<2>().0.iter().map(|bytes| usize::from(u16::from_le_bytes(*bytes)))
    }

    /// Calls `visit` with each passage and the token's value there.
    #[inline(always)]
    pub(crate) fn for_each(self, mut visit: impl FnMut(usize, f32)) {
        let mut docs = self.docs();
        let mut next = |_, value| {
            if let Some(doc) = docs.next() {
                visit(doc, value);
            }
        };
        match self.values_are {
            Values::Weights(stored) => Numbers { bytes: self.values, stored }.for_each(next),
            Values::Counts => {
                let counts = self.values.as_chunks::<2>().0.iter();
                counts.enumerate().for_each(|(i, bytes)| next(i, f32::from(u16::from_le_bytes(*bytes))));
            }
        }
    }

    /// The token's value in passage `doc`, if it has it.
    pub(crate) fn value_of(&self, doc: u16) -> Option<f32> {
        let docs = self.docs.as_chunks::<2>().0;
        let place = docs.binary_search_by_key(&doc, |bytes| u16::from_le_bytes(*bytes)).ok()?;
        match self.values_are {
            Values::Weights(stored) => Some(Numbers { bytes: self.values, stored }.slice(place, 1).to_vec()[0]),
            Values::Counts => self.values.as_chunks::<2>().0.get(place).map(|b| f32::from(u16::from_le_bytes(*b))),
        }
    }
}

/// How many of U32 numbers in ascending order are at most `bound`.
pub(crate) fn count_up_to(bytes: &[u8], bound: u32) -> usize {
    let numbers = bytes.as_chunks::<4>().0;
    debug_assert!(numbers.is_empty() || u32_at(bytes, 0) <= u32_at(bytes, numbers.len() - 1));
    numbers.partition_point(|number| u32::from_le_bytes(*number) <= bound)
}
