//! Texts → words, for BM25 over words: as Lucene's StandardAnalyzer cuts them, and its CJKAnalyzer where a script puts
//! no spaces between words.
//!
//! Words are those of Unicode's annex 29, in lower case. Where a script puts no spaces, each two neighbouring
//! characters are a word, and a character that stands alone is one. What Lucene's analyzers of single languages do
//! beyond that (stop words, stems, dictionaries) is not done.

use std::sync::LazyLock;

use regex::Regex;
use unicode_segmentation::UnicodeSegmentation;

/// The longest word, in UTF-16 units: Lucene cuts longer ones there.
const LONGEST: usize = 255;

/// Characters of scripts that put no spaces between words, with their marks. Digits are not among them.
const UNSPACED: &str = r"^(?:(?:[[\p{Han}\p{Hiragana}\p{Katakana}\p{Hangul}\p{Thai}\p{Lao}\p{Khmer}\p{Myanmar}\p{Tai_Le}\p{New_Tai_Lue}\p{Tai_Tham}\p{Tai_Viet}\p{Ahom}]&&[\p{Alphabetic}--[\x{3005}\x{303b}]]]|[\x{3031}-\x{3035}\x{309b}\x{309c}\x{30a0}\x{30fc}\x{ff70}])[\p{M}\p{Cf}\x{ff9e}\x{ff9f}]*)+$";

// Constant patterns, which the tests compile.
static IS_UNSPACED: LazyLock<Regex> = LazyLock::new(|| Regex::new(UNSPACED).expect("a valid pattern"));
static HAS_LETTER: LazyLock<Regex> = LazyLock::new(|| {
    Regex::new(r"[[\p{Alphabetic}--\p{M}]\p{Nd}\p{Extended_Pictographic}\p{Regional_Indicator}]")
        .expect("a valid pattern")
});

/// The words of `text`, in order, as often as they occur.
pub fn words(text: &str) -> Vec<String> {
    let mut words = Vec::new();
    // Neighbouring pieces of scripts without spaces.
    let mut run = 0..0;
    for (start, piece) in text.split_word_bound_indices() {
        let is_ascii = piece.as_bytes()[0].is_ascii();
        if !is_ascii && IS_UNSPACED.is_match(piece) {
            if run.end != start {
                push_pairs(&text[run], &mut words);
                run = start..start;
            }
            run.end = start + piece.len();
        } else if is_ascii && piece.as_bytes()[0].is_ascii_alphanumeric() || HAS_LETTER.is_match(piece) {
            push_pairs(&text[std::mem::take(&mut run)], &mut words);
            push_word(piece, &mut words);
        }
    }
    push_pairs(&text[run], &mut words);
    words
}

fn push_pairs(run: &str, words: &mut Vec<String>) {
    let mut places = run.grapheme_indices(true).map(|(place, _)| place).chain([run.len()]);
    let starts: Vec<usize> = places.by_ref().collect();
    match starts.as_slice() {
        [_] => {}
        [first, last] => words.push(run[*first..*last].to_owned()),
        _ => words.extend(starts.windows(3).map(|pair| run[pair[0]..pair[2]].to_owned())),
    }
}

fn push_word(word: &str, words: &mut Vec<String>) {
    let (mut open, mut units) = (String::with_capacity(word.len()), 0);
    for c in word.chars() {
        // Character by character, as Lucene does it: no rule looks at neighbours, and a character stays one.
        let lower = narrow(c).to_lowercase().next().unwrap_or(c);
        if units + c.len_utf16() > LONGEST {
            words.push(std::mem::take(&mut open));
            units = 0;
        }
        open.push(lower);
        units += c.len_utf16();
    }
    words.push(open);
}

/// A character of ASCII for its form of full width.
fn narrow(c: char) -> char {
    match c {
        '\u{ff01}'..='\u{ff5e}' => char::from((u32::from(c) - 0xff01) as u8 + b'!'),
        c => c,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Expected is what Lucene 9.9's StandardAnalyzer gives, without stop words.
    #[test]
    fn words_are_lucenes() {
        let text = "Hello wörld’s can't 3.14 U.S.A. foo_bar ①½² 🙂 İstanbul ΟΔΟΣ __ \u{ad} Ⅳ e-mail\u{301} ™";
        let expected = [
            "hello",
            "wörld’s",
            "can't",
            "3.14",
            "u.s.a",
            "foo_bar",
            "🙂",
            "istanbul",
            "οδοσ",
            "ⅳ",
            "e",
            "mail\u{301}",
            "™",
        ];
        assert_eq!(words(text), expected);
        assert!(words("").is_empty() && words(" .,\n\u{200b}").is_empty());
    }

    /// As Lucene's CJKAnalyzer does with all but the last.
    #[test]
    fn scripts_without_spaces_give_pairs_of_neighbours() {
        assert_eq!(
            words("中文测试 カタカナ한국어 x"),
            ["中文", "文测", "测试", "カタ", "タカ", "カナ", "ナ한", "한국", "국어", "x"]
        );
        assert_eq!(words("中。文a字2019年"), ["中", "文", "a", "字", "2019", "年"]);
        assert_eq!(words("ＡＢＣ１２ の"), ["abc12", "の"]);
        assert_eq!(words("ไทยดี ๑๒"), ["ไท", "ทย", "ยดี", "๑๒"]);
    }

    #[test]
    fn a_word_has_a_longest() {
        let long = "ab".repeat(300);
        assert_eq!(words(&long).iter().map(String::len).collect::<Vec<_>>(), [255, 255, 90]);
        assert_eq!(words(&"𝒜".repeat(130)).iter().map(|word| word.chars().count()).collect::<Vec<_>>(), [127, 3]);
    }
}
