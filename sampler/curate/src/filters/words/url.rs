//! Addresses, which are one word.
//!
//! Source: `URL_PATTERN` of spaCy 3.8 (`spacy/lang/tokenizer_exceptions.py`), which is Diego Perini's expression
//! (<https://gist.github.com/dperini/729294>). A private address by numbers is none.

use regex::Regex;

use crate::filters::characters::lower_case_class;

/// What a word is asked.
#[derive(Debug)]
pub struct Addresses {
    by_name: Regex,
    by_number: Regex,
}

impl Addresses {
    /// Makes the expressions ready.
    pub fn new() -> Self {
        // The first class is Python's \w and three signs; a mark that combines is no \w there.
        let before = r"^(?:[\p{L}\p{N}_+\-.]{2,}://)?(?:\S+(?::\S*)?@)?";
        let after = r"(?::\d{2,5})?(?:[/?#]\S*)?$";
        let host =
            r"(?:(?:[A-Za-z0-9\x{a1}-\x{ffff}][A-Za-z0-9\x{a1}-\x{ffff}_-]{0,62})?[A-Za-z0-9\x{a1}-\x{ffff}]\.)+";
        let top = format!("[{}]{{2,63}}", lower_case_class());
        let number = concat!(
            r"((?:[1-9]\d?|1\d\d|2[01]\d|22[0-3])",
            r"(?:\.(?:1?\d{1,2}|2[0-4]\d|25[0-5])){2}\.(?:[1-9]\d?|1\d\d|2[0-4]\d|25[0-4]))"
        );
        let compiled = |pattern: String| {
            // The expressions are this file's own, and a test compiles them.
            regex::RegexBuilder::new(&pattern).size_limit(1 << 26).build().unwrap_or_else(|error| panic!("{error}"))
        };
        Self {
            by_name: compiled(format!("{before}{host}{top}{after}")),
            by_number: compiled(format!("{before}{number}{after}")),
        }
    }

    /// Whether `word` is an address.
    pub fn has(&self, word: &str) -> bool {
        word.contains('.')
            && (self.by_name.is_match(word)
                || self.by_number.captures(word).is_some_and(|found| !is_private(&found[1])))
    }
}

/// Whether an address by numbers is of a network that is nobody else's.
fn is_private(address: &str) -> bool {
    let mut parts = address.split('.').map(|part| part.parse::<u8>().unwrap_or(0));
    match (parts.next(), parts.next()) {
        (Some(10 | 127), _) | (Some(169), Some(254)) | (Some(192), Some(168)) => true,
        (Some(172), Some(second)) => (16..32).contains(&second),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_known() {
        let addresses = Addresses::new();
        for word in ["example.com", "https://a.b.example.org/x?y#z", "me@example.com", "8.8.8.8:80", "пример.рф"]
        {
            assert!(addresses.has(word), "{word}");
        }
        for word in ["example", "10.0.0.1", "172.20.1.1", "lower.Upper", "e.g", "1.2"] {
            assert!(!addresses.has(word), "{word}");
        }
    }
}
