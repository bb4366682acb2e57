//! Comments are at most 120 columns wide, and are wrapped again when they have been edited.
//!
//! rustfmt leaves comments alone. Code is wide only where a string is: rustfmt gives up on such a statement.

use std::collections::HashSet;
use std::fs;
use std::ops::Range;

use super::source::{Kind, files, from_root, tokens};

/// Columns of a line.
pub const WIDTH: usize = 120;

/// Columns that must be free besides the next line's first word for a line to be taken for cut short.
const SPARE: usize = 20;

/// Lines without a string that are wider than [`WIDTH`], from 0.
fn wide_lines(text: &str) -> Vec<usize> {
    let mut with_literal = HashSet::new();
    for token in tokens(text).iter().filter(|token| token.kind == Kind::Literal) {
        with_literal.extend(token.line..=token.line + token.text.matches('\n').count());
    }
    let is_wide =
        |(line, text): (usize, &str)| (text.chars().count() > WIDTH && !with_literal.contains(&line)).then_some(line);
    text.lines().enumerate().filter_map(is_wide).collect()
}

/// A line of a comment that stands alone on it: what is before its text, and the text.
fn comment(line: &str) -> Option<(&str, &str)> {
    let start = line.len() - line.trim_start().len();
    let marker = ["///", "//!", "//"].into_iter().find(|marker| line[start..].starts_with(marker))?;
    Some(line.split_at(start + marker.len()))
}

/// Whether a word at the beginning of a line makes it an item of a list.
fn is_mark(word: &str) -> bool {
    let number = word.trim_end_matches(['.', ')']);
    ["-", "*", "+"].contains(&word) || number.len() + 1 == word.len() && number.parse::<u32>().is_ok()
}

/// Whether a text begins something of its own: a list's item, or a link's target.
fn begins_anew(text: &str) -> bool {
    text.split_once(' ').is_some_and(|(word, _)| is_mark(word)) || text.starts_with('[') && text.contains("]: ")
}

/// A piece of a comment that is wrapped as one.
struct Paragraph {
    /// The indent and the slashes.
    marker: String,
    /// Its lines, from 0.
    lines: Range<usize>,
    /// What stands before the text of its first line, and before that of the others.
    before: [String; 2],
    words: Vec<String>,
}

/// The paragraphs of the comments that stand on lines of their own, code and tables in them aside.
fn paragraphs(text: &str) -> Vec<Paragraph> {
    let tokens = tokens(text);
    let own: HashSet<usize> =
        tokens.iter().filter(|token| token.kind == Kind::Comment).map(|token| token.line).collect();
    let (mut found, mut goes_on, mut in_code) = (Vec::<Paragraph>::new(), false, false);
    for (at, line) in text.lines().enumerate() {
        let Some((marker, words)) = comment(line).filter(|_| own.contains(&at)) else {
            (goes_on, in_code) = (false, false);
            continue;
        };
        let (indent, words) = words.split_at(words.len() - words.trim_start().len());
        let is_fence = words.starts_with("```");
        let is_verbatim = in_code || is_fence || words.starts_with(['#', '|', '>']) || indent.len() > 4;
        in_code ^= is_fence;
        if words.is_empty() || is_verbatim {
            goes_on = false;
            continue;
        }
        let before = format!("{marker}{indent}");
        let last = found.last_mut().filter(|last| goes_on && !begins_anew(words) && last.marker == marker);
        let words: Vec<String> = words.split_whitespace().map(str::to_owned).collect();
        match last {
            Some(last) => {
                if last.lines.len() == 1 {
                    last.before[1] = before;
                }
                last.lines.end = at + 1;
                last.words.extend(words);
            }
            None => {
                let hanging = if begins_anew(line[marker.len()..].trim_start()) { words[0].len() + 1 } else { 0 };
                let others = format!("{before}{}", " ".repeat(hanging));
                found.push(Paragraph { marker: marker.to_owned(), lines: at..at + 1, before: [before, others], words });
            }
        }
        goes_on = true;
    }
    found
}

impl Paragraph {
    /// Its lines as they should be.
    fn wrapped(&self) -> Vec<String> {
        let mut lines: Vec<String> = Vec::new();
        let mut words = self.words.iter().peekable();
        while let Some(word) = words.next() {
            // No line may begin with what would make it an item of a list.
            let mut word = word.clone();
            while let Some(next) = words.next_if(|next| is_mark(next) || next.starts_with('#')) {
                word += &format!(" {next}");
            }
            match lines.last_mut() {
                Some(line) if line.chars().count() + 1 + word.chars().count() <= WIDTH => *line += &format!(" {word}"),
                last => {
                    let before = &self.before[usize::from(last.is_some())];
                    lines.push(format!("{before}{word}"));
                }
            }
        }
        lines
    }

    /// Whether it must be wrapped again: a line is too wide, or ends in the middle of a sentence though much of the
    /// next would have fitted.
    fn is_ragged(&self, lines: &[&str]) -> bool {
        let lines = &lines[self.lines.clone()];
        let width = |line: &str| line.trim_end().chars().count();
        let is_cut = |pair: &[&str]| {
            let ends =
                pair[0].trim_end().trim_end_matches([')', '*', '`', '"', '_']).ends_with(['.', ':', '!', '?', ';']);
            let word = comment(pair[1]).and_then(|(_, text)| text.split_whitespace().next()).unwrap_or_default();
            !ends && width(pair[0]) + 1 + word.chars().count() + SPARE <= WIDTH
        };
        lines.iter().any(|line| width(line) > WIDTH) || lines.windows(2).any(is_cut)
    }
}

/// `text` with its ragged paragraphs wrapped again.
fn wrapped(text: &str) -> String {
    let lines: Vec<&str> = text.lines().collect();
    let (mut result, mut done) = (String::new(), 0);
    let mut copy = |lines: &[&str]| lines.iter().for_each(|line| result += &format!("{line}\n"));
    for paragraph in paragraphs(text).iter().filter(|paragraph| paragraph.is_ragged(&lines)) {
        copy(&lines[done..paragraph.lines.start]);
        copy(&paragraph.wrapped().iter().map(String::as_str).collect::<Vec<_>>());
        done = paragraph.lines.end;
    }
    copy(&lines[done..]);
    result
}

#[test]
fn comments_are_wrapped_at_120_columns() {
    let wraps = std::env::var_os("WRAP").is_some_and(|wrap| wrap == "1");
    let (mut wide, mut ragged) = (String::new(), String::new());
    for path in files(".rs") {
        let mut text = fs::read_to_string(&path).unwrap();
        if wraps && wrapped(&text) != text {
            text = wrapped(&text);
            fs::write(&path, &text).unwrap();
        }
        let place = |line: usize| format!("{}:{}\n", from_root(&path), line + 1);
        wide.extend(wide_lines(&text).into_iter().map(place));
        let lines: Vec<&str> = text.lines().collect();
        let all = paragraphs(&text);
        ragged.extend(all.iter().filter(|found| found.is_ragged(&lines)).map(|found| place(found.lines.start)));
    }
    assert!(ragged.is_empty(), "comments to be wrapped again, which `make wrap` does:\n{ragged}");
    assert!(wide.is_empty(), "wider than {WIDTH} columns, with no string to blame:\n{wide}");
}

#[test]
fn wide_lines_are_found_unless_they_have_a_string() {
    let words = "word ".repeat(30);
    let text =
        format!("let a = 1; // {words}\nlet b = \"{words}\";\n/// {words}\nlet c = r\"\n// {words}\n\";\n// a\n");
    assert_eq!(wide_lines(&text), [0, 2]);
}

#[test]
fn comments_are_wrapped_and_what_is_no_paragraph_is_left() {
    let full = "w".repeat(101);
    for (ragged, wrapped_again) in [
        ("/// A sentence that was\n/// cut.\n", "/// A sentence that was cut.\n".to_owned()),
        ("    // Once `more`\n    // [again](x), twice.\n", "    // Once `more` [again](x), twice.\n".to_owned()),
        ("//! - an item\n//!   cut\n//! - b\n", "//! - an item cut\n//! - b\n".to_owned()),
        (&format!("/// {full} and then some - a dash\n"), format!("/// {full} and then\n/// some - a dash\n")),
        (&format!("/// 1. {full} and then some more\n"), format!("/// 1. {full} and then\n///    some more\n")),
    ] {
        assert_eq!(wrapped(ragged), wrapped_again);
    }
    for good in [
        format!("/// A {full}\n/// word-that-does-not-fit here.\n"),
        "/// A sentence.\n/// Another.\n".to_owned(),
        "/// # Errors\n/// All of them.\n".to_owned(),
        "/// Of these\n/// - one\n/// - two\n/// 1. three\n".to_owned(),
        "/// See\n/// ```text\n/// a\n/// b\n/// ```\n".to_owned(),
        "/// | a |\n/// | b |\n".to_owned(),
        "/// Above\n//\n// below\n".to_owned(),
        "let a = \"\n// no\n// comment\n\";\n".to_owned(),
    ] {
        assert_eq!(wrapped(&good), good);
    }
}
