//! Texts that are nearly the same: how many sequences of characters they share (Broder, 1997).
//!
//! The sequences are of five letters or digits, in lower case, with one blank where others stood between. So case,
//! punctuation and line breaks do not count, and it works where words are not set apart.

/// Characters of a sequence.
const LEN: usize = 5;

/// A text's sequences of characters, each once; of a shorter text itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shingles(Vec<u64>);

impl Shingles {
    /// Takes `text` apart.
    pub fn of(text: &str) -> Self {
        let mut characters = Vec::with_capacity(text.len());
        for character in text.chars().flat_map(char::to_lowercase) {
            match character.is_alphanumeric() {
                true => characters.push(character),
                false if characters.last().is_none_or(|last| *last == ' ') => {}
                false => characters.push(' '),
            }
        }
        if characters.last() == Some(&' ') {
            characters.pop();
        }
        let mut hashes: Vec<u64> = characters.windows(LEN.min(characters.len().max(1))).map(hash).collect();
        hashes.sort_unstable();
        hashes.dedup();
        Self(hashes)
    }

    /// A hash of each sequence, ascending.
    pub fn hashes(&self) -> &[u64] {
        &self.0
    }

    /// The sequences of both as a share of those of either; 0 if neither has one.
    pub fn jaccard(&self, other: &Self) -> f64 {
        let (mut own, mut others) = (self.0.iter().peekable(), other.0.iter().peekable());
        let mut common = 0;
        while let (Some(a), Some(b)) = (own.peek(), others.peek()) {
            match a.cmp(b) {
                std::cmp::Ordering::Less => {
                    own.next();
                }
                std::cmp::Ordering::Greater => {
                    others.next();
                }
                std::cmp::Ordering::Equal => {
                    common += 1;
                    own.next();
                    others.next();
                }
            }
        }
        common as f64 / (self.0.len() + other.0.len() - common).max(1) as f64
    }
}

/// FNV-1a over the characters, and a last mixing.
fn hash(characters: &[char]) -> u64 {
    let hash = characters.iter().fold(0xcbf2_9ce4_8422_2325, |hash: u64, character| {
        (hash ^ u64::from(u32::from(*character))).wrapping_mul(0x0100_0000_01b3)
    });
    (hash ^ hash >> 32).wrapping_mul(0x9e37_79b9_7f4a_7c15)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    /// From the definition, for texts of lower-case letters and single blanks.
    fn expected(a: &str, b: &str) -> f64 {
        let set = |text: &str| -> BTreeSet<String> {
            let characters: Vec<char> = text.chars().collect();
            characters.windows(LEN.min(characters.len().max(1))).map(|window| window.iter().collect()).collect()
        };
        let (a, b) = (set(a), set(b));
        a.intersection(&b).count() as f64 / a.union(&b).count().max(1) as f64
    }

    #[test]
    fn it_is_what_is_common_of_all() {
        let texts = ["the quick brown fox", "the quick brown dog", "quick", "fox", "", "der schnelle braune fuchs"];
        for a in texts {
            for b in texts {
                let found = Shingles::of(a).jaccard(&Shingles::of(b));
                assert_eq!(found, expected(a, b), "{a:?} {b:?}");
            }
        }
    }

    #[test]
    fn case_and_punctuation_do_not_count_and_scripts_do_not_matter() {
        let same = |a: &str, b: &str| Shingles::of(a) == Shingles::of(b);
        assert!(same("The quick,\n brown FOX!", " the quick brown fox"));
        assert!(!same("the quick", "thequick"));
        let (a, b) = ("すべての人間は生まれながらにして自由であり", "すべての人間は、生まれながらに自由であり。");
        let near = Shingles::of(a).jaccard(&Shingles::of(b));
        assert!(near > 0.2 && near < 0.8, "{near}");
        let thai = "มนุษย์ทั้งหลายเกิดมามีอิสระและเสมอภาคกันในเกียรติศักดิ์";
        assert_eq!(Shingles::of(thai).jaccard(&Shingles::of(thai)), 1.0);
        assert_eq!(Shingles::of("…").jaccard(&Shingles::of("?")), 0.0);
    }
}
