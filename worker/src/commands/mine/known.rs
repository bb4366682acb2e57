//! The passages to draw from, and which of them are known to answer a row's query.
//!
//! As in training (docs/know/loss.md, "False negatives"): texts are the same if their tokens are, and what answers a
//! query is every positive of every row whose query has the same tokens.

use std::collections::HashMap;

use super::rows::MinedRow;

/// Distinct passages, in the order in which they first appear.
#[derive(Debug)]
pub(super) struct Passages<'a> {
    /// The first of each that are the same.
    pub texts: Vec<&'a str>,
    /// Those that were left out because no token is left of them.
    pub num_tokenless: usize,
    numbers: HashMap<u64, u32>,
    /// Those with a title, by the identity of what they are without it.
    untitled: HashMap<u64, Vec<u32>>,
}

impl<'a> Passages<'a> {
    /// Of `texts`, each with what it is without its title if it has one; `id_of` gives their identities.
    pub fn new(texts: impl Iterator<Item = (&'a str, Option<&'a str>)>, id_of: impl Fn(&str) -> Option<u64>) -> Self {
        let (numbers, untitled) = (HashMap::new(), HashMap::<u64, Vec<u32>>::new());
        let mut passages = Self { texts: Vec::new(), num_tokenless: 0, numbers, untitled };
        for (text, without_title) in texts {
            let Some(id) = id_of(text) else {
                passages.num_tokenless += 1;
                continue;
            };
            let number = *passages.numbers.entry(id).or_insert_with(|| {
                passages.texts.push(text);
                passages.texts.len() as u32 - 1
            });
            if let Some(id) = without_title.and_then(&id_of) {
                passages.untitled.entry(id).or_default().push(number);
            }
        }
        passages
    }

    /// The passages that are the text of this identity, with a title or without.
    pub fn that_are(&self, id: u64) -> impl Iterator<Item = u32> {
        self.numbers.get(&id).into_iter().chain(self.untitled.get(&id).into_iter().flatten()).copied()
    }
}

/// Which passages are no negatives of which row.
#[derive(Debug)]
pub(super) struct Known {
    /// By the query's identity, ascending.
    answers: HashMap<u64, Vec<u32>>,
}

impl Known {
    /// What all rows know together. A query that stands among the passages is no negative of itself.
    pub fn of_rows(rows: &[MinedRow], passages: &Passages<'_>, id_of: impl Fn(&str) -> Option<u64>) -> Self {
        let mut answers = HashMap::<u64, Vec<u32>>::new();
        let numbers = |text: &str| id_of(text).into_iter().flat_map(|id| passages.that_are(id));
        for row in rows {
            let Some(query) = id_of(&row.query) else { continue };
            let texts = row.row.pos.iter().map(String::as_str).chain(row.queries());
            answers.entry(query).or_default().extend(texts.flat_map(numbers));
        }
        for known in answers.values_mut() {
            known.sort_unstable();
            known.dedup();
        }
        Self { answers }
    }

    /// The passages, ascending, that are no negatives of a row whose query has this identity.
    pub fn answers(&self, query: u64) -> &[u32] {
        self.answers.get(&query).map_or(&[], Vec::as_slice)
    }
}

#[cfg(test)]
mod tests {
    use super::super::rows::row_of;
    use super::*;

    /// Texts are the same if their words are.
    fn id_of(text: &str) -> Option<u64> {
        let words: Vec<u32> = text.split_whitespace().map(|word| word.bytes().map(u32::from).sum()).collect();
        (!words.is_empty()).then(|| tercet_sampler::text_id(&words))
    }

    fn rows(lines: &[&str]) -> Vec<MinedRow> {
        lines.iter().map(|line| row_of(line).unwrap()).collect()
    }

    #[test]
    fn a_query_knows_the_answers_of_all_its_rows_and_itself() {
        let rows = rows(&[
            r#"{"query": "a b", "pos": ["c", "d"], "neg": ["e"]}"#,
            r#"{"query": " a  b ", "pos": ["f "]}"#,
            r#"{"query": "b", "pos": ["c"], "prompt": "a "}"#,
            r#"{"query": "c", "pos": ["d"]}"#,
        ]);
        let texts = ["c", "d", " d", "e", "f", "a  b", "b", " "];
        let passages = Passages::new(texts.into_iter().map(|text| (text, None)), id_of);
        assert_eq!(passages.texts, ["c", "d", "e", "f", "a  b", "b"]);
        assert_eq!(passages.num_tokenless, 1);
        let known = Known::of_rows(&rows, &passages, id_of);
        let of = |row: usize| known.answers(id_of(&rows[row].query).unwrap());
        // c, d and f, the query "a b", and "b", which stands with the prompt "a " for the same.
        assert_eq!(of(0), [0, 1, 3, 4, 5]);
        assert_eq!(of(1), of(0));
        assert_eq!(of(2), of(0));
        assert_eq!(of(3), [0, 1]);
    }

    #[test]
    fn an_answer_is_known_with_any_title_and_without() {
        let rows = rows(&[r#"{"query": "q", "pos": ["c"]}"#, r#"{"query": "r", "pos": ["t c"]}"#]);
        let texts = [("t c", Some("c")), ("d", None), ("u c", Some("c")), ("c", None), ("t", Some(""))];
        let passages = Passages::new(texts.into_iter(), id_of);
        let known = Known::of_rows(&rows, &passages, id_of);
        let of = |row: usize| known.answers(id_of(&rows[row].query).unwrap());
        assert_eq!(of(0), [0, 2, 3]);
        assert_eq!(of(1), [0]);
    }
}
