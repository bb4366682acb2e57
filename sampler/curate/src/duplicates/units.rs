//! What is compared of a text: its units, each by a hash.
//!
//! A unit is a word: letters, digits and marks that follow each other, in Unicode's compatibility form (NFKC) and in
//! lower case. Where a script puts no blanks between words (Chinese, Japanese, Thai, Lao, Khmer, Burmese, …) a unit is
//! a character with its marks. White space, punctuation and symbols only stand between units. So case, punctuation,
//! line breaks, full width and the way an accent is encoded make no difference; digits and accents do, other than in
//! datatrove, because a row about 2019 is not one about 2020, and since marks are vowels in many scripts. A text
//! without a letter or digit has its other characters for units.

use std::sync::LazyLock;

use unicode_normalization::char::{canonical_combining_class, is_combining_mark};
use unicode_normalization::{IsNormalized, UnicodeNormalization, is_nfkc_quick};

use super::mixing::mix;

/// Units of one text after the other.
#[derive(Debug, Default)]
pub struct Units {
    hashes: Vec<u64>,
}

impl Units {
    /// Hashes of the units of `text`, in order; none for a text of nothing but white space.
    pub fn of(&mut self, text: &str) -> &[u64] {
        self.hashes.clear();
        let mut open = Open { units: &mut self.hashes, state: BEGINNING, is_alone: false };
        if text.is_ascii() {
            open.ascii(text.as_bytes());
        } else if !open.characters(text.chars()) {
            open.units.clear();
            (open.state, open.is_alone) = (BEGINNING, false);
            open.characters_as_they_are(text.nfkc());
        }
        open.end();
        if self.hashes.is_empty() {
            let others = text.nfkc().filter(|c| !c.is_whitespace());
            self.hashes.extend(others.map(|c| mix(absorb(BEGINNING, c))));
        }
        &self.hashes
    }
}

/// The state of a unit without characters. No unit comes back to it but by a coincidence of 64 bits.
const BEGINNING: u64 = 0x243f_6a88_85a3_08d3;

#[inline(always)]
fn absorb(state: u64, c: char) -> u64 {
    (state.rotate_left(23) ^ u64::from(u32::from(c))).wrapping_mul(0x9fb2_1c65_1e98_df25)
}

/// A unit that may go on.
struct Open<'a> {
    units: &'a mut Vec<u64>,
    state: u64,
    /// It is a character of a script without blanks, to which only marks can come.
    is_alone: bool,
}

impl Open<'_> {
    /// As [`characters`](Self::characters), for what needs no table.
    fn ascii(&mut self, text: &[u8]) {
        for byte in text {
            match byte.is_ascii_alphanumeric() {
                true => self.state = absorb(self.state, char::from(byte.to_ascii_lowercase())),
                false => self.end(),
            }
        }
    }

    /// Reads characters, which are taken to be in compatibility form. False as soon as they are not, or may not be.
    #[inline]
    fn characters(&mut self, text: std::str::Chars<'_>) -> bool {
        let mut last_class = 0;
        for c in text {
            let known = known(c);
            // The quick check of Unicode's annex 15.
            if known.may_change || known.class < last_class && known.class != 0 {
                return false;
            }
            last_class = known.class;
            self.push(known);
        }
        true
    }

    fn characters_as_they_are(&mut self, text: impl Iterator<Item = char>) {
        text.for_each(|c| self.push(known(c)));
    }

    #[inline(always)]
    fn push(&mut self, Known { role, lower, .. }: Known) {
        match role {
            Role::Between => self.end(),
            Role::Nothing => {}
            Role::Mark => self.state = absorb(self.state, lower),
            Role::Letter => {
                if self.is_alone {
                    self.end();
                }
                self.state = absorb(self.state, lower);
            }
            Role::Alone => {
                self.end();
                self.state = absorb(self.state, lower);
                self.is_alone = true;
            }
        }
    }

    #[inline(always)]
    fn end(&mut self) {
        if self.state != BEGINNING {
            self.units.push(mix(self.state));
            self.state = BEGINNING;
        }
        self.is_alone = false;
    }
}

/// What a character is to units.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Role {
    /// It ends a unit.
    Between,
    /// It is passed over, as nobody sees it.
    Nothing,
    /// It belongs to a word.
    Letter,
    /// It belongs to what stands before it.
    Mark,
    /// It is a unit.
    Alone,
}

/// All that is to be known of a character.
#[derive(Debug, Clone, Copy)]
struct Known {
    role: Role,
    lower: char,
    /// Its canonical combining class.
    class: u8,
    /// It is not, or may not be, what the compatibility form has in its place.
    may_change: bool,
}

impl Known {
    fn of(c: char) -> Self {
        let role = match c {
            '\u{ad}' | '\u{200c}' | '\u{200d}' | '\u{2060}' | '\u{feff}' => Role::Nothing,
            _ if is_combining_mark(c) => Role::Mark,
            _ if !c.is_alphanumeric() => Role::Between,
            _ if is_of_script_without_blanks(c) => Role::Alone,
            _ => Role::Letter,
        };
        Self {
            role,
            // İ alone becomes two characters, of which the second is a mark that the Turkish i does not have.
            lower: c.to_lowercase().next().unwrap_or(c),
            class: canonical_combining_class(c),
            may_change: is_nfkc_quick(std::iter::once(c)) != IsNormalized::Yes,
        }
    }
}

/// The characters of Unicode's first plane; surrogates are none.
static KNOWN: LazyLock<Vec<Known>> =
    LazyLock::new(|| (0..0x1_0000).map(|code| Known::of(char::from_u32(code).unwrap_or('\0'))).collect());

#[inline(always)]
fn known(c: char) -> Known {
    KNOWN.get(u32::from(c) as usize).copied().unwrap_or_else(|| Known::of(c))
}

/// By blocks: Han, Hiragana, Katakana, Bopomofo, Thai, Lao, Burmese, Khmer, Tai, Javanese and Balinese. Koreans put
/// blanks.
fn is_of_script_without_blanks(c: char) -> bool {
    matches!(
        u32::from(c),
        0x0e00..=0x0eff
            | 0x1000..=0x109f
            | 0x1780..=0x17ff
            | 0x1950..=0x19ff
            | 0x1a20..=0x1aaf
            | 0x1b00..=0x1b7f
            | 0x2e80..=0x312f
            | 0x31a0..=0x31ff
            | 0x3400..=0x4dbf
            | 0x4e00..=0x9fff
            | 0xa980..=0xa9df
            | 0xa9e0..=0xa9ff
            | 0xaa60..=0xaadf
            | 0xf900..=0xfaff
            | 0x1_b000..=0x1_b16f
            | 0x2_0000..=0x3_ffff
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(text: &str) -> Vec<u64> {
        Units::default().of(text).to_vec()
    }

    #[test]
    fn what_nobody_reads_makes_no_difference() {
        for (a, b) in [
            ("The quick,\n brown FOX!", " the quick brown fox"),
            ("“don’t”", "don't"),
            ("ＡＢＣ１２", "abc12"),
            ("caf\u{e9}", "Cafe\u{301}"),
            ("soft\u{ad}hyphen", "softhyphen"),
            ("İstanbul", "istanbul"),
            ("as others — 42", "AS OTHERS, 42"),
            ("ﾃｽﾄ", "テスト"),
            ("中文，测试。", "中文测试"),
            ("\u{1e9b}\u{323}", "\u{1e69}"),
        ] {
            assert_eq!(of(a), of(b), "{a:?} {b:?}");
        }
    }

    #[test]
    fn what_a_reader_sees_makes_one() {
        for (a, b) in [
            ("2019", "2020"),
            ("the quick", "thequick"),
            ("ab c", "a bc"),
            ("schon", "schön"),
            ("กิน", "กน"),
            ("🙂", "🙃"),
            ("a b", "b a"),
            ("naïve", "naive"),
        ] {
            assert_ne!(of(a), of(b), "{a:?} {b:?}");
        }
    }

    #[test]
    fn units_are_words_or_characters() {
        for (text, count) in [
            ("The quick brown fox, 42.", 5),
            ("中文测试 abc", 5),
            ("カタカナabcの字", 7),
            ("한국어 문장", 2),
            ("กิน", 2),
            ("हिन्दी में", 2),
            ("", 0),
            (" \n\u{3000}", 0),
            ("+ - 🙂", 3),
        ] {
            assert_eq!(of(text).len(), count, "{text:?}");
        }
    }
}
