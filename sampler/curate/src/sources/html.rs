//! Web pages: the title and the sections of what a reader came for.
//!
//! Which part of a page that is, the crate `legible` finds as Firefox's reader view does (Readability). Its time grows
//! with the square of how deep elements stand in each other and of the attributes that one has, so pages with more of
//! either than browsers and authors have are dropped before it sees them.

use std::borrow::Cow;
use std::path::Path;
use std::sync::Arc;

use encoding_rs::Encoding;
use tercet_sampler::{ReadAt, guarded};

use super::document::{Document, Section, TOO_LONG};
use super::entities::decoded;
use super::offers::Offers;
use super::text::whole;
use crate::input::Refusal;
use crate::reason::Reason;

/// The longest page that is read. Common Crawl cuts pages off at 1 MiB, and since 2025 at 5 MiB.
pub(super) const MAX_BYTES: u64 = 5 << 20;

/// Elements within each other; Chrome and Safari have the same limit.
const MAX_DEPTH: usize = 512;
/// Attributes of one element.
const MAX_ATTRIBUTES: usize = 256;

/// Elements whose end may be left out, so that one that begins is not within the last one.
const WITHOUT_END: [&str; 32] = [
    "area", "base", "br", "col", "colgroup", "dd", "dt", "embed", "frame", "hr", "img", "input", "li", "link", "meta",
    "optgroup", "option", "p", "param", "rb", "rp", "rt", "rtc", "source", "tbody", "td", "tfoot", "th", "thead", "tr",
    "track", "wbr",
];

/// Elements that stand on lines of their own.
const BLOCKS: [&str; 40] = [
    "address",
    "article",
    "aside",
    "blockquote",
    "br",
    "caption",
    "center",
    "dd",
    "details",
    "div",
    "dl",
    "dt",
    "fieldset",
    "figcaption",
    "figure",
    "footer",
    "form",
    "h1",
    "h2",
    "h3",
    "h4",
    "h5",
    "h6",
    "header",
    "hr",
    "li",
    "main",
    "nav",
    "ol",
    "p",
    "pre",
    "section",
    "summary",
    "table",
    "tbody",
    "tfoot",
    "thead",
    "title",
    "tr",
    "ul",
];

/// The page is in no encoding that it states, and not in UTF-8.
const ENCODING: Reason = Reason::new("encoding");
/// Elements stand too deep in each other, or one has too many attributes.
const TOO_DEEP: Reason = Reason::new("too_deep");
/// The parser gave up: html5ever panics on a `<meta>` whose content ends with "charset".
const UNPARSED: Reason = Reason::new("unparsed");
/// There is no text that a reader came for.
const NO_MAIN_TEXT: Reason = Reason::new("no_main_text");

/// Offers the page that `file` is.
pub(super) fn read(file: &Path, offers: &mut Offers<'_>) -> Result<(), Refusal> {
    let at = ReadAt::line(&Arc::from(file), 1);
    let name = file.display().to_string();
    match whole(file, MAX_BYTES)? {
        Some(bytes) => offer(&at, &name, &bytes, None, offers),
        None => offers.drop(&at, TOO_LONG, &name),
    }
}

/// Offers the page of these bytes, which is called `name`, in the encoding `stated` outside of it if that is known.
pub(super) fn offer(
    at: &ReadAt,
    name: &str,
    bytes: &[u8],
    stated: Option<&str>,
    offers: &mut Offers<'_>,
) -> Result<(), Refusal> {
    let Some(page) = text(bytes, stated) else { return offers.drop(at, ENCODING, name) };
    if is_too_deep(&page) {
        return offers.drop(at, TOO_DEEP, name);
    }
    let options = legible::Options::new().disable_json_ld(true);
    match guarded(|| Ok(legible::parse(&page, None, Some(options)))) {
        Ok(Ok(article)) => {
            let sections = sections(&article.content);
            offers.document(at, Document { title: one_line(&article.title), sections, language: None })
        }
        Ok(Err(_)) => offers.drop(at, NO_MAIN_TEXT, name),
        Err(_) => offers.drop(at, UNPARSED, name),
    }
}

/// The page as text. Its encoding is that of a byte order mark, the one stated outside, or in its first 1,024 bytes, or
/// UTF-8. None if it is not in it.
fn text<'a>(bytes: &'a [u8], stated: Option<&str>) -> Option<Cow<'a, str>> {
    let named = |name: &str| Encoding::for_label(name.trim().as_bytes());
    let encoding = stated.and_then(named).or_else(|| charset(&bytes[..bytes.len().min(1024)]).and_then(named));
    let (text, _, is_wrong) = encoding.unwrap_or(encoding_rs::UTF_8).decode(bytes);
    (!is_wrong).then_some(text)
}

/// The encoding that a `<meta>` at the beginning of a page names.
fn charset(begin: &[u8]) -> Option<&str> {
    let is_charset = |window: &[u8]| window.eq_ignore_ascii_case(b"charset=");
    let after = begin.windows(8).position(is_charset)? + 8;
    let name = begin[after..].trim_ascii_start();
    let name = name.strip_prefix(b"\"").or(name.strip_prefix(b"'")).unwrap_or(name);
    let end = name.iter().position(|byte| b"\"'/> ;\t\r\n".contains(byte)).unwrap_or(name.len());
    std::str::from_utf8(&name[..end]).ok()
}

/// Whether more elements may stand in each other, or in one attributes, than pages have.
fn is_too_deep(page: &str) -> bool {
    let (mut depth, mut rest) = (0_usize, page);
    while let Some(start) = rest.find('<') {
        rest = &rest[start + 1..];
        let (is_end, name) = rest.strip_prefix('/').map_or((false, rest), |name| (true, name));
        if !name.starts_with(|c: char| c.is_ascii_alphabetic()) {
            if let Some(comment) = rest.strip_prefix("!--") {
                rest = comment.find("-->").map_or("", |end| &comment[end..]);
            }
            continue;
        }
        let name = &name[..name_len(name)];
        let (len, num_attributes) = tag(&rest[usize::from(is_end) + name.len()..]);
        if num_attributes > MAX_ATTRIBUTES {
            return true;
        }
        rest = &rest[usize::from(is_end) + name.len() + len..];
        let name = name.to_ascii_lowercase();
        if matches!(name.as_str(), "script" | "style") && !is_end {
            let end = rest.find("</").and_then(|_| end_of(rest, &name));
            rest = end.map_or("", |end| &rest[end..]);
            continue;
        }
        if WITHOUT_END.contains(&name.as_str()) {
            continue;
        }
        depth = if is_end { depth.saturating_sub(1) } else { depth + 1 };
        if depth > MAX_DEPTH {
            return true;
        }
    }
    false
}

/// Where the end tag of a script or a style is.
fn end_of(text: &str, name: &str) -> Option<usize> {
    let ends = |at: &usize| text.get(at + 2..at + 2 + name.len()).is_some_and(|found| found.eq_ignore_ascii_case(name));
    text.match_indices("</").map(|(at, _)| at).find(ends)
}

fn name_len(tag: &str) -> usize {
    tag.find(|c: char| c.is_ascii_whitespace() || c == '>' || c == '/').unwrap_or(tag.len())
}

/// The length of what follows a tag's name up to and with its `>`, and the words in it outside of quotes. A quotation
/// begins after `=` only.
fn tag(text: &str) -> (usize, usize) {
    let (mut num_words, mut quote, mut before) = (0, None, b' ');
    for (i, byte) in text.bytes().enumerate() {
        match (quote, byte) {
            (Some(mark), _) if mark == byte => quote = None,
            (Some(_), _) => continue,
            (None, b'>') => return (i + 1, num_words),
            (None, b'"' | b'\'') if before == b'=' => quote = Some(byte),
            (None, byte) if byte.is_ascii_whitespace() && before == b'=' => continue,
            (None, byte) => {
                let divides = |byte: u8| byte.is_ascii_whitespace() || matches!(byte, b'/' | b'"' | b'\'');
                num_words += usize::from(!divides(byte) && divides(before));
            }
        }
        before = byte;
    }
    (text.len(), num_words)
}

/// The sections of the HTML that `legible` writes, in which what is not markup is escaped.
fn sections(html: &str) -> Vec<Section> {
    let mut sections = vec![Section::default()];
    let mut writer = Writer::default();
    // The heading that is read.
    let mut level: Option<u8> = None;
    let mut rest = html;
    while let Some(start) = rest.find('<') {
        writer.push(&decoded(&rest[..start]));
        rest = &rest[start + 1..];
        if let Some(comment) = rest.strip_prefix("!--") {
            rest = comment.find("-->").map_or("", |end| &comment[end + 3..]);
            continue;
        }
        let (is_end, after) = rest.strip_prefix('/').map_or((false, rest), |after| (true, after));
        let name = &after[..name_len(after)];
        rest = &after[name.len()..];
        rest = &rest[tag(rest).0..];
        match (name.as_bytes(), is_end) {
            (&[b'h', digit @ b'1'..=b'6'], false) if level.is_none() => {
                end(&mut sections, writer.take());
                level = Some(digit);
            }
            (&[b'h', digit @ b'1'..=b'6'], true) if level == Some(digit) => {
                let heading = one_line(&writer.take());
                level = None;
                if !heading.is_empty() {
                    sections.push(Section { heading, text: String::new() });
                } else if let Some(section) = sections.last_mut() {
                    writer = Writer { text: std::mem::take(&mut section.text), ..Writer::default() };
                }
            }
            (b"pre", is_end) => {
                writer.end_line();
                writer.is_pre = !is_end;
            }
            (b"td" | b"th", _) => writer.push(" "),
            _ if BLOCKS.contains(&name) => writer.end_line(),
            _ => {}
        }
    }
    writer.push(&decoded(rest));
    let text = writer.take();
    match level {
        // A heading that does not end.
        Some(_) => sections.push(Section { heading: String::new(), text }),
        None => end(&mut sections, text),
    }
    sections
}

/// Gives the last section its text.
fn end(sections: &mut [Section], text: String) {
    if let Some(section) = sections.last_mut() {
        section.text = text;
    }
}

/// Writes text with single blanks, on lines of its own for each block.
#[derive(Debug, Default)]
struct Writer {
    text: String,
    is_pre: bool,
}

impl Writer {
    fn push(&mut self, text: &str) {
        for c in text.chars() {
            if self.is_pre && c == '\n' {
                self.end_line();
            } else if !c.is_whitespace() {
                self.text.push(c);
            } else if !self.text.is_empty() && !self.text.ends_with([' ', '\n']) {
                self.text.push(' ');
            }
        }
    }

    fn end_line(&mut self) {
        self.text.truncate(self.text.trim_end_matches(' ').len());
        if !self.text.is_empty() && !self.text.ends_with('\n') {
            self.text.push('\n');
        }
    }

    fn take(&mut self) -> String {
        let mut text = std::mem::take(&mut self.text);
        text.truncate(text.trim_end().len());
        text
    }
}

fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}
