//! What stands before, after and within a word and is a word of its own: signs, units after digits, possessives.
//!
//! Source: `spacy/lang/punctuation.py` and `spacy/lang/en/punctuation.py` of spaCy 3.8. Its regular expressions look
//! one or two characters far, and are written out here.

use crate::filters::characters::{ALPHA, BEFORE_POINT, CURRENCY, ICON, LOWER, MARK, QUOTE, UPPER, is};

/// What is cut off after a digit. Some are two units that lack a space between them in the source.
const UNITS: &[&str] = &[
    "km",
    "km²",
    "km³",
    "m",
    "m²",
    "m³",
    "dm",
    "dm²",
    "dm³",
    "cm",
    "cm²",
    "cm³",
    "mm",
    "mm²",
    "mm³",
    "ha",
    "µm",
    "nm",
    "yd",
    "in",
    "ft",
    "kg",
    "g",
    "mg",
    "µg",
    "t",
    "lb",
    "oz",
    "m/s",
    "km/h",
    "kmh",
    "mph",
    "hPa",
    "Pa",
    "mbar",
    "mb",
    "MB",
    "kb",
    "KB",
    "gb",
    "GB",
    "tb",
    "TB",
    "T",
    "G",
    "M",
    "K",
    "%",
    "км",
    "км²",
    "км³",
    "м",
    "м²",
    "м³",
    "дм",
    "дм²",
    "дм³",
    "см",
    "см²",
    "см³",
    "мм",
    "мм²",
    "мм³",
    "нм",
    "кг",
    "г",
    "мг",
    "м/с",
    "км/ч",
    "кПа",
    "Па",
    "мбар",
    "Кб",
    "КБ",
    "кб",
    "Мб",
    "МБ",
    "мб",
    "Гб",
    "ГБ",
    "гб",
    "Тб",
    "ТБ",
    "тбكم",
    "كم²",
    "كم³",
    "م",
    "م²",
    "م³",
    "سم",
    "سم²",
    "سم³",
    "مم",
    "مم²",
    "مم³",
    "كم",
    "غرام",
    "جرام",
    "جم",
    "كغ",
    "ملغ",
    "كوب",
    "اكواب",
];
const LETTERED_CURRENCIES: [&str; 3] = ["US$", "C$", "A$"];

/// The number of bytes that are cut off before the rest of `word`.
pub fn prefix_len(word: &str) -> usize {
    let mut chars = word.chars();
    let Some(first) = chars.next() else { return 0 };
    match first {
        '+' => usize::from(!chars.next().is_some_and(|next| next.is_ascii_digit())),
        '.' => Some(word.len() - word.trim_start_matches('.').len()).filter(|points| *points > 1).unwrap_or(0),
        'U' | 'C' | 'A' => {
            LETTERED_CURRENCIES.iter().find(|sign| word.starts_with(**sign)).map_or(0, |sign| sign.len())
        }
        '§' | '%' | '=' | '—' | '–' => first.len_utf8(),
        _ if is(first, MARK | QUOTE | CURRENCY | ICON) => first.len_utf8(),
        _ => 0,
    }
}

/// The number of bytes that are cut off after the rest of `word`.
pub fn suffix_len(word: &str) -> usize {
    let mut back = word.chars().rev();
    let Some(last) = back.next() else { return 0 };
    let before = back.next();
    match last {
        '…' if before == Some('…') => 2 * last.len_utf8(),
        '—' | '–' => last.len_utf8(),
        '.' => match before {
            Some('.') => word.len() - word.trim_end_matches('.').len(),
            Some(before) => {
                let two = back.next();
                let is_cut = is(before, BEFORE_POINT)
                    || (is(before, UPPER) && two.is_some_and(|two| is(two, UPPER)))
                    || ("FfCcKk".contains(before) && two == Some('°'));
                usize::from(is_cut)
            }
            None => 0,
        },
        '+' => usize::from(before.is_some_and(|before| before.is_ascii_digit())),
        's' | 'S' if before == Some('\'') => 2,
        's' | 'S' if before == Some('’') => 1 + '’'.len_utf8(),
        _ if is(last, MARK | QUOTE | ICON) => last.len_utf8(),
        _ => after_digit_len(word),
    }
}

/// The bytes behind the last digit, if they are a unit or a currency.
fn after_digit_len(word: &str) -> usize {
    let Some(digit) = word.bytes().rposition(|byte| byte.is_ascii_digit()) else { return 0 };
    let rest = &word[digit + 1..];
    let mut one = rest.chars();
    let is_currency = one.next().is_some_and(|c| is(c, CURRENCY)) && one.next().is_none();
    match is_currency || LETTERED_CURRENCIES.contains(&rest) || UNITS.contains(&rest) {
        true => rest.len(),
        false => 0,
    }
}

/// Calls `found` with the start and the end of everything within `word` that splits it, in order.
pub fn for_each_infix(word: &str, mut found: impl FnMut(usize, usize)) {
    let (mut at, mut before) = (0, None);
    while let Some(c) = word[at..].chars().next() {
        let len = match infix_len(&word[at..], c, before) {
            0 => {
                before = Some(c);
                at += c.len_utf8();
                continue;
            }
            len => len,
        };
        found(at, at + len);
        before = word[..at + len].chars().next_back();
        at += len;
    }
}

/// The length of what splits a word at the start of `rest`, whose first character is `c`.
fn infix_len(rest: &str, c: char, before: Option<char>) -> usize {
    let next = |len: usize| rest[len..].chars().next();
    let follows = |len: usize, class: u16| next(len).is_some_and(|next| is(next, class));
    let len = c.len_utf8();
    if c == '.' {
        let points = rest.len() - rest.trim_start_matches('.').len();
        let is_border = before.is_some_and(|before| is(before, LOWER | QUOTE)) && follows(1, UPPER | QUOTE);
        return if points > 1 { points } else { usize::from(is_border) };
    }
    if c == '…' || is(c, ICON) {
        return len;
    }
    let Some(before) = before else { return 0 };
    let is_digit = before.is_ascii_digit();
    let is_word = is_digit || is(before, ALPHA);
    let is_sign = "+-*^".contains(c) && is_digit && next(1).is_some_and(|next| next.is_ascii_digit() || next == '-');
    let is_between = |len| is_word && follows(len, ALPHA);
    match c {
        _ if is_sign => 1,
        ',' if is(before, ALPHA) && follows(1, ALPHA) => 1,
        '-' => (1..=3).find(|len| rest.starts_with(&"---"[..*len]) && is_between(*len)).unwrap_or(0),
        '—' if is_between(len) => len,
        '—' if rest[len..].starts_with('—') && is_between(2 * len) => 2 * len,
        '–' | '~' | ':' | '<' | '>' | '=' | '/' if is_between(len) => len,
        _ => 0,
    }
}
