//! Tells from its first bytes that a file cannot be what was asked for, what it is instead, and what to do.
//!
//! It reports only what is certain; a file that may be right is left to its reader.

use serde_json::{Map, Value};
use tercet_configs::{in_another_encoding, in_its_place};

use super::json::{Unfinished, unfinished};

/// What the lines of a file are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LinesOf {
    /// JSON Lines: one object each.
    Objects,
    /// Any text: one text each, or the columns of a table.
    Text,
}

/// First bytes that text does not have.
const SIGNATURES: [(&[u8], &str); 20] = [
    (b"PK\x03\x04", "a zip archive (or what is one inside, as .xlsx, .npz and .pt are): unpack or convert it first"),
    (b"\x1f\x8b", "compressed with gzip: unpack it first (`gunzip`)"),
    (b"\x28\xb5\x2f\xfd", "compressed with zstd: unpack it first (`unzstd`)"),
    (b"\xfd7zXZ\x00", "compressed with xz: unpack it first (`unxz`)"),
    (b"\x04\x22\x4d\x18", "compressed with lz4: unpack it first (`unlz4`)"),
    (b"\xff\x06\x00\x00sNaPpY", "compressed with snappy: unpack it first"),
    (b"7z\xbc\xaf\x27\x1c", "a 7z archive: unpack it first"),
    (b"Rar!\x1a\x07", "a rar archive: unpack it first"),
    (
        b"PAR1",
        "a Parquet file, where lines of text are expected: rows and texts are read from one that is named .parquet and not compressed again",
    ),
    (
        b"ARROW1",
        "an Arrow file, where lines of text are expected: rows and texts are read from one that is named .parquet and not compressed again",
    ),
    (b"FEA1", "a file of the first Feather version: write it again as Parquet"),
    (b"ORC", "an ORC file: write it again as Parquet"),
    (b"Obj\x01", "an Avro file: write it again as Parquet"),
    (b"\x89HDF\r\n\x1a\n", "an HDF5 file: write its rows as JSON Lines or Parquet"),
    (b"\x93NUMPY", "a NumPy array: write its rows as JSON Lines or Parquet"),
    (b"SQLite format 3\x00", "an SQLite database: write its rows as JSON Lines or Parquet"),
    (b"%PDF-", "a PDF document: lines of text are expected"),
    (b"\x89PNG", "a picture: lines of text are expected"),
    (b"\x7fELF", "a program: lines of text are expected"),
    (b"GGUF", "a GGUF model: lines of text are expected"),
];

/// What is wrong with a file as from old Macs.
pub(super) const CR_ALONE: &str = "its lines end with CR alone: `tr '\\r' '\\n'` makes lines of them";

/// What a file with these first bytes is, if it is certainly not usable text (a Git LFS pointer, an archive, a server's
/// page, UTF-16, …), with what to do. It serves readers of any file, also of one without lines.
pub fn evident(first_bytes: &[u8]) -> Option<String> {
    // As for a model's files, except that an empty file may be one of lines.
    if let Some(instead) = in_its_place(first_bytes).filter(|_| !first_bytes.is_empty()) {
        return Some(instead.into());
    }
    // Text may begin with the letters of a signature.
    let is_certain = |begin: &[u8]| !begin.iter().all(u8::is_ascii_graphic) || is_binary(first_bytes);
    let signature = SIGNATURES.iter().find(|(begin, _)| first_bytes.starts_with(begin) && is_certain(begin));
    let signature = signature.map(|(_, what)| *what);
    let is_bzip2 = first_bytes.starts_with(b"BZh") && first_bytes.get(4..10) == Some(b"1AY&SY");
    let bzip2 = is_bzip2.then_some("compressed with bzip2: unpack it first (`bunzip2`)");
    let tar = (first_bytes.get(257..262) == Some(b"ustar")).then_some("a tar archive: unpack it first (`tar -x`)");
    let is_pickle = matches!(first_bytes, [0x80, 2..=5, b'c' | b'}' | b']' | b'(' | 0x8a | 0x95, ..]);
    let pickle = is_pickle.then_some("a Python pickle: write its rows as JSON Lines or Parquet");
    let is_xml = first_bytes.trim_ascii_start().starts_with(b"<?xml");
    let xml = is_xml.then_some("an XML document, perhaps a server's answer in place of the file: fetch the file again");
    let known = signature.or(bzip2).or(tar).or(pickle).or(xml).map(str::to_owned);
    known.or_else(|| encoding(first_bytes))
}

/// Whether the first 64 bytes have something that text does not have.
fn is_binary(first_bytes: &[u8]) -> bool {
    let start = &first_bytes[..first_bytes.len().min(64)];
    let has_control = start.iter().any(|&byte| byte < b'\t');
    has_control || std::str::from_utf8(start).is_err_and(|e| e.error_len().is_some())
}

/// As [`evident`], and also tells what cannot be a file of such lines.
pub(super) fn of_lines(first_bytes: &[u8], lines_of: LinesOf) -> Option<String> {
    let layout = || match lines_of {
        LinesOf::Objects => std::str::from_utf8(valid(first_bytes)).ok().and_then(layout),
        LinesOf::Text => None,
    };
    evident(first_bytes).or_else(|| line_ends(first_bytes)).or_else(layout)
}

/// Text of two or four bytes a character, or an Arrow stream.
fn encoding(first_bytes: &[u8]) -> Option<String> {
    if first_bytes.starts_with(&[0xff; 4]) {
        return Some("an Arrow stream, where lines of text are expected: rows and texts are read from one that is named .arrow and not compressed again".into());
    }
    in_another_encoding(first_bytes)
}

/// Recognises lines that end with CR alone, as on old Macs.
fn line_ends(first_bytes: &[u8]) -> Option<String> {
    // A single CR may be part of a line; several, without any LF, are line ends.
    let num_cr = first_bytes.trim_ascii_end().iter().filter(|&&byte| byte == b'\r').count();
    let is_objects = first_bytes.windows(2).any(|pair| pair == b"\r{");
    let is_cr = !first_bytes.contains(&b'\n') && (num_cr > 1 || is_objects);
    is_cr.then(|| CR_ALONE.into())
}

/// Recognises JSON that is not one object a line.
fn layout(text: &str) -> Option<String> {
    let text = text.trim_start_matches(|c: char| c == '\u{feff}' || c.is_whitespace());
    if let Some(inside) = text.strip_prefix('[') {
        let is_of_objects = inside.trim_start().is_empty() || inside.trim_start().starts_with('{');
        let reason = "a JSON array, where one object a line is expected: `jq -c '.[]'` writes it so";
        return is_of_objects.then(|| reason.into());
    }
    let (first, rest) = text.split_once('\n').map_or((text, ""), |(first, rest)| (first, rest.trim_start()));
    if let Some(key) = wrapped(text) {
        // If more lines follow a complete first one, it is only one bad line.
        let reason = format!(
            "the rows are a list inside one object, in \"{key}\": one object a line is expected, `jq -c '.[\"{key}\"][]'` writes them so"
        );
        return (rest.is_empty() || unfinished(first).is_some()).then_some(reason);
    }
    // A line that was merely cut off is followed by another object.
    let goes_on = !rest.is_empty() && (first.trim() == "{" || !rest.starts_with('{'));
    let reason = "objects over several lines, where one object a line is expected: `jq -c .` writes them so";
    (goes_on && unfinished(first) == Some(Unfinished::Object)).then(|| reason.into())
}

/// The first key of the object at the beginning of `text`, if its value is a list of apparent rows or texts.
fn wrapped(text: &str) -> Option<String> {
    let inside = text.strip_prefix('{')?.trim_start();
    let mut keys = serde_json::Deserializer::from_str(inside).into_iter::<String>();
    let key = keys.next()?.ok()?;
    let list = inside.get(keys.byte_offset()..)?.trim_start().strip_prefix(':')?.trim_start().strip_prefix('[')?;
    let row = serde_json::Deserializer::from_str(list).into_iter::<Map<String, Value>>().next()?.ok()?;
    ["query", "text", "anchor", "_id"].iter().any(|key| row.contains_key(*key)).then_some(key)
}

/// The bytes without a last character that the limit has cut through.
fn valid(first_bytes: &[u8]) -> &[u8] {
    match std::str::from_utf8(first_bytes) {
        Err(e) if e.error_len().is_none() => &first_bytes[..e.valid_up_to()],
        _ => first_bytes,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn objects(bytes: &[u8]) -> String {
        of_lines(bytes, LinesOf::Objects).unwrap_or_default()
    }

    #[test]
    fn what_a_file_is_is_said_with_what_to_do() {
        let utf_16 = |bytes: [u8; 2]| {
            "{\"query\": 1}".bytes().flat_map(|b| if bytes[0] == 1 { [b, 0] } else { [0, b] }).collect::<Vec<_>>()
        };
        for (bytes, expected) in [
            (b"PK\x03\x04...".to_vec(), "zip archive"),
            (b"BZh91AY&SY...".to_vec(), "bunzip2"),
            (b"\x80\x04\x95\x00\x00".to_vec(), "pickle"),
            (b"version https://git-lfs.github.com/spec/v1\noid".to_vec(), "git lfs pull"),
            (b"\n<!DOCTYPE HTML>\n<p>404".to_vec(), "is a web page"),
            (b"<?xml version=\"1.0\"?><Error>".to_vec(), "an XML document"),
            (b"\xff\xfe{\0".to_vec(), "iconv -f UTF-16 -t UTF-8"),
            (b"\xff\xfe\0\0{\0\0\0".to_vec(), "iconv -f UTF-32"),
            (utf_16([1, 0]), "iconv -f UTF-16LE"),
            (utf_16([0, 1]), "iconv -f UTF-16BE"),
            (b"{\"query\": \"a\"}\r{\"query\": \"b\"}\r".to_vec(), "tr '\\r' '\\n'"),
            ([vec![b'x'; 257], b"ustar\x00".to_vec()].concat(), "tar archive"),
        ] {
            let said = of_lines(&bytes, LinesOf::Text).unwrap_or_default();
            assert!(said.contains(expected), "{said}");
            assert_eq!(objects(&bytes), said);
        }
    }

    #[test]
    fn json_in_another_layout_is_said_how_to_lay_out() {
        let row = r#"{"query": "a", "pos": ["b"]}"#;
        for (text, expected) in [
            (format!("[{row}, {row}]"), "jq -c '.[]'"),
            (format!(" [\n  {row},\n"), "jq -c '.[]'"),
            ("{\n  \"query\": \"a\",\n  \"pos\": [\n    \"b\"\n  ]\n}\n{\n".into(), "jq -c .`"),
            ("{\"query\": \"a\",\n \"pos\": [\"b\"]}".into(), "jq -c .`"),
            (format!("{{\"data\": [{row}]}}"), "jq -c '.[\"data\"][]'"),
            (format!("{{\n  \"rows\": [\n{row},\n"), "jq -c '.[\"rows\"][]'"),
        ] {
            let said = objects(text.as_bytes());
            assert!(said.contains(expected), "{text}\n  gives {said}");
            assert_eq!(of_lines(text.as_bytes(), LinesOf::Text), None, "{text}");
        }
    }

    #[test]
    fn what_may_be_right_or_is_one_bad_line_is_left_alone() {
        let row = r#"{"query": "a", "pos": ["b"]}"#;
        for text in [
            format!("{row}\n{row}\n"),
            format!("{row}\r\n"),
            format!("\n\n{row}"),
            format!("{{\"query\": \"cut off\n{row}\n"),
            format!("{{\"query\": \"a\", \n{row}\n"),
            "{\"query\": \"a\", \"pos\":".into(),
            format!("{{\"data\": [{row}]}}\n{row}\n"),
            "[\"a\", \"b\"]\n[\"c\", \"d\"]\n".into(),
            "query,pos\na,b\n".into(),
            String::new(),
            "é".repeat(40_000),
        ] {
            assert_eq!(objects(text.as_bytes()), "", "{text}");
        }
        for text in ["ORCHIDS\nneed light\n", "ORCé\n", "PAR1\n", "BZh9 is no archive", "version https://example.org"]
        {
            assert_eq!(evident(text.as_bytes()), None, "{text}");
        }
        assert!(evident(b"ORC\x0a\x03\x00").unwrap().contains("ORC file"));
    }
}
