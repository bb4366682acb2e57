//! What became of every pair, by source, language and reason.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::reason::Reason;

/// Lengths are counted in halves of powers of two: from 1, 1.5, 2, 3, 4, 6, 8, … characters or tokens on.
const BUCKETS: usize = 64;

/// Counts of a unit, of a source, or of all.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Accounts {
    /// Counts by the language of the passage.
    pub languages: BTreeMap<String, Language>,
    /// What was left out before there was a pair to judge.
    pub no_pair: BTreeMap<Reason, u64>,
}

/// Counts of a language.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Language {
    /// Rows that stay.
    pub kept: u64,
    /// Pairs that go.
    pub dropped: BTreeMap<Reason, u64>,
    /// The kept rows' queries.
    pub query: Lengths,
    /// The kept rows' passages.
    pub passage: Lengths,
}

/// How long texts are.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lengths {
    /// Characters in all.
    pub characters: u64,
    /// Texts by the number of characters from which on they are counted together.
    pub from: BTreeMap<u64, u64>,
    /// The same in tokens, if the recipe names a tokenizer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tokens: Option<Tokens>,
}

/// How long texts are in tokens.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tokens {
    /// Tokens in all.
    pub tokens: u64,
    /// Texts by the number of tokens from which on they are counted together.
    pub from: BTreeMap<u64, u64>,
}

impl Lengths {
    /// Counts a text, and its tokens if they are counted.
    pub fn add(&mut self, text: &str, tokens: Option<u64>) {
        let characters = text.chars().count() as u64;
        self.characters += characters;
        *self.from.entry(bucket(characters)).or_default() += 1;
        if let Some(tokens) = tokens {
            let counted = self.tokens.get_or_insert_default();
            counted.tokens += tokens;
            *counted.from.entry(bucket(tokens)).or_default() += 1;
        }
    }

    /// Adds `other`'s counts.
    pub fn merge(&mut self, other: &Self) {
        self.characters += other.characters;
        add_all(&mut self.from, &other.from);
        if let Some(Tokens { tokens, from }) = &other.tokens {
            let counted = self.tokens.get_or_insert_default();
            counted.tokens += tokens;
            add_all(&mut counted.from, from);
        }
    }
}

/// The length from which on texts of this length are counted.
fn bucket(len: u64) -> u64 {
    let Some(power) = len.checked_ilog2().map(|log| 1_u64 << log) else { return 0 };
    if len >= power + power / 2 && power > 1 { power + power / 2 } else { power }
}

/// All lengths from which texts may be counted, ascending.
pub fn buckets() -> impl Iterator<Item = u64> {
    let powers = (0..BUCKETS as u32 / 2).map(|log| 1_u64 << log);
    powers.flat_map(|power| [Some(power), (power > 1).then_some(power + power / 2)]).flatten()
}

impl Accounts {
    /// Adds `other`'s counts.
    pub fn merge(&mut self, other: &Self) {
        add_all(&mut self.no_pair, &other.no_pair);
        for (language, counts) in &other.languages {
            let own = self.languages.entry(language.clone()).or_default();
            own.kept += counts.kept;
            add_all(&mut own.dropped, &counts.dropped);
            own.query.merge(&counts.query);
            own.passage.merge(&counts.passage);
        }
    }

    /// Counts what a record gave no pair for.
    pub fn no_pair(&mut self, reason: &Reason) {
        *self.no_pair.entry(reason.clone()).or_default() += 1;
    }

    /// Counts a pair that goes.
    pub fn dropped(&mut self, language: &str, reason: &Reason) {
        let dropped = &mut self.language(language).dropped;
        match dropped.get_mut(reason) {
            Some(count) => *count += 1,
            None => _ = dropped.insert(reason.clone(), 1),
        }
    }

    /// Counts a row that stays, with the tokens of query and passage if they are counted.
    pub fn kept(&mut self, language: &str, [query, passage]: [&str; 2], tokens: Option<[u64; 2]>) {
        let counts = self.language(language);
        counts.kept += 1;
        counts.query.add(query, tokens.map(|[query, _]| query));
        counts.passage.add(passage, tokens.map(|[_, passage]| passage));
    }

    fn language(&mut self, language: &str) -> &mut Language {
        if !self.languages.contains_key(language) {
            self.languages.insert(language.to_owned(), Language::default());
        }
        self.languages.get_mut(language).expect("it was inserted")
    }

    /// Rows that stay.
    pub fn num_kept(&self) -> u64 {
        self.languages.values().map(|language| language.kept).sum()
    }

    /// What goes, by reason.
    pub fn reasons(&self) -> BTreeMap<Reason, u64> {
        let mut all = self.no_pair.clone();
        self.languages.values().for_each(|language| add_all(&mut all, &language.dropped));
        all
    }

    /// Pairs, and records that gave none.
    pub fn num_offered(&self) -> u64 {
        self.num_kept() + self.reasons().values().sum::<u64>()
    }
}

fn add_all<K: Ord + Clone>(to: &mut BTreeMap<K, u64>, from: &BTreeMap<K, u64>) {
    from.iter().for_each(|(key, count)| *to.entry(key.clone()).or_default() += count);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_length_is_counted_from_the_next_lower_bound() {
        let all: Vec<u64> = buckets().collect();
        assert_eq!(all[..8], [1, 2, 3, 4, 6, 8, 12, 16]);
        for (characters, expected) in [(0, 0), (1, 1), (2, 2), (3, 3), (5, 4), (6, 6), (11, 8), (12, 12), (1000, 768)] {
            assert_eq!(bucket(characters), expected, "{characters}");
            assert!(expected == 0 || all.contains(&expected));
        }
    }

    #[test]
    fn accounts_add_up() {
        let (blank, short) = (Reason::new("blank"), Reason::new("short"));
        let mut one = Accounts::default();
        one.kept("de", ["Was?", "Das."], Some([3, 2]));
        one.dropped("de", &short);
        one.no_pair(&blank);
        let mut sum = one.clone();
        sum.merge(&one);
        assert_eq!((sum.num_kept(), sum.num_offered()), (2, 6));
        assert_eq!(sum.reasons(), BTreeMap::from([(blank, 2), (short, 2)]));
        assert_eq!(sum.languages["de"].query.characters, 8);
        let tokens = sum.languages["de"].query.tokens.as_ref();
        assert_eq!(tokens, Some(&Tokens { tokens: 6, from: BTreeMap::from([(3, 2)]) }));
    }
}
