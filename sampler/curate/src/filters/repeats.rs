//! What a text says more than once: lines, paragraphs and n-grams of words.
//!
//! They are counted in a table of hashes. Equal hashes are compared character by character, so that a count is exact
//! and no text is copied for each n-gram.

use super::words::Word;

/// An odd number whose powers weigh the bytes of a hash.
const BASE: u64 = 0x9e37_79b9_7f4a_7c15;

/// What counting needs, kept between texts.
#[derive(Debug, Default)]
pub struct Repeats {
    slots: Vec<u32>,
    /// For an n-gram that is the first of its kind: how often it is there.
    counts: Vec<u32>,
    parts: Vec<(usize, usize)>,
    joined: Joined,
}

/// A text's words without what stands between them.
#[derive(Debug, Default)]
struct Joined {
    bytes: Vec<u8>,
    /// Where word n begins in `bytes`, how many characters stand before it, and the hash of what stands before it.
    borders: Vec<(usize, usize, u64)>,
    /// The powers of [`BASE`].
    powers: Vec<u64>,
}

/// Elements that were there before, and the sum of their characters.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Duplicates {
    /// Elements.
    pub num: usize,
    /// All elements.
    pub of: usize,
    /// Characters.
    pub chars: usize,
}

impl Repeats {
    /// Counts the parts of a text that are equal to an earlier part.
    pub fn duplicates<'t>(&mut self, text: &'t str, parts: impl Iterator<Item = &'t str>) -> Duplicates {
        let mut found = Duplicates::default();
        self.parts.clear();
        let first = text.as_ptr() as usize;
        self.parts.extend(parts.map(|part| (part.as_ptr() as usize - first, part.len())));
        found.of = self.parts.len();
        if found.of < 2 {
            return found;
        }
        let Self { slots, parts, .. } = self;
        let part = |number: usize| &text.as_bytes()[parts[number].0..][..parts[number].1];
        clear(slots, parts.len());
        for number in 0..parts.len() {
            let (this, is_new) = place(slots, hash_of(part(number)), number, |other| part(other) == part(number));
            if !is_new {
                debug_assert!(this < number);
                found.num += 1;
                found.chars += num_chars(part(number));
            }
        }
        found
    }

    /// Takes the words of a text, whose n-grams the following calls count.
    pub fn take_words(&mut self, text: &str, words: &[Word]) {
        let Joined { bytes, borders, powers } = &mut self.joined;
        bytes.clear();
        borders.clear();
        borders.push((0, 0, 0));
        let (mut chars, mut hash) = (0, 0u64);
        for word in words {
            let word = word.of(text).as_bytes();
            bytes.extend_from_slice(word);
            hash = word.iter().fold(hash, |hash, byte| hash.wrapping_mul(BASE).wrapping_add(u64::from(*byte) + 1));
            chars += num_chars(word);
            borders.push((bytes.len(), chars, hash));
        }
        if powers.is_empty() {
            powers.push(1);
        }
        while powers.len() <= bytes.len() {
            powers.push(powers[powers.len() - 1].wrapping_mul(BASE));
        }
    }

    /// The characters of the most frequent n-gram, with a blank between its words, times the number of its occurrences;
    /// None if there are fewer than n words. It is the first of equally frequent n-grams.
    pub fn top_n_gram(&mut self, n: usize) -> Option<usize> {
        let Self { slots, counts, joined, .. } = self;
        let num = joined.num_n_grams(n)?;
        clear(slots, num);
        counts.clear();
        counts.resize(num, 0);
        let (mut best, mut best_count) = (0, 0);
        for number in 0..num {
            let is_same = |other| joined.has_same_words(other, number, n);
            let (this, _) = place(slots, joined.hash(number, n), number, is_same);
            counts[this] += 1;
            if counts[this] > best_count || (counts[this] == best_count && this < best) {
                (best, best_count) = (this, counts[this]);
            }
        }
        Some((joined.chars(best, n) + n - 1) * best_count as usize)
    }

    /// The characters of the n-grams that were there before, none of which overlaps the one before it.
    pub fn duplicated_n_grams(&mut self, n: usize) -> usize {
        let Self { slots, joined, .. } = self;
        let Some(num) = joined.num_n_grams(n) else { return 0 };
        clear(slots, num);
        let (mut number, mut chars) = (0, 0);
        while number < num {
            let is_same = |other| joined.bytes_of(other, n) == joined.bytes_of(number, n);
            let (_, is_new) = place(slots, joined.hash(number, n), number, is_same);
            if !is_new {
                chars += joined.chars(number, n);
            }
            number += if is_new { 1 } else { n };
        }
        chars
    }
}

impl Joined {
    fn num_n_grams(&self, n: usize) -> Option<usize> {
        (self.borders.len() - 1).checked_sub(n).map(|more| more + 1)
    }

    fn bytes_of(&self, number: usize, n: usize) -> &[u8] {
        &self.bytes[self.borders[number].0..self.borders[number + n].0]
    }

    fn chars(&self, number: usize, n: usize) -> usize {
        self.borders[number + n].1 - self.borders[number].1
    }

    fn hash(&self, number: usize, n: usize) -> u64 {
        let ((start, _, before), (end, _, with)) = (self.borders[number], self.borders[number + n]);
        with.wrapping_sub(before.wrapping_mul(self.powers[end - start]))
    }

    fn has_same_words(&self, one: usize, other: usize, n: usize) -> bool {
        self.bytes_of(one, n) == self.bytes_of(other, n)
            && (1..n).all(|i| {
                self.borders[one + i].0 - self.borders[one].0 == self.borders[other + i].0 - self.borders[other].0
            })
    }
}

/// The number of characters of UTF-8.
pub fn num_chars(bytes: &[u8]) -> usize {
    bytes.iter().filter(|byte| (**byte as i8) >= -0x40).count()
}

fn hash_of(bytes: &[u8]) -> u64 {
    let mut chunks = bytes.chunks_exact(8);
    let mut hash = bytes.len() as u64;
    let mut mix = |word: u64| hash = (hash.rotate_left(23) ^ word).wrapping_mul(BASE);
    for chunk in &mut chunks {
        mix(u64::from_le_bytes([chunk[0], chunk[1], chunk[2], chunk[3], chunk[4], chunk[5], chunk[6], chunk[7]]));
    }
    let mut last = [0; 8];
    last[..chunks.remainder().len()].copy_from_slice(chunks.remainder());
    mix(u64::from_le_bytes(last));
    hash
}

/// Empties the table, for `num` elements.
fn clear(slots: &mut Vec<u32>, num: usize) {
    slots.clear();
    slots.resize((2 * num).next_power_of_two().max(2), 0);
}

/// Puts element `number` into the table. Returns the first element that is the same, and whether it is this one.
#[inline]
fn place(slots: &mut [u32], hash: u64, number: usize, is_same: impl Fn(usize) -> bool) -> (usize, bool) {
    let mask = slots.len() - 1;
    let mut slot = (hash.wrapping_mul(BASE) >> 32) as usize & mask;
    loop {
        match slots[slot] {
            0 => {
                slots[slot] = number as u32 + 1;
                return (number, true);
            }
            other if is_same(other as usize - 1) => return (other as usize - 1, false),
            _ => slot = (slot + 1) & mask,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words_of(text: &str) -> Vec<Word> {
        let first = text.as_ptr() as usize;
        let place = |word: &str| word.as_ptr() as usize - first;
        text.split(' ').map(|word| Word { start: place(word), end: place(word) + word.len() }).collect()
    }

    #[test]
    fn n_grams_are_counted_as_they_read() {
        let mut repeats = Repeats::default();
        let text = "a b a b ä b a b";
        repeats.take_words(text, &words_of(text));
        // "a b" three times; "b a" twice.
        assert_eq!(repeats.top_n_gram(2), Some(9));
        assert_eq!(repeats.top_n_gram(8), Some(15));
        assert_eq!(repeats.top_n_gram(9), None);
        // a b | a b again | b ä | ä b | b a | a b again, and what overlaps it is passed over.
        assert_eq!(repeats.duplicated_n_grams(2), 4);
        // Without blanks "ab c" reads as "a bc".
        let text = "ab c x a bc";
        repeats.take_words(text, &words_of(text));
        assert_eq!((repeats.top_n_gram(2), repeats.duplicated_n_grams(2)), (Some(4), 3));
    }

    #[test]
    fn parts_are_counted_as_they_read() {
        let text = "one\nzwölf\none\nzwölf\nzwölf";
        let found = Repeats::default().duplicates(text, text.split('\n'));
        assert_eq!(found, Duplicates { num: 3, of: 5, chars: 13 });
    }
}
