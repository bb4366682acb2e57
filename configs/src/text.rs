//! Reads small text files, and tells text that is not UTF-8.

use std::io::{Error, ErrorKind, Result};
use std::path::Path;

/// The text in `path`.
///
/// # Errors
/// The file cannot be read, or is not UTF-8, which is the user's to change ([`ErrorKind::InvalidInput`]).
pub fn read_text(path: &Path) -> Result<String> {
    let bytes = std::fs::read(path)?;
    let not_text = |reason: String| Error::new(ErrorKind::InvalidInput, reason);
    if let Some(encoding) = in_another_encoding(&bytes) {
        return Err(not_text(encoding));
    }
    String::from_utf8(bytes).map_err(|_| not_text("not UTF-8 text: save it as UTF-8".into()))
}

/// What text of two or four bytes a character is, by its first bytes, with what to do; none if it may be UTF-8.
pub fn in_another_encoding(first_bytes: &[u8]) -> Option<String> {
    let name = match first_bytes {
        [0xff, 0xfe, 0, 0, ..] | [0, 0, 0xfe, 0xff, ..] => "UTF-32",
        [0xff, 0xfe, ..] | [0xfe, 0xff, ..] => "UTF-16",
        _ => without_mark(first_bytes)?,
    };
    Some(format!("{name} text: UTF-8 is expected, `iconv -f {name} -t UTF-8` converts it"))
}

/// UTF-16 without a mark: in mostly ASCII text, every second byte is 0, and no other.
fn without_mark(first_bytes: &[u8]) -> Option<&'static str> {
    const LOOKED_AT: usize = 16;
    let start = first_bytes.get(..LOOKED_AT)?;
    let zeros = |from: usize| start[from..].iter().step_by(2).filter(|&&byte| byte == 0).count();
    match (zeros(0), zeros(1)) {
        (0, n) if n == LOOKED_AT / 2 => Some("UTF-16LE"),
        (n, 0) if n == LOOKED_AT / 2 => Some("UTF-16BE"),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_that_is_not_utf_8_is_told_with_what_to_do() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("recipe.toml");
        let text = "name = \"a recipe\"\n";
        let low: Vec<u8> = text.bytes().flat_map(|byte| [byte, 0]).collect();
        let high: Vec<u8> = text.bytes().flat_map(|byte| [0, byte]).collect();
        for (bytes, expected) in [
            ([b"\xff\xfe", &low[..]].concat(), "iconv -f UTF-16 -t UTF-8"),
            ([b"\xfe\xff", &high[..]].concat(), "iconv -f UTF-16 -t UTF-8"),
            (low, "iconv -f UTF-16LE -t UTF-8"),
            (high, "iconv -f UTF-16BE -t UTF-8"),
            (b"\xff\xfe\0\0n\0\0\0".to_vec(), "iconv -f UTF-32"),
            (b"name = \"caf\xe9\"".to_vec(), "save it as UTF-8"),
        ] {
            std::fs::write(&path, &bytes).unwrap();
            let error = read_text(&path).unwrap_err();
            assert!(error.kind() == ErrorKind::InvalidInput && error.to_string().contains(expected), "{error}");
        }
        std::fs::write(&path, text).unwrap();
        assert_eq!(read_text(&path).unwrap(), text);
        assert_eq!(read_text(&dir.path().join("none")).unwrap_err().kind(), ErrorKind::NotFound);
    }
}
