//! Postings: for each token the passages of a block that have it, and how much it weighs there.
//!
//! Legend: T distinct tokens of the block, P postings.

use std::cmp::Ordering;
use std::collections::HashMap;
use std::ops::Range;

use safetensors::tensor::Dtype;

use crate::error::IndexError;
use crate::number::{Numbers, Stored};
use crate::tensors::{Entry, MappedTensors, u32_at, u64_at};

/// Token id → weight, ascending by token id.
pub type TokenWeights = Vec<(u32, f32)>;

/// Word → weight, ascending by word.
pub type WordWeights = Vec<(String, f32)>;

/// Names of the tensors of one inverted index: tokens, offsets, docs, values.
pub(crate) type Names = [&'static str; 4];

pub(crate) const LEXICAL: Names = ["lexical.tokens", "lexical.offsets", "lexical.docs", "lexical.weights"];
pub(crate) const BM25: Names = ["bm25.tokens", "bm25.offsets", "bm25.docs", "bm25.counts"];
/// The words, as bytes one after another and where each begins; then as above.
const WORDS: [&str; 5] = ["words.bytes", "words.starts", "words.offsets", "words.docs", "words.counts"];

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

    /// Adds passage `doc`, whose distinct tokens these are. Only weights above 0 are kept.
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

/// Postings of words. A word has a number in the order of coming; in the file it has its place among all, sorted.
#[derive(Debug)]
pub(crate) struct WordsBuilder {
    numbers: HashMap<String, u32>,
    counts: PostingsBuilder,
}

impl WordsBuilder {
    pub(crate) fn new() -> Self {
        Self { numbers: HashMap::new(), counts: PostingsBuilder::new(Values::Counts) }
    }

    /// Adds passage `doc`, whose words these are, as often as they occur.
    pub(crate) fn push(&mut self, doc: u16, words: Vec<String>) {
        let mut counts = HashMap::<u32, u32>::new();
        for word in words {
            let next = self.numbers.len() as u32;
            *counts.entry(*self.numbers.entry(word).or_insert(next)).or_default() += 1;
        }
        self.counts.push(doc, counts.into_iter().map(|(number, count)| (number, count as f32)));
    }

    pub(crate) fn into_entries(self) -> Vec<Entry> {
        let mut words: Vec<(String, u32)> = self.numbers.into_iter().collect();
        words.sort_unstable();
        let (mut bytes, mut starts) = (Vec::new(), 0u64.to_le_bytes().to_vec());
        let mut places = vec![0; words.len()];
        for (place, (word, number)) in words.iter().enumerate() {
            bytes.extend(word.as_bytes());
            starts.extend((bytes.len() as u64).to_le_bytes());
            places[*number as usize] = place as u32;
        }
        let mut counts = self.counts;
        counts.all.iter_mut().for_each(|posting| posting.token = places[posting.token as usize]);
        let [byte_name, start_name, offsets, docs, values] = WORDS;
        let mut entries = vec![
            (byte_name, Dtype::U8, vec![bytes.len()], bytes),
            (start_name, Dtype::U64, vec![words.len() + 1], starts),
        ];
        // Every number occurs, so a word's list is at its place, and no table of numbers is needed.
        entries.extend(counts.into_entries(["", offsets, docs, values]).into_iter().skip(1));
        entries
    }
}

/// Where the lists of a mapped file lie.
#[derive(Debug)]
struct Lists {
    offsets: Range<usize>,
    docs: Range<usize>,
    values: Range<usize>,
    values_are: Values,
}

/// Where the postings of tokens lie.
#[derive(Debug)]
pub(crate) struct Postings {
    tokens: Range<usize>,
    lists: Lists,
}

/// Where the postings of words lie.
#[derive(Debug)]
pub(crate) struct WordPostings {
    bytes: Range<usize>,
    starts: Range<usize>,
    lists: Lists,
}

/// The postings of one token.
#[derive(Debug, Clone, Copy)]
pub(crate) struct List<'a> {
    docs: &'a [u8],
    values: &'a [u8],
    values_are: Values,
}

impl Lists {
    /// Finds the lists of `count` tokens.
    fn find(
        file: &MappedTensors,
        [offsets, docs, values]: [&'static str; 3],
        values_are: Values,
        count: usize,
    ) -> Result<Self, IndexError> {
        let (offset_place, offset_shape) = file.find(offsets, Dtype::U64)?;
        let (doc_place, doc_shape) = file.find(docs, Dtype::U16)?;
        let (value_place, value_shape) = file.find(values, values_are.dtype())?;
        if offset_shape != [count + 1] || doc_shape != value_shape {
            return Err(file.damaged(format!("{offsets} to {values} do not fit each other")));
        }
        Ok(Self { offsets: offset_place, docs: doc_place, values: value_place, values_are })
    }

    fn at<'a>(&self, file: &'a MappedTensors, place: usize) -> List<'a> {
        let offsets = file.bytes(&self.offsets);
        let (from, to) = (u64_at(offsets, place) as usize, u64_at(offsets, place + 1) as usize);
        let size = self.values_are.dtype().bitsize() / 8;
        List {
            docs: &file.bytes(&self.docs)[2 * from..2 * to],
            values: &file.bytes(&self.values)[size * from..size * to],
            values_are: self.values_are,
        }
    }
}

impl Postings {
    pub(crate) fn find(
        file: &MappedTensors,
        [tokens, offsets, docs, values]: Names,
        values_are: Values,
    ) -> Result<Self, IndexError> {
        let (tokens, shape) = file.find(tokens, Dtype::U32)?;
        let lists = Lists::find(file, [offsets, docs, values], values_are, shape.iter().product())?;
        Ok(Self { tokens, lists })
    }

    /// The postings of `token`, if a passage has it.
    pub(crate) fn list<'a>(&self, file: &'a MappedTensors, token: u32) -> Option<List<'a>> {
        let tokens = file.bytes(&self.tokens).as_chunks::<4>().0;
        let place = tokens.binary_search_by_key(&token, |bytes| u32::from_le_bytes(*bytes)).ok()?;
        Some(self.lists.at(file, place))
    }
}

impl WordPostings {
    pub(crate) fn find(file: &MappedTensors) -> Result<Self, IndexError> {
        let [bytes, starts, offsets, docs, values] = WORDS;
        let (starts, shape) = file.find(starts, Dtype::U64)?;
        let count = shape.iter().product::<usize>().saturating_sub(1);
        let lists = Lists::find(file, [offsets, docs, values], Values::Counts, count)?;
        Ok(Self { bytes: file.find(bytes, Dtype::U8)?.0, starts, lists })
    }

    /// The postings of `word`, if a passage has it.
    pub(crate) fn list<'a>(&self, file: &'a MappedTensors, word: &str) -> Option<List<'a>> {
        let (bytes, starts) = (file.bytes(&self.bytes), file.bytes(&self.starts).as_chunks::<8>().0);
        let start = |place: usize| u64::from_le_bytes(starts[place]) as usize;
        let (mut from, mut to) = (0, starts.len() - 1);
        while from < to {
            let middle = (from + to) / 2;
            match bytes[start(middle)..start(middle + 1)].cmp(word.as_bytes()) {
                Ordering::Less => from = middle + 1,
                Ordering::Greater => to = middle,
                Ordering::Equal => return Some(self.lists.at(file, middle)),
            }
        }
        None
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
