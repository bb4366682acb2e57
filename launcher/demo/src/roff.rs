//! roff's escape sequences: one source line to the characters that a reader sees.
//!
//! Fonts, sizes, motions, registers and drawing vanish; special characters become Unicode. Enough for manual pages,
//! not a roff formatter: strings and registers that a page defines itself are dropped.

use std::iter::Peekable;
use std::str::Chars;

/// `line` without escapes. A comment (`\"`, `\#`) ends it.
pub(super) fn unescape(line: &str) -> String {
    let mut out = String::with_capacity(line.len());
    let mut chars = line.chars().peekable();
    while let Some(c) = chars.next() {
        if c != '\\' {
            out.push(c);
            continue;
        }
        let Some(escape) = chars.next() else { break };
        match escape {
            '"' | '#' => break,
            // Glyphs.
            '-' => out.push('-'),
            'e' | '\\' => out.push('\\'),
            '\'' | '`' | '.' => out.push(escape),
            ' ' | '~' | '0' | 't' | 'p' => out.push(' '),
            '(' => out.push_str(&special_character(&two(&mut chars))),
            '[' => out.push_str(&special_character(&until(&mut chars, ']'))),
            '*' => out.push_str(&predefined_string(&name(&mut chars))),
            'N' => out.push_str(&numbered_character(&quoted(&mut chars))),
            // Escapes with an argument that prints nothing.
            'f' | 'F' | 'm' | 'M' | 'n' | 'g' | 'k' | 'V' | 'Y' => drop(name(&mut chars)),
            's' => size(&mut chars),
            'h' | 'v' | 'w' | 'l' | 'L' | 'D' | 'o' | 'b' | 'x' | 'A' | 'B' | 'C' | 'H' | 'R' | 'S' | 'X' | 'Z' => {
                drop(quoted(&mut chars));
            }
            '$' => drop(name(&mut chars)),
            // \& \| \^ \/ \, \: \% \c \z \d \u \{ \} and whatever else has no width.
            _ => {}
        }
    }
    out
}

/// A name after `\f`, `\*` or `\n`: `x`, `(xx` or `[xxx]`, for registers also with a sign in front.
fn name(chars: &mut Peekable<Chars>) -> String {
    if chars.peek().is_some_and(|c| matches!(c, '+' | '-')) {
        chars.next();
    }
    match chars.next() {
        Some('(') => two(chars),
        Some('[') => until(chars, ']'),
        Some(c) => c.to_string(),
        None => String::new(),
    }
}

fn two(chars: &mut Peekable<Chars>) -> String {
    chars.take(2).collect()
}

fn until(chars: &mut Peekable<Chars>, end: char) -> String {
    chars.take_while(|&c| c != end).collect()
}

/// The argument of `\h'2n'`; the delimiter is whatever character follows.
fn quoted(chars: &mut Peekable<Chars>) -> String {
    chars.next().map(|delimiter| until(chars, delimiter)).unwrap_or_default()
}

/// `\s0`, `\s-1`, `\s+2`, `\s10`, `\s[-1]`, `\s'10'`: takes them away.
fn size(chars: &mut Peekable<Chars>) {
    match chars.peek() {
        Some('[') => drop(until(chars, ']')),
        Some('\'') => drop(quoted(chars)),
        Some('(') => drop(name(chars)),
        _ => {
            if chars.peek().is_some_and(|c| matches!(c, '+' | '-')) {
                chars.next();
            }
            // Two-digit sizes start with 1, 2 or 3 only: \s12 is a size, \s89 is a size and a digit.
            let first = chars.next_if(char::is_ascii_digit);
            if first.is_some_and(|d| ('1'..='3').contains(&d)) {
                chars.next_if(char::is_ascii_digit);
            }
        }
    }
}

fn numbered_character(number: &str) -> String {
    number.parse().ok().and_then(char::from_u32).map(String::from).unwrap_or_default()
}

/// Strings that the macro packages define for every page.
fn predefined_string(name: &str) -> String {
    let text = match name {
        "lq" | "Lq" => "“",
        "rq" | "Rq" => "”",
        "R" => "®",
        "Tm" => "™",
        "Aq" => "'",
        "C+" => "C++",
        _ => "",
    };
    text.to_owned()
}

/// `\(xx` and `\[xxx]`; an unknown one prints nothing.
fn special_character(name: &str) -> String {
    if let Some(codes) = name.strip_prefix('u').filter(|rest| rest.len() >= 4) {
        let decode = |code: &str| u32::from_str_radix(code, 16).ok().and_then(char::from_u32);
        return codes.split('_').filter_map(decode).collect();
    }
    if let Some(number) = name.strip_prefix("char") {
        return numbered_character(number);
    }
    let text = match name {
        "aq" | "fm" => "'",
        "dq" => "\"",
        "lq" => "“",
        "rq" => "”",
        "oq" => "‘",
        "cq" => "’",
        "Fo" => "«",
        "Fc" => "»",
        "em" => "—",
        "en" => "–",
        "hy" | "mi" => "-",
        "bu" | "ci" => "•",
        "pd" => "∂",
        "co" => "©",
        "rg" => "®",
        "tm" => "™",
        "de" => "°",
        "sc" => "§",
        "at" => "@",
        "sh" => "#",
        "Do" => "$",
        "ti" => "~",
        "ha" => "^",
        "ga" => "`",
        "aa" => "´",
        "rs" => "\\",
        "ul" => "_",
        "sl" | "f/" => "/",
        "ba" | "bv" | "or" | "br" => "|",
        "la" => "⟨",
        "ra" => "⟩",
        "lB" => "[",
        "rB" => "]",
        "lC" => "{",
        "rC" => "}",
        "->" => "→",
        "<-" => "←",
        "lA" => "⇐",
        "rA" => "⇒",
        ">=" => "≥",
        "<=" => "≤",
        "!=" => "≠",
        "eq" => "=",
        "pl" => "+",
        "+-" => "±",
        "mu" => "×",
        "if" => "∞",
        "is" => "∫",
        "mc" => "µ",
        "sd" => "″",
        "S2" => "²",
        "S3" => "³",
        "12" => "½",
        "14" => "¼",
        "ss" => "ß",
        "ae" => "æ",
        "AE" => "Æ",
        "oe" => "œ",
        "OE" => "Œ",
        "o/" => "ø",
        "O/" => "Ø",
        "oa" => "å",
        "oA" => "Å",
        _ => return accented(name).unwrap_or_default(),
    };
    text.to_owned()
}

/// `:a`, `'e`, `,c`…: the letter and a combining mark, which NFKC joins later.
fn accented(name: &str) -> Option<String> {
    let mut chars = name.chars();
    let (accent, letter) = (chars.next()?, chars.next()?);
    let mark = match accent {
        '\'' => '\u{301}',
        '`' => '\u{300}',
        '^' => '\u{302}',
        '~' => '\u{303}',
        ':' => '\u{308}',
        ',' => '\u{327}',
        'v' => '\u{30c}',
        'o' => '\u{30a}',
        _ => return None,
    };
    (chars.next().is_none() && letter.is_alphabetic()).then(|| [letter, mark].iter().collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fonts_sizes_and_motions_vanish() {
        assert_eq!(unescape(r"\fBls\fP [\fI\,FILE\/\fR]\|.\|.\|."), "ls [FILE]...");
        assert_eq!(unescape(r"\f(CWint\fR \s-1POSIX\s0 \f[B]x\f[]"), "int POSIX x");
        assert_eq!(unescape(r"a\h'2n'b\v'-.4m'c\n(.gd\m[red]e\s+1f\s12g"), "abcdefg");
    }

    #[test]
    fn characters_are_what_a_reader_sees() {
        assert_eq!(
            unescape(r"\-\-all \(aqx\(aq \e0 \[u00E9]\[u0065_0301] \(bu\ \[dq]"),
            "--all 'x' \\0 ée\u{301} • \""
        );
        assert_eq!(unescape(r"\(:aber \*(lqq\*(rq \N'65'"), "a\u{308}ber “q” A");
    }

    #[test]
    fn a_comment_ends_the_line() {
        assert_eq!(unescape(r#"text \" and more"#), "text ");
        assert_eq!(unescape(r"ends with \"), "ends with ");
    }
}
