//! What is left of markup within a line.

use super::elements::{names_tag, tag_len};
use super::entities::decoded;

/// Characters of a switch.
const MAX_SWITCH_CHARS: usize = 64;

/// A line without emphasis, tags, switches such as `__TOC__`, and brackets that are empty now.
pub(super) fn plain(line: &str) -> String {
    let mut shown = String::with_capacity(line.len());
    let mut rest = line;
    while let Some(at) = rest.find(['\'', '<', '_']) {
        shown.push_str(&rest[..at]);
        rest = &rest[at..];
        let len = match rest.as_bytes()[0] {
            b'\'' => {
                let run = rest.bytes().take_while(|byte| *byte == b'\'').count();
                // Two are for italics, three for bold, five for both. One more is an apostrophe.
                shown.push_str(if matches!(run, 1 | 4) { "'" } else { "" });
                run
            }
            b'<' => tag_len(rest).inspect(|len| shown.push_str(blank_of(&rest[..*len]))).unwrap_or(0),
            _ => switch_len(rest).unwrap_or(0),
        };
        if len == 0 {
            shown.push_str(&rest[..1]);
        }
        rest = &rest[len.max(1)..];
    }
    shown.push_str(rest);
    without_gaps(&decoded(&shown))
}

/// What stands between the words that a tag stands between.
fn blank_of(tag: &str) -> &'static str {
    let name = tag.trim_start_matches(['<', '/']);
    let divides = ["br", "hr", "p", "div", "li", "td", "th", "tr", "center", "blockquote"];
    if divides.iter().any(|divides| names_tag(name, divides)) { " " } else { "" }
}

/// The length of the switch with which `text` begins: `__NOTOC__`, in any language.
fn switch_len(text: &str) -> Option<usize> {
    let inside = text.strip_prefix("__")?;
    let letters = inside.chars().take(MAX_SWITCH_CHARS).take_while(|c| c.is_uppercase() || *c == '_');
    let len = letters.map(char::len_utf8).sum();
    let switch = &inside[..len];
    (switch.len() > 4 && switch.ends_with("__") && !switch.starts_with('_')).then_some(2 + len)
}

/// The text with single blanks, and without brackets in which nothing is left.
fn without_gaps(text: &str) -> String {
    let mut kept = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(c) = rest.chars().next() {
        rest = &rest[c.len_utf8()..];
        if c.is_whitespace() {
            if !kept.ends_with(' ') {
                kept.push(' ');
            }
            continue;
        }
        let close = match c {
            '(' => ')',
            '（' => '）',
            _ => {
                kept.push(c);
                continue;
            }
        };
        let inside = rest.trim_start_matches(|c: char| c.is_whitespace() || ",;:/–—".contains(c));
        match inside.strip_prefix(close).filter(|_| close != ')' || kept.ends_with(' ')) {
            Some(after) => rest = after,
            None => {
                kept.push(c);
                rest = if rest.starts_with(['/', '–', '—', ':']) { rest } else { inside };
            }
        }
    }
    kept.trim().to_owned()
}
