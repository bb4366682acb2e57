//! What characters are, for words and rules: one lookup a character.
//!
//! Sources: Unicode's properties as `regex-syntax` has them; the letters, marks and quotes by which spaCy 3.8 splits
//! words (`spacy/lang/char_classes.py`); the punctuation of datatrove 0.10.1 (`datatrove/utils/text.py`).

use std::sync::LazyLock;

use regex_syntax::hir::{Class as HirClass, HirKind};

/// White space as Python's `str.isspace` has it.
pub const SPACE: u16 = 1;
/// A letter: general category L.
pub const LETTER: u16 = 1 << 1;
/// Punctuation in datatrove's sense: a word of it alone is no word.
pub const SYMBOL: u16 = 1 << 2;
/// Ends a sentence in datatrove's sense.
pub const TERMINAL: u16 = 1 << 3;
/// Ends a sentence in spaCy's sense.
pub const SENTENCE_END: u16 = 1 << 4;
/// Punctuation in Unicode's sense: general category P.
pub const PUNCTUATION: u16 = 1 << 5;
/// A letter in spaCy's sense, of any case.
pub const ALPHA: u16 = 1 << 6;
/// A lower-case letter in spaCy's sense, or one of a script without cases.
pub const LOWER: u16 = 1 << 7;
/// An upper-case letter in spaCy's sense, or one of a script without cases.
pub const UPPER: u16 = 1 << 8;
/// A symbol that is a word wherever it stands.
pub const ICON: u16 = 1 << 9;
/// Punctuation and quotes that spaCy cuts off at both ends.
pub const MARK: u16 = 1 << 10;
/// A quote in spaCy's sense.
pub const QUOTE: u16 = 1 << 11;
/// A sign of a currency.
pub const CURRENCY: u16 = 1 << 12;
/// A point after it is cut off.
pub const BEFORE_POINT: u16 = 1 << 13;
/// A word that has none of these is not split.
pub const ACTIVE: u16 = 1 << 14;
/// Whether a character is of a script that writes without spaces between words.
pub const UNSPACED: u16 = 1 << 15;

/// Classes by expressions; [`table`] adds those that are made of others.
const CLASSES: [(u16, &str); 12] = [
    (SPACE, r"[\t-\r\x1c-\x20\u0085\u00a0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000]"),
    (LETTER, r"\p{L}"),
    (
        SYMBOL,
        r"[\x00-\x08\x0b-\x1f!-/:-@\[-`\{-\u009f\u00ab\u00b4\u00bb\u2013\u2014\u2019\u201c-\u201e\u2026\u2236
           \u2501\u25ba\u3001\u3002\u3008-\u300d\u3010\u3011\uff01\uff05\uff08\uff09\uff0c\uff0e\uff11\uff1a
           \uff1b\uff1f\uff5e]",
    ),
    (TERMINAL, TERMINALS),
    (PUNCTUATION, r"\p{P}"),
    (ICON, r"[[\p{So}&&\p{age=11.0}]--[\u166d]]"),
    (
        MARK,
        r#"[…,:;!?¿؟¡()\[\]{}<>_\#*\&。？！，、；：～·।،۔؛٪'"”“`‘´’‚„»«「」『』（）〔〕【】《》〈〉\u2329\u232a⟦⟧]"#,
    ),
    (QUOTE, r#"['"”“`‘´’‚,„»«「」『』（）〔〕【】《》〈〉\u2329\u232a⟦⟧]"#),
    (CURRENCY, r"[$£¥฿﷼\u20a0-\u20bf]"),
    (BEFORE_POINT, r"[0-9%²\-+|(?:)]"),
    (ACTIVE, r"[0-9.+\-–—~*\^=%§/<>:,]"),
    (
        UNSPACED,
        r"[\p{Han}\p{Hiragana}\p{Katakana}\p{Bopomofo}\p{Thai}\p{Lao}\p{Khmer}\p{Myanmar}\p{Tibetan}\p{Balinese}
           \p{Javanese}\p{Tai_Le}\p{New_Tai_Lue}\p{Tai_Tham}\p{Tai_Viet}]",
    ),
];

/// `TERMINAL_PUNCTUATION`.
const TERMINALS: &str = r"[!.?\u0589\u061d-\u061f\u06d4\u0700-\u0702\u07f9\u0837\u0839\u083d\u083e\u0964\u0965\u104a
    \u104b\u1362\u1367\u1368\u166e\u1735\u1736\u17d4-\u17d6\u17d9-\u17da\u1803\u1809\u1944\u1945\u1aa8-\u1aab
    \u1b5a\u1b5b
    \u1b5e\u1b5f\u1b7d\u1b7e\u1c3b\u1c3c\u1c7e\u1c7f\u203c\u203d\u2047-\u2049\u2e2e\u2e3c\u2e53\u2e54\u3002
    \ua4ff\ua60e\ua60f
    \ua6f3\ua6f7\ua876\ua877\ua8ce\ua8cf\ua92f\ua9c8\ua9c9\uaa5d-\uaa5f\uaaf0\uaaf1\uabeb\ufe52\ufe56\ufe57
    \uff01\uff0e
    \uff1f\uff61\U00010a56\U00010a57\U00010f55-\U00010f59\U00010f86-\U00010f89\U00011047\U00011048
    \U000110be-\U000110c1
    \U00011141-\U00011143\U000111c5\U000111c6\U000111cd\U000111de\U000111df\U00011238\U00011239\U0001123b\U0001123c
    \U000112a9\U0001144b\U0001144c\U000115c2\U000115c3\U000115c9-\U000115d7\U00011641\U00011642\U0001173c-\U0001173e
    \U00011944\U00011946\U00011a42\U00011a43\U00011a9b\U00011a9c\U00011c41\U00011c42\U00011ef7\U00011ef8\U00011f43
    \U00011f44\U00016a6e\U00016a6f\U00016af5\U00016b37\U00016b38\U00016b44\U00016e98\U0001bc9f\U0001da88]";

/// What spaCy's sentencizer does not have of them: newer versions of Unicode have it.
const NO_SENTENCE_ENDS: &str = r"[\u061d\u061e\u0837\u0839\u083d\u083e\u17d4-\u17da\u1b7d\u1b7e\u2e53\u2e54
    \U00010f55-\U00010f59\U00010f86-\U00010f89\U00011944\U00011946\U00011ef7\U00011ef8\U00011f43\U00011f44
    \U00016e98]";

/// Letters of scripts with cases, by the blocks that spaCy knows: Latin, Greek, Cyrillic.
const CASED: &str = r"[A-Za-z\u00c0-\u00d6\u00d8-\u00f6\u00f8-\u01bf\u01c4-\u02af\u0386\u0388-\u038a\u038c\u038e\u038f
    \u0391-\u03a9\u03ac-\u03af\u03b1-\u03c9\u03cc-\u03ce\u0400\u0401\u0403-\u040a\u040c\u040d\u0410-\u0451
    \u0453-\u045a
    \u045c\u045d\u0490\u0491\u0496\u0497\u04a2\u04a3\u04ae\u04af\u04ba\u04bb\u04d8\u04d9\u04e8\u04e9\u1d00-\u1d25
    \u1d6b-\u1d77\u1d79-\u1d9a\u1e00-\u1eff\u2c60-\u2c7b\u2c7e\u2c7f\ua722-\ua76f\ua771-\ua787\ua78b-\ua78e
    \ua790-\ua7b9
    \ua7fa\uab30-\uab5a\uab60-\uab64\uff21-\uff3a\uff41-\uff5a]";

/// Letters of scripts without cases, by the blocks that spaCy knows.
const UNCASED: &str = r"[\u0591-\u05f4\u0620-\u064a\u066e-\u06d5\u06e5-\u06ff\u0750-\u077f\u08a0-\u08bd\u0900-\u09ff
    \u0b80-\u0cff\u0d80-\u0dff\u1100-\u137f\u2e80-\u2fdf\u2ff0-\u30ff\u31c0-\u31ef\u3200-\u4dbf\u4e00-\u9fff
    \uac00-\ud7af\uf900-\ufaff\ufb1d-\ufbb1\ufbd3-\ufd3d\ufd50-\ufdc7\ufdf0-\ufdfb\ufe30-\ufe4f\ufe70-\ufefc
    \U0001ee00-\U0001eebb
    \U0001f200-\U0001f2ff\U00020000-\U0002a6df\U0002a700-\U0002ebef\U0002f800-\U0002fa1f]";

static TABLE: LazyLock<Vec<u16>> = LazyLock::new(table);

/// The classes of `c`.
#[inline]
pub fn classes(c: char) -> u16 {
    TABLE[c as usize]
}

/// Whether `c` has one of these classes.
#[inline]
pub fn is(c: char, wanted: u16) -> bool {
    classes(c) & wanted != 0
}

/// The characters of [`LOWER`], for the inside of a class of a regular expression.
pub fn lower_case_class() -> String {
    let mut ranges = String::new();
    let mut first = None;
    for number in 0..=TABLE.len() as u32 {
        let is_lower = char::from_u32(number).is_some_and(|c| is(c, LOWER));
        match (first, is_lower) {
            (None, true) => first = Some(number),
            (Some(from), false) => {
                ranges.push_str(&format!("\\x{{{from:x}}}-\\x{{{:x}}}", number - 1));
                first = None;
            }
            _ => {}
        }
    }
    ranges
}

fn table() -> Vec<u16> {
    let mut table = vec![0u16; char::MAX as usize + 1];
    let mut mark = |class: u16, pattern: &str| {
        for c in members(pattern) {
            table[c as usize] |= class;
        }
    };
    for (class, pattern) in CLASSES {
        mark(class, pattern);
    }
    mark(SYMBOL, TERMINALS);
    mark(SENTENCE_END, &format!("[{TERMINALS}--{NO_SENTENCE_ENDS}]"));
    mark(ALPHA | LOWER | UPPER, UNCASED);
    mark(ALPHA, CASED);
    mark(LOWER, &format!(r"[{CASED}&&[\p{{Ll}}\u0294]]"));
    mark(UPPER, &format!(r"[{CASED}&&\p{{Lu}}]"));
    // Five letters, four of them Dž and its like, are of no case there, and one that does not exist is a letter.
    mark(UPPER, r"\u03a2");
    for classes in &mut table {
        if *classes & (LOWER | MARK | QUOTE) != 0 {
            *classes |= BEFORE_POINT;
        }
        if *classes & (MARK | QUOTE | ICON | CURRENCY) != 0 {
            *classes |= ACTIVE;
        }
    }
    table
}

/// The characters of a class. The patterns are this file's own.
fn members(pattern: &str) -> Vec<char> {
    let mut parser = regex_syntax::ParserBuilder::new().ignore_whitespace(true).build();
    let hir = parser.parse(pattern).unwrap_or_else(|error| panic!("{pattern}: {error}"));
    match hir.into_kind() {
        HirKind::Class(HirClass::Unicode(class)) => {
            class.ranges().iter().flat_map(|range| range.start()..=range.end()).collect()
        }
        HirKind::Literal(literal) => String::from_utf8_lossy(&literal.0).chars().collect(),
        _ => panic!("{pattern} is no class of characters"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn characters_have_their_classes() {
        for (c, has, has_not) in [
            (' ', SPACE, LETTER | ACTIVE),
            ('\u{1f}', SPACE | SYMBOL, TERMINAL),
            ('a', LETTER | ALPHA | LOWER | BEFORE_POINT, UPPER | ACTIVE),
            ('Я', LETTER | ALPHA | UPPER, LOWER),
            ('漢', LETTER | ALPHA | LOWER | UPPER | UNSPACED, SPACE),
            ('ก', LETTER | UNSPACED, ALPHA),
            ('。', SYMBOL | TERMINAL | SENTENCE_END | PUNCTUATION | MARK, LETTER),
            ('។', TERMINAL, SENTENCE_END),
            ('☺', ICON | ACTIVE, PUNCTUATION),
            ('€', CURRENCY | ACTIVE, MARK),
        ] {
            assert_eq!(classes(c) & has, has, "{c:?}");
            assert_eq!(classes(c) & has_not, 0, "{c:?}");
        }
    }
}
