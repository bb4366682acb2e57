//! Plain text of wikitext.
//!
//! What is kept: prose, headings, lists, labels of links, and the text within other tags. What is left out: comments,
//! templates and tables (`{{…}}`, `{|…|}`), references, formulas, galleries and code, files, categories, links to other
//! languages' pages. Templates are not expanded, so that a number or a word that one writes is missing.
//!
//! Three passes, each of which looks at a byte a constant number of times and calls nothing recursively, so that a page
//! takes time in proportion to its length whatever it holds. (A parser into a tree, as the crate parse_wiki_text_2 has
//! it, takes minutes for pages with unclosed templates, and stops by the clock.)

use super::document::Section;
use super::entities::decoded;

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

/// Links within each other that are told apart; a picture's caption has links, and few have more.
const MAX_NESTED_LINKS: usize = 16;

/// Bytes between `<` and `>` of a tag.
const MAX_TAG_BYTES: usize = 1000;

/// Characters of a switch.
const MAX_SWITCH_CHARS: usize = 64;

/// Endings of files that a link shows.
const PICTURES: [&str; 11] =
    [".jpg", ".jpeg", ".png", ".svg", ".gif", ".webp", ".tif", ".tiff", ".ogg", ".ogv", ".webm"];

/// Namespaces whose links show no text: media, files and categories, by their English and their own names.
#[derive(Debug)]
pub(super) struct Namespaces {
    hidden: Vec<String>,
    /// Whether the next name is one of those.
    is_hidden: bool,
}

impl Default for Namespaces {
    fn default() -> Self {
        Self { hidden: ["media", "file", "image", "category"].map(str::to_owned).to_vec(), is_hidden: false }
    }
}

impl Namespaces {
    /// The namespace of this key, whose name follows.
    pub(super) fn begin(&mut self, key: &str) {
        self.is_hidden = matches!(key.trim(), "-2" | "6" | "14");
    }

    /// The name of the namespace that has begun.
    pub(super) fn name(&mut self, name: &str) {
        if self.is_hidden {
            self.hidden.push(name.trim().to_lowercase());
        }
    }

    /// Whether a link to this page shows nothing.
    fn is_hidden(&self, target: &str) -> bool {
        let target = target.trim();
        let Some((namespace, page)) = target.split_once(':').filter(|(namespace, _)| !namespace.is_empty()) else {
            return false;
        };
        let namespace = namespace.trim().replace('_', " ").to_lowercase();
        let is_language = matches!(namespace.len(), 2 | 3)
            && namespace.bytes().all(|byte| byte.is_ascii_lowercase())
            && target.starts_with(&namespace);
        let is_picture = || PICTURES.iter().any(|ending| page.to_lowercase().ends_with(ending));
        is_language || self.hidden.contains(&namespace) || is_picture()
    }
}

/// The sections of a page, the first of which has no heading.
pub(super) fn sections(wikitext: &str, names: &Namespaces) -> Vec<Section> {
    let shown = without_hidden_elements(wikitext);
    let prose = without_braces(&shown);
    let linked = with_labels(&prose, names);
    let mut sections = vec![Section::default()];
    let mut is_after_blank = false;
    for line in linked.lines() {
        if let Some(heading) = heading(line) {
            sections.push(Section { heading: plain(heading), text: String::new() });
            continue;
        }
        let line = line.trim().trim_start_matches(['*', '#', ':', ';']);
        // What is left of a table that is not closed.
        let is_markup = line.starts_with(['|', '!']) || line.starts_with("{|");
        let line = if is_markup { String::new() } else { plain(line.trim_start_matches("----")) };
        let Some(Section { text, .. }) = sections.last_mut() else { continue };
        if line.is_empty() {
            is_after_blank = true;
            continue;
        }
        if !text.is_empty() {
            text.push_str(if is_after_blank { "\n\n" } else { "\n" });
        }
        text.push_str(&line);
        is_after_blank = false;
    }
    sections
}

/// The text between the signs of a heading.
fn heading(line: &str) -> Option<&str> {
    let line = line.trim();
    let signs = |line: &mut dyn Iterator<Item = u8>| line.take_while(|byte| *byte == b'=').count();
    let level = signs(&mut line.bytes()).min(signs(&mut line.bytes().rev())).min(6);
    let inside = line.get(level..line.len().checked_sub(level)?)?.trim();
    (level > 0 && !inside.is_empty()).then_some(inside)
}

/// The text without comments and elements that are left out. In what is no markup the signs of markup are named, as
/// `&#91;`.
fn without_hidden_elements(text: &str) -> String {
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
fn names_tag(after: &str, name: &str) -> bool {
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

/// What braces open.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Braces {
    Template,
    Table,
}

/// The text without templates and tables. Braces that nothing closes stay.
fn without_braces(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut open: Vec<(Braces, usize)> = Vec::new();
    let mut num_tables = 0;
    // Those that stand in no other, so far.
    let mut closed: Vec<(usize, usize)> = Vec::new();
    let mut close = |from: usize, to: usize| {
        while closed.last().is_some_and(|(start, _)| *start > from) {
            closed.pop();
        }
        closed.push((from, to));
    };
    let mut i = 0;
    while let Some(found) = bytes[i..].iter().position(|byte| matches!(byte, b'{' | b'}' | b'|')) {
        i += found;
        let begins_line = || {
            let before = text[..i].trim_end_matches([' ', '\t', ':']);
            before.is_empty() || before.ends_with('\n')
        };
        match (bytes[i], bytes.get(i + 1)) {
            (b'{', Some(b'{')) => {
                open.push((Braces::Template, i));
                i += 2;
            }
            (b'{', Some(b'|')) if begins_line() => {
                open.push((Braces::Table, i));
                num_tables += 1;
                i += 2;
            }
            (b'}', Some(b'}')) => {
                if let Some((_, from)) = open.pop_if(|(braces, _)| *braces == Braces::Template) {
                    close(from, i + 2);
                }
                i += 2;
            }
            // A template may end so too.
            (b'|', Some(b'}')) if num_tables > 0 && bytes.get(i + 2) != Some(&b'}') && begins_line() => {
                // A template that a table's cell does not close ends with the table.
                while let Some((braces, from)) = open.pop() {
                    if braces == Braces::Table {
                        num_tables -= 1;
                        close(from, i + 2);
                        break;
                    }
                }
                i += 2;
            }
            _ => i += 1,
        }
    }
    let mut kept = String::with_capacity(text.len());
    let mut from = 0;
    for (start, end) in closed {
        kept.push_str(&text[from..start]);
        from = end;
    }
    kept.push_str(&text[from..]);
    kept
}

/// A link that is open.
enum Link {
    /// `[[`, with where in the output its target begins and ends.
    Page { start: usize, pipe: Option<usize> },
    /// `[https://… `, of which the label follows.
    Web,
}

/// The text with links' labels, or else their targets, in the place of links.
fn with_labels(text: &str, names: &Namespaces) -> String {
    let mut shown = String::with_capacity(text.len());
    let mut open: Vec<Link> = Vec::new();
    let mut rest = text;
    while let Some(at) = rest.find(['[', ']', '|', '\n']) {
        shown.push_str(&rest[..at]);
        rest = &rest[at..];
        let mut taken = 1;
        if rest.starts_with("[[") {
            taken = 2;
            if open.len() < MAX_NESTED_LINKS {
                open.push(Link::Page { start: shown.len(), pipe: None });
            }
        } else if rest.starts_with('[') {
            match web_address(&rest[1..]) {
                Some(len) => {
                    taken = 1 + len;
                    if open.len() < MAX_NESTED_LINKS {
                        open.push(Link::Web);
                    }
                }
                None => shown.push('['),
            }
        } else if rest.starts_with(']') {
            match open.last() {
                Some(Link::Web) => drop(open.pop()),
                Some(&Link::Page { start, pipe }) if rest.starts_with("]]") => {
                    taken = 2;
                    open.pop();
                    show(&mut shown, start, pipe, names);
                }
                None if rest.starts_with("]]") => taken = 2,
                _ => shown.push(']'),
            }
        } else if rest.starts_with('|') {
            if let Some(Link::Page { pipe, .. }) = open.last_mut() {
                pipe.get_or_insert(shown.len());
            }
            shown.push('|');
        } else {
            open.retain(|link| matches!(link, Link::Page { .. }));
            // No link goes on in the next paragraph.
            if rest.starts_with("\n\n") {
                open.clear();
            }
            shown.push('\n');
        }
        rest = &rest[taken..];
    }
    shown.push_str(rest);
    shown
}

/// Puts in the place of a link, from `start` on, what it shows.
fn show(shown: &mut String, start: usize, pipe: Option<usize>, names: &Namespaces) {
    let end = pipe.unwrap_or(shown.len());
    if names.is_hidden(&shown[start..end]) {
        shown.truncate(start);
    } else if pipe.is_some_and(|pipe| pipe + 1 < shown.len()) {
        shown.drain(start..=end);
    } else {
        shown.truncate(end);
        if shown[start..].starts_with(':') {
            shown.remove(start);
        }
    }
}

/// The length of the address, and of the blank after it, with which `text` begins.
fn web_address(text: &str) -> Option<usize> {
    let is_address = ["http://", "https://", "//", "ftp://", "mailto:"].iter().any(|begin| text.starts_with(begin));
    let len = text.find([' ', '\t', ']', '\n']).unwrap_or(text.len());
    is_address.then(|| len + usize::from(text[len..].starts_with([' ', '\t'])))
}

/// A line without emphasis, tags, switches such as `__TOC__`, and brackets that are empty now.
fn plain(line: &str) -> String {
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

/// The length of the tag with which `text` begins.
fn tag_len(text: &str) -> Option<usize> {
    let is_named = text[1..].trim_start_matches('/').starts_with(|c: char| c.is_ascii_alphabetic());
    let mut inside = text.bytes().enumerate().skip(1).take(MAX_TAG_BYTES);
    // No tag begins within another.
    let (end, byte) = inside.find(|(_, byte)| matches!(byte, b'<' | b'>'))?;
    (is_named && byte == b'>').then_some(end + 1)
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
