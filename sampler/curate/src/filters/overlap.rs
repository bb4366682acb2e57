//! How much of a query its passage repeats.

use std::collections::HashMap;

use super::repeats::num_chars;
use super::words::{Splitting, Word, split};

/// What a comparison needs, kept between pairs.
#[derive(Debug, Default)]
pub struct Overlap {
    query: Vec<Word>,
    passage: Vec<Word>,
    scratch: Vec<Word>,
    /// For each word of the query, its characters and the next place that has the same word.
    places: Vec<Place>,
    /// Characters of the stretches that end at each word of the query, with the passage's last word and this one.
    stretches: [Vec<usize>; 2],
}

#[derive(Debug, Clone, Copy)]
struct Place {
    chars: usize,
    next: Option<usize>,
}

/// Shares of a query's characters, between 0 and 1, white space and punctuation left out.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Shares {
    /// The longest stretch of words that stands anywhere in the passage.
    pub anywhere: f64,
    /// The stretch of words with which both begin.
    pub at_start: f64,
}

impl Overlap {
    /// Compares them by words, whatever their case is. Takes time for each pair of equal words.
    pub fn of(&mut self, query: &str, passage: &str) -> Shares {
        let (query, passage) = (query.to_lowercase(), passage.to_lowercase());
        let Self { query: query_words, passage: passage_words, scratch, places, stretches } = self;
        for (text, words) in [(&query, &mut *query_words), (&passage, &mut *passage_words)] {
            split(text, Splitting::ByScript, words, scratch);
            words.retain(|word| word.of(text).chars().any(char::is_alphanumeric));
        }
        places.clear();
        let mut first: HashMap<&str, usize> = HashMap::new();
        for (number, word) in query_words.iter().enumerate().rev() {
            let word = word.of(&query);
            let next = first.insert(word, number);
            places.push(Place { chars: num_chars(word.as_bytes()), next });
        }
        places.reverse();
        let all: usize = places.iter().map(|place| place.chars).sum();
        if all == 0 {
            return Shares::default();
        }
        let both = query_words.iter().zip(passage_words.iter()).zip(places.iter());
        let same = both.take_while(|((one, other), _)| one.of(&query) == other.of(&passage));
        let at_start: usize = same.map(|(_, place)| place.chars).sum();

        let [before, now] = stretches;
        for stretch in [&mut *before, &mut *now] {
            stretch.clear();
            stretch.resize(places.len(), 0);
        }
        let (mut most, mut last): (usize, Option<usize>) = (0, None);
        for word in passage_words.iter().map(|word| word.of(&passage)) {
            let here = first.get(word).copied();
            let mut place = here;
            while let Some(number) = place {
                let stretch = places[number].chars + if number > 0 { before[number - 1] } else { 0 };
                now[number] = stretch;
                most = most.max(stretch);
                place = places[number].next;
            }
            // What the word before left is undone, so that each word costs its own places alone.
            while let Some(number) = last {
                before[number] = 0;
                last = places[number].next;
            }
            std::mem::swap(before, now);
            last = here;
        }
        Shares { anywhere: most as f64 / all as f64, at_start: at_start as f64 / all as f64 }
    }
}

/// Whether two texts are the same but for case and white space.
pub fn is_same(one: &str, other: &str) -> bool {
    let mut ones = one.split_whitespace().flat_map(str::chars).flat_map(char::to_lowercase);
    let mut others = other.split_whitespace().flat_map(str::chars).flat_map(char::to_lowercase);
    loop {
        match (ones.next(), others.next()) {
            (None, None) => return true,
            (one, other) if one != other => return false,
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stretches_are_found_where_they_are() {
        let of = |query, passage| Overlap::default().of(query, passage);
        assert_eq!(of("ab cd ef gh", "x AB, cd! y cd ef gh"), Shares { anywhere: 0.75, at_start: 0.0 });
        assert_eq!(of("ab cd", "Ab cd is there"), Shares { anywhere: 1.0, at_start: 1.0 });
        assert_eq!(of("a a a b", "a a b a a"), Shares { anywhere: 0.75, at_start: 0.5 });
        assert_eq!(of("什么是北京", "北京是首都"), Shares { anywhere: 0.4, at_start: 0.0 });
        assert_eq!(of("?!", "?!"), Shares::default());
        assert!(is_same("A b\n C", "abc") && !is_same("a b", "a bc"));
    }
}
