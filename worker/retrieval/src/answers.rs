//! Whether a passage has an answer, as DPR decides it (Karpukhin et al., 2020), and the clean-up that its MKQA
//! evaluation puts before that.
//!
//! A text is brought into NFD and cut into tokens: runs of letters, numbers and marks, and every other character that
//! is neither a separator nor a control. Their lower case must have the answer's as consecutive tokens.

use std::sync::LazyLock;

use regex::Regex;
use unicode_normalization::UnicodeNormalization;

// A constant pattern, which the tests compile.
static TOKEN: LazyLock<Regex> =
    LazyLock::new(|| Regex::new(r"[\p{L}\p{N}\p{M}]+|[^\p{Z}\p{C}]").expect("a valid pattern"));

/// Stands on both sides of a token. It is a control, so no token has it.
const BETWEEN: char = '\n';

/// Answers to look for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Answers(Vec<String>);

impl Answers {
    /// The answers to a question. An answer without a token is left out: DPR's own code finds it in every text.
    pub fn new(answers: &[impl AsRef<str>]) -> Self {
        let tokens = answers.iter().map(|answer| tokens(answer.as_ref()));
        Self(tokens.filter(|answer| answer.len() > BETWEEN.len_utf8()).collect())
    }

    /// Whether there is nothing to look for.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether `text` has one of the answers.
    pub fn are_in(&self, text: &str) -> bool {
        !self.is_empty() && {
            let text = tokens(text);
            self.0.iter().any(|answer| text.contains(answer.as_str()))
        }
    }
}

/// The tokens of `text` with [`BETWEEN`] before, between and after them, so that consecutive ones are a part of it.
fn tokens(text: &str) -> String {
    let text: String = text.nfd().collect();
    let mut tokens = String::with_capacity(text.len() + text.len() / 2);
    tokens.push(BETWEEN);
    for token in TOKEN.find_iter(&text) {
        tokens.push_str(token.as_str());
        tokens.push(BETWEEN);
    }
    // The whole text's, because no rule of lower case looks past a control.
    tokens.to_lowercase()
}

/// `text` with one form of hyphens, quotes, primes, ellipses and slashes, and without controls: what MKQA's passages go
/// through before they are encoded, in the evaluations of Contriever and of M3.
///
/// The controls are those of that code, which leaves 0x10 alone.
pub fn cleaned(text: &str) -> String {
    let mut cleaned = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '\u{1}'..='\u{8}' | '\u{e}' | '\u{f}' | '\u{11}'..='\u{1b}' | '\u{ad}' => {}
            '\u{b}' | '\u{c}' | '\u{85}' => cleaned.push(' '),
            '‐' | '‑' | '⁃' | '‒' | '–' | '—' | '―' | '−' | '－' | '⁻' => cleaned.push('-'),
            '“' | '”' | '„' | '‟' => cleaned.push('"'),
            '‘' | '’' | '‚' | '‛' | '՚' | 'Ꞌ' | 'ꞌ' | '＇' | '`' | '´' | '′' | '‵' => {
                cleaned.push('\'')
            }
            '″' | '‶' => cleaned.push_str("''"),
            '‴' | '‷' => cleaned.push_str("'''"),
            '⁗' => cleaned.push_str("''''"),
            '…' => cleaned.push_str("..."),
            '⁄' | '∕' => cleaned.push('/'),
            c => cleaned.push(c),
        }
    }
    cleaned.replace(" . . . ", " ... ")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn are_in(answer: &str, text: &str) -> bool {
        Answers::new(&[answer]).are_in(text)
    }

    #[test]
    fn tokens_are_runs_of_letters_numbers_and_marks_and_single_other_characters() {
        assert_eq!(tokens("  Don't \u{200b}stop—a1b2!! "), "\ndon\n'\nt\nstop\n—\na1b2\n!\n!\n");
        assert_eq!(tokens("É\u{7}\tΟΔΟΣ ΟΔΟΣ."), "\ne\u{301}\nοδος\nοδος\n.\n");
        assert_eq!(tokens("हिन्दी 中文。"), "\nहिन्दी\n中文\n。\n");
        assert_eq!(tokens(" \u{a0}\u{ad}\u{fffe}"), "\n");
    }

    #[test]
    fn an_answer_is_consecutive_whole_tokens_in_any_case_and_form() {
        assert!(are_in("new york", "In NEW  York, today"));
        assert!(are_in("caf\u{e9}", "cafe\u{301} noir"));
        assert!(!are_in("york", "Yorkshire") && !are_in("new york", "new, york") && !are_in("york new", "new york"));
        assert!(are_in("U.S.", "the U. S. of A") && !are_in("U.S.", "the US"));
        assert!(!are_in("中", "中文") && are_in("中文", "说 中文。"));
        assert!(Answers::new(&["no", "yes"]).are_in("oh yes"));
    }

    #[test]
    fn an_answer_without_a_token_is_in_no_text() {
        let blank = Answers::new(&["", " \u{ad}"]);
        assert!(blank.is_empty() && !blank.are_in("text") && !blank.are_in(""));
        assert!(!are_in("text", "") && Answers::new(&["", "text"]).are_in("a text"));
    }

    #[test]
    fn cleaning_leaves_one_form_of_each() {
        assert_eq!(cleaned("a–b\u{ad}c‟d´s 5′ 6″ 7⁗…1⁄2"), "a-bc\"d's 5' 6'' 7''''...1/2");
        assert_eq!(cleaned("a . . . b\u{7}\u{c}\u{10}\u{85}"), "a ... b \u{10} ");
        assert_eq!(cleaned("one … two\n~˜"), "one ... two\n~˜");
    }

    proptest! {
        /// Against lists of tokens compared place by place.
        #[test]
        fn a_part_of_the_tokens_is_found(text in "[aBé中' .-]{0,12}", answer in "[aBé中' .-]{0,4}") {
            let list = |text: &str| -> Vec<String> {
                tokens(text).split(BETWEEN).filter(|token| !token.is_empty()).map(str::to_owned).collect()
            };
            let (own, all) = (list(&answer), list(&text));
            let expected = !own.is_empty() && all.windows(own.len()).any(|window| window == own);
            prop_assert_eq!(are_in(&answer, &text), expected);
        }
    }
}
