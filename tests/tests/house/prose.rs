//! Prose outside Rust's sources is at most 120 columns wide: paragraphs of pages, and comments of scripts,
//! configurations and C++. There and in Rust's comments "the number of" says a number, and not a "so" before
//! many or often.
//!
//! Not looked at: tables, code, headings, and a line that has no space to be broken at, such as a long link.

use std::fs;

use super::comments::WIDTH;
use super::source::{files, from_root};

/// Pages that a test writes, and compares with what it would write.
const GENERATED: &[&str] = &["docs/use/recipe.md"];

/// How files end whose comments are looked at, and what begins a comment in them.
const COMMENTS: &[(&str, &str)] = &[
    (".sh", "#"),
    (".py", "#"),
    (".toml", "#"),
    (".yaml", "#"),
    ("Makefile", "#"),
    ("Snakefile", "#"),
    (".smk", "#"),
    (".c", "//"),
    (".cpp", "//"),
    (".cu", "//"),
    (".h", "//"),
];

/// What must not follow "so": "number of" says what is meant.
const VAGUE: [&str; 2] = ["many", "often"];

/// Whether a line of prose says "so" of a number.
fn is_vague(line: &str) -> bool {
    let words: Vec<&str> = line.split(|c: char| !c.is_alphanumeric()).filter(|word| !word.is_empty()).collect();
    words.windows(2).any(|pair| pair[0].eq_ignore_ascii_case("so") && VAGUE.contains(&pair[1]))
}

/// Whether a line is too wide, and has a space after its first word at which it could be broken.
fn is_wide(line: &str, text: &str) -> bool {
    let before = line.chars().count() - text.chars().count();
    let breaks = text.chars().take(WIDTH.saturating_sub(before)).any(|c| c == ' ');
    line.chars().count() > WIDTH && breaks
}

/// Lines of a page's paragraphs and lists that are too wide, from 0.
fn wide_prose(page: &str) -> Vec<usize> {
    let (mut found, mut in_code) = (Vec::new(), false);
    for (at, line) in page.lines().enumerate() {
        let text = line.trim_start();
        let is_fence = text.starts_with("```");
        in_code ^= is_fence;
        let is_verbatim = in_code || is_fence || text.starts_with(['|', '#']) || line.starts_with("    ");
        let text = text.trim_start_matches(['-', '*', '>']).trim_start();
        if !is_verbatim && is_wide(line, text) {
            found.push(at);
        }
    }
    found
}

/// Comments with a line of their own that are too wide, from 0.
fn wide_comments(source: &str, mark: &str) -> Vec<usize> {
    let comment = |line: &str| {
        let text = line.trim_start().strip_prefix(mark)?;
        Some(is_wide(line, text.trim_start_matches(['#', '/', '!']).trim_start()))
    };
    source.lines().enumerate().filter(|(_, line)| comment(line) == Some(true)).map(|(at, _)| at).collect()
}

#[test]
fn prose_is_at_most_120_columns_wide() {
    let mut wide = String::new();
    let mut look = |ending: &str, find: &dyn Fn(&str) -> Vec<usize>| {
        let paths: Vec<_> = files(ending).into_iter().filter(|path| !GENERATED.contains(&&*from_root(path))).collect();
        assert!(!paths.is_empty(), "no file ends with {ending}");
        for path in paths {
            let text = fs::read_to_string(&path).unwrap();
            wide.extend(find(&text).iter().map(|line| format!("{}:{}\n", from_root(&path), line + 1)));
        }
    };
    look(".md", &wide_prose);
    for (ending, mark) in COMMENTS {
        look(ending, &|text| wide_comments(text, mark));
    }
    assert!(wide.is_empty(), "wider than {WIDTH} columns:\n{wide}");
}

/// Lines of prose in a page, or in a source's comments, that say "so" of a number.
fn vague(text: &str, mark: Option<&str>) -> Vec<usize> {
    let is_prose = |line: &str| mark.is_none_or(|mark| line.trim_start().starts_with(mark));
    text.lines().enumerate().filter(|(_, line)| is_prose(line) && is_vague(line)).map(|(at, _)| at).collect()
}

#[test]
fn a_number_is_called_a_number() {
    let mut found = String::new();
    let marks = COMMENTS.iter().map(|(ending, mark)| (*ending, Some(*mark)));
    for (ending, mark) in [(".md", None), (".rs", Some("//"))].into_iter().chain(marks) {
        for path in files(ending) {
            let lines = vague(&fs::read_to_string(&path).unwrap(), mark);
            found.extend(lines.iter().map(|line| format!("{}:{}\n", from_root(&path), line + 1)));
        }
    }
    assert!(found.is_empty(), "\"so\" of a number, where \"the number of\" says it:\n{found}");
    assert_eq!(vague("It waits so\noften. So many do.\nSome, so often\n", None), [1, 2]);
    assert_eq!(vague("so_many(so, many)\n// as so many\n", Some("//")), [1]);
}

#[test]
fn what_is_too_wide_is_found_and_what_cannot_be_broken_is_left() {
    let (words, one_word) = ("word ".repeat(30), "w".repeat(130));
    let page =
        format!("{words}\n- {words}\n| {words}|\n# {words}\n```\n{words}\n```\n    {words}\n- {one_word}\nword\n");
    assert_eq!(wide_prose(&page), [0, 1]);
    let script = format!("#!/bin/sh\n# {words}\n  # {words}\n{words}\n# {one_word}\n# word\n");
    assert_eq!(wide_comments(&script, "#"), [1, 2]);
}
