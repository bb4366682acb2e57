//! Words that are split, or kept together, by being listed.

use std::collections::HashMap;

use super::word::Word;

const LISTED: &str = include_str!("english.txt");

/// The listed words.
#[derive(Debug)]
pub struct Cases {
    by_text: HashMap<String, Case>,
    /// The cases that marks would split, by the first of the pieces: the lengths in bytes of all pieces.
    by_first: HashMap<String, Vec<Vec<String>>>,
    /// Bit n of entry b: a word of n bytes that begins with byte b is a key of `by_text`; and the same of `by_first`.
    lens: Box<[u32; 256]>,
    first_lens: Box<[u32; 256]>,
}

/// How a listed word is split: the number of bytes of each part.
#[derive(Debug)]
pub struct Case(Vec<usize>);

impl Case {
    /// Adds its parts, the first of which begins at `start`.
    pub fn push(&self, mut start: usize, words: &mut Vec<Word>) {
        for len in &self.0 {
            words.push(Word { start, end: start + len });
            start += len;
        }
    }
}

/// Pieces that read as a listed word, by their numbers.
struct Span {
    start: usize,
    end: usize,
}

impl Cases {
    /// Reads the list; [`add_sequences`](Self::add_sequences) follows.
    pub fn new() -> Self {
        let mut cases = Self {
            by_text: HashMap::new(),
            by_first: HashMap::new(),
            lens: Box::new([0; 256]),
            first_lens: Box::new([0; 256]),
        };
        for line in LISTED.lines().filter(|line| !line.starts_with('#')) {
            let mut words = line.split(' ').filter(|word| !word.is_empty());
            let kind = words.next().unwrap_or_default();
            words.for_each(|word| cases.add_kind(kind, word));
        }
        cases
    }

    fn add_kind(&mut self, kind: &str, word: &str) {
        let parts: Vec<&str> = if kind == "bar" { vec![word] } else { word.split('|').collect() };
        let curled = |parts: &[&str]| parts.iter().map(|part| part.replace('\'', "’")).collect::<Vec<_>>();
        let mut capital: Vec<String> = parts.iter().map(|part| (*part).to_owned()).collect();
        let mut chars = parts[0].chars();
        capital[0] = chars.next().into_iter().flat_map(char::to_uppercase).chain(chars).collect();
        let capital: Vec<&str> = capital.iter().map(String::as_str).collect();
        match kind {
            "any" | "apostrophe" => {
                for parts in [&parts, &capital] {
                    self.add(parts);
                    self.add(&curled(parts));
                    if kind == "any" {
                        self.add(&parts.iter().map(|part| part.replace('\'', "")).collect::<Vec<_>>());
                    }
                }
            }
            "case" => [&parts, &capital].into_iter().for_each(|parts| self.add(parts)),
            "curl" => {
                self.add(&parts);
                self.add(&curled(&parts));
            }
            "hour" => (1..=12).for_each(|hour: u8| self.add(&[hour.to_string().as_str(), word])),
            _ => self.add(&parts),
        }
    }

    fn add(&mut self, parts: &[impl AsRef<str>]) {
        let text: String = parts.iter().map(AsRef::as_ref).collect();
        mark(&mut self.lens, &text);
        self.by_text.insert(text, Case(parts.iter().map(|part| part.as_ref().len()).collect()));
    }

    /// Finds out how listed words would be split if they were not listed, which `split` does.
    pub fn add_sequences(&mut self, split: impl Fn(&str, &mut Vec<Word>)) {
        let mut texts: Vec<&String> = self.by_text.keys().collect();
        texts.sort_unstable();
        let mut pieces = Vec::new();
        let mut sequences: HashMap<String, Vec<Vec<String>>> = HashMap::new();
        for text in texts {
            pieces.clear();
            split(text, &mut pieces);
            // A sequence of one piece is the word itself, and was found as such.
            if pieces.len() > 1 {
                let pieces: Vec<String> = pieces.iter().map(|piece| piece.of(text).to_owned()).collect();
                mark(&mut self.first_lens, &pieces[0]);
                sequences.entry(pieces[0].clone()).or_default().push(pieces);
            }
        }
        self.by_first = sequences;
    }

    pub fn empty() -> Self {
        Self {
            by_text: HashMap::new(),
            by_first: HashMap::new(),
            lens: Box::new([0; 256]),
            first_lens: Box::new([0; 256]),
        }
    }

    /// The case that `piece` is.
    #[inline]
    pub fn of(&self, piece: &str) -> Option<&Case> {
        if !is_marked(&self.lens, piece) { None } else { self.by_text.get(piece) }
    }

    /// Replaces pieces that together read as a listed word, by its parts: the longest first, and of equally long ones
    /// the first. Pieces that read so but for blanks between them stay as they are, and keep others from them.
    pub fn join(&self, text: &str, words: &mut Vec<Word>) {
        let mut spans = Vec::new();
        for (start, word) in words.iter().enumerate() {
            let first = word.of(text);
            if !is_marked(&self.first_lens, first) {
                continue;
            }
            for sequence in self.by_first.get(first).into_iter().flatten() {
                let end = start + sequence.len();
                let reads = words
                    .get(start..end)
                    .is_some_and(|words| words.iter().zip(sequence).all(|(word, piece)| word.of(text) == piece));
                if reads {
                    spans.push(Span { start, end });
                }
            }
        }
        if spans.is_empty() {
            return;
        }
        spans.sort_by_key(|span| (std::cmp::Reverse(span.end - span.start), span.start));
        let mut is_taken = vec![false; words.len()];
        spans.retain(|span| {
            let stays = !is_taken[span.start] && !is_taken[span.end - 1];
            is_taken[span.start..span.end].fill(true);
            stays
        });
        spans.sort_by_key(|span| span.start);
        let old = std::mem::take(words);
        let mut at = 0;
        for Span { start, end } in spans {
            words.extend(&old[at..start]);
            let place = Word { start: old[start].start, end: old[end - 1].end };
            match self.by_text.get(place.of(text)) {
                Some(case) => case.push(place.start, words),
                None => words.extend(&old[start..end]),
            }
            at = end;
        }
        words.extend(&old[at..]);
    }
}

fn mark(lens: &mut [u32; 256], text: &str) {
    lens[usize::from(text.as_bytes()[0])] |= 1 << text.len().min(31);
}

#[inline]
fn is_marked(lens: &[u32; 256], text: &str) -> bool {
    text.as_bytes().first().is_some_and(|first| lens[usize::from(*first)] >> text.len().min(31) & 1 != 0)
}
