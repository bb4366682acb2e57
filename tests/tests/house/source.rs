//! Rust's source files, and what they are written of: words, signs, literals, comments.

use std::fs;
use std::path::{Path, PathBuf};

/// The folder of the whole project.
pub fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap()
}

/// A path as it is written from the project's folder on.
pub fn from_root(path: &Path) -> String {
    path.strip_prefix(root()).unwrap_or(path).display().to_string()
}

/// All files of the project with this ending, in order. What cargo and the setup make is not the project's.
pub fn files(ending: &str) -> Vec<PathBuf> {
    fn walk(dir: &Path, ending: &str, found: &mut Vec<PathBuf>) {
        for entry in fs::read_dir(dir).unwrap().flatten() {
            let (path, name) = (entry.path(), entry.file_name().into_string().unwrap());
            if entry.file_type().unwrap().is_dir() {
                if !name.starts_with('.') && !["target", "runs"].contains(&name.as_str()) {
                    walk(&path, ending, found);
                }
            } else if name.ends_with(ending) {
                found.push(path);
            }
        }
    }
    let mut found = Vec::new();
    walk(root(), ending, &mut found);
    found.sort();
    found
}

/// What a piece of source is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A name, a keyword, a number, a lifetime.
    Word,
    /// `::`, or one character.
    Sign,
    /// A string or a character.
    Literal,
    /// A comment, to the end of its line or of its block.
    Comment,
}

/// A piece of source, blanks aside.
#[derive(Debug, Clone, Copy)]
pub struct Token<'a> {
    /// What it is.
    pub kind: Kind,
    /// How it is written.
    pub text: &'a str,
    /// The line that it begins on, from 0.
    pub line: usize,
}

/// Takes a file apart.
pub fn tokens(text: &str) -> Vec<Token<'_>> {
    let (mut found, mut rest, mut line) = (Vec::new(), text, 0);
    while let Some(first) = rest.chars().next() {
        let (kind, len) = piece(rest, first);
        let (text, after) = rest.split_at(len);
        if !first.is_whitespace() {
            found.push(Token { kind, text, line });
        }
        line += text.matches('\n').count();
        rest = after;
    }
    found
}

/// What `rest` begins with, and its length in bytes.
fn piece(rest: &str, first: char) -> (Kind, usize) {
    if rest.starts_with("//") {
        return (Kind::Comment, rest.find('\n').unwrap_or(rest.len()));
    }
    if rest.starts_with("/*") {
        return (Kind::Comment, block_comment(rest));
    }
    let word = rest.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(rest.len());
    // r"…", b"…", br#"…"#, c'…': a literal may have letters before it.
    let (letters, literal) = rest.split_at(word);
    let raw = ["r", "br", "cr"].contains(&letters);
    if raw && let Some(len) = raw_string(literal) {
        return (Kind::Literal, word + len);
    }
    if ["", "b", "c"].contains(&letters) {
        if literal.starts_with('"') {
            return (Kind::Literal, word + quoted(literal, '"'));
        }
        if let Some(inner) = literal.strip_prefix('\'') {
            let mut chars = inner.chars();
            let is_character = chars.next() == Some('\\') || chars.next() == Some('\'');
            let lifetime = 1 + inner.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(0);
            return if is_character {
                (Kind::Literal, word + quoted(literal, '\''))
            } else {
                (Kind::Word, word + lifetime)
            };
        }
    }
    match word {
        0 if rest.starts_with("::") => (Kind::Sign, 2),
        0 => (Kind::Sign, first.len_utf8()),
        _ => (Kind::Word, word),
    }
}

/// The length of a block comment, with those inside it.
fn block_comment(text: &str) -> usize {
    let (mut depth, mut at) = (0, 0);
    loop {
        let rest = &text[at..];
        let Some(next) = rest.find("/*").into_iter().chain(rest.find("*/")).min() else { return text.len() };
        depth += if rest[next..].starts_with("/*") { 1 } else { -1 };
        at += next + 2;
        if depth == 0 {
            return at;
        }
    }
}

/// The length of a raw string that begins with its `#`s; none if it is something else, such as `r#type`.
fn raw_string(text: &str) -> Option<usize> {
    let hashes = text.find(|c| c != '#')?;
    let inside = text[hashes..].strip_prefix('"')?;
    let end = format!("\"{}", &text[..hashes]);
    Some(hashes + 1 + inside.find(&end)? + end.len())
}

/// The length of a literal between `quote`s.
fn quoted(text: &str, quote: char) -> usize {
    let mut escaped = false;
    for (at, c) in text.char_indices().skip(1) {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            _ if c == quote => return at + 1,
            _ => {}
        }
    }
    text.len()
}

#[test]
fn a_file_is_taken_apart_into_what_it_is_written_of() {
    let text = "a::b<'x> /* 1 /* 2 */ 3 */ r#\"c\"d\"# '\\'' 'e' \"f // \\\" g\" // h\nr#type b\"i\n\" j";
    let found: Vec<_> = tokens(text).iter().map(|token| (token.kind, token.text, token.line)).collect();
    use Kind::{Comment, Literal, Sign, Word};
    let expected = [
        (Word, "a", 0),
        (Sign, "::", 0),
        (Word, "b", 0),
        (Sign, "<", 0),
        (Word, "'x", 0),
        (Sign, ">", 0),
        (Comment, "/* 1 /* 2 */ 3 */", 0),
        (Literal, "r#\"c\"d\"#", 0),
        (Literal, "'\\''", 0),
        (Literal, "'e'", 0),
        (Literal, "\"f // \\\" g\"", 0),
        (Comment, "// h", 0),
        (Word, "r", 1),
        (Sign, "#", 1),
        (Word, "type", 1),
        (Literal, "b\"i\n\"", 1),
        (Word, "j", 2),
    ];
    assert_eq!(found, expected);
}
