//! Comments, and elements that are left out with what is in them.

/// Elements that are left out with what is in them.
const HIDDEN: [&str; 24] = [
    "ce",
    "chem",
    "gallery",
    "graph",
    "hiero",
    "imagemap",
    "indicator",
    "inputbox",
    "mapframe",
    "maplink",
    "math",
    "page-collection",
    "pagelist",
    "ref",
    "score",
    "section",
    "source",
    "style",
    "syntaxhighlight",
    "table",
    "templatedata",
    "templatestyles",
    "timeline",
    "tracklist",
];

/// Elements whose text is no markup.
const LITERAL: [&str; 2] = ["nowiki", "pre"];

/// Bytes between `<` and `>` of a tag.
const MAX_TAG_BYTES: usize = 1000;

/// The text without comments and elements that are left out. In what is no markup the signs of markup are named, as
/// `&#91;`.
pub(super) fn without_hidden_elements(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    // Names that no end tag follows are not looked for again.
    let mut unclosed: Vec<&str> = Vec::new();
    let mut rest = text;
    while let Some(start) = rest.find('<') {
        shown.push_str(&rest[..start]);
        rest = &rest[start..];
        if rest.starts_with("<!--") {
            rest = rest.find("-->").map_or("", |end| &rest[end + 3..]);
            continue;
        }
        let known = HIDDEN.iter().chain(&LITERAL).find(|name| names_tag(&rest[1..], name));
        let end = known.and_then(|_| tag_len(rest));
        let (Some(&name), Some(end)) = (known, end) else {
            shown.push('<');
            rest = &rest[1..];
            continue;
        };
        let is_closed = rest[..end].ends_with("/>");
        rest = &rest[end..];
        if is_closed || unclosed.contains(&name) {
            continue;
        }
        let Some((inside, after)) = split_at_end_tag(rest, name) else {
            unclosed.push(name);
            continue;
        };
        if LITERAL.contains(&name) {
            for c in inside.chars() {
                match c {
                    '[' | ']' | '{' | '}' | '|' | '\'' | '=' | '<' | '*' | '#' => {
                        shown.push_str(&format!("&#{};", u32::from(c)));
                    }
                    c => shown.push(c),
                }
            }
        }
        rest = after;
    }
    shown.push_str(rest);
    shown
}

/// Whether a tag of this name begins; `after` is what follows `<` or `</`.
pub(super) fn names_tag(after: &str, name: &str) -> bool {
    let begins = after.get(..name.len()).is_some_and(|begin| begin.eq_ignore_ascii_case(name));
    begins && matches!(after.as_bytes().get(name.len()), Some(b'>' | b'/' | b' ' | b'\t' | b'\n'))
}

/// What stands before and after the next `</name>`.
fn split_at_end_tag<'a>(text: &'a str, name: &str) -> Option<(&'a str, &'a str)> {
    let mut from = 0;
    loop {
        let start = from + text[from..].find("</")?;
        if names_tag(&text[start + 2..], name) {
            let end = start + text[start..].find('>')?;
            return Some((&text[..start], &text[end + 1..]));
        }
        from = start + 2;
    }
}

/// The length of the tag with which `text` begins.
pub(super) fn tag_len(text: &str) -> Option<usize> {
    let is_named = text[1..].trim_start_matches('/').starts_with(|c: char| c.is_ascii_alphabetic());
    let mut inside = text.bytes().enumerate().skip(1).take(MAX_TAG_BYTES);
    // No tag begins within another.
    let (end, byte) = inside.find(|(_, byte)| matches!(byte, b'<' | b'>'))?;
    (is_named && byte == b'>').then_some(end + 1)
}
