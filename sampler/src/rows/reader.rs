//! Reads the rows of one file.

use std::path::{Path, PathBuf};

use super::row::Row;
use super::source::{RawRow, RecordSource, RowSource};
use crate::columns::files_of;
use crate::error::RowError;

/// Reads the rows of one file in order: JSON Lines (plain, or compressed with gzip, bzip2 or zstd; blank lines are
/// skipped), Parquet or Arrow.
///
/// After a [`RowError::Line`] or [`RowError::Row`] the next row follows; after any other error nothing does.
#[derive(Debug)]
pub struct RowReader {
    path: PathBuf,
    source: RowSource,
    failed: bool,
}

impl RowReader {
    /// Opens `path`.
    ///
    /// # Errors
    /// The file's first bytes cannot be read or are not those of rows, or its columns are not those of rows.
    pub fn open(path: &Path) -> Result<Self, RowError> {
        Ok(Self { path: path.to_owned(), source: RowSource::open(path, Default::default())?, failed: false })
    }

    /// All rows of `path`, in order: a file, or a folder of Hugging Face `datasets`.
    ///
    /// # Errors
    /// A file or a row cannot be used.
    pub fn read_all(path: &Path) -> Result<Vec<Row>, RowError> {
        let mut rows = Vec::new();
        for file in files_of(path)? {
            for row in Self::open(&file)? {
                rows.push(row?);
            }
        }
        Ok(rows)
    }
}

impl Iterator for RowReader {
    type Item = Result<Row, RowError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.failed {
            return None;
        }
        match self.source.next() {
            Ok(None) => None,
            Ok(Some((number, row))) => {
                let row = row.and_then(RawRow::into_row);
                Some(row.map_err(|reason| self.source.place().error(&self.path, number, reason)))
            }
            Err(e) => {
                self.failed = true;
                Some(Err(e))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;
    use tercet_configs::ExitCode;

    const TWO_ROWS: &[u8] = b"{\"query\": \"a\", \"pos\": [\"b\"]}\n\n  \r\n{\"query\": \"c\", \"pos\": [\"d\"]}";

    fn written(dir: &tempfile::TempDir, name: &str, bytes: &[u8]) -> PathBuf {
        let path = dir.path().join(name);
        std::fs::write(&path, bytes).unwrap();
        path
    }

    fn gzipped(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    fn queries(path: &Path) -> Vec<String> {
        RowReader::open(path).unwrap().map(|row| row.unwrap().query).collect()
    }

    #[test]
    fn plain_gzip_and_zstd_give_the_same_rows_whatever_the_name() {
        let dir = tempfile::tempdir().unwrap();
        let zstd = zstd::encode_all(TWO_ROWS, 3).unwrap();
        for (name, bytes) in [
            ("rows.jsonl", TWO_ROWS.to_vec()),
            ("rows.jsonl.gz", gzipped(TWO_ROWS)),
            ("rows.jsonl.zst", zstd.clone()),
            ("named_as_plain.jsonl", zstd),
        ] {
            assert_eq!(queries(&written(&dir, name, &bytes)), ["a", "c"], "{name}");
        }
    }

    #[test]
    fn concatenated_members_are_read_to_the_end() {
        let dir = tempfile::tempdir().unwrap();
        let mut line = TWO_ROWS.to_vec();
        line.push(b'\n');
        let gz = [gzipped(&line), gzipped(&line)].concat();
        let zst = [zstd::encode_all(&line[..], 3).unwrap(), zstd::encode_all(&line[..], 3).unwrap()].concat();
        assert_eq!(queries(&written(&dir, "a.gz", &gz)), ["a", "c", "a", "c"]);
        assert_eq!(queries(&written(&dir, "a.zst", &zst)), ["a", "c", "a", "c"]);
    }

    #[test]
    fn a_bad_line_names_file_and_line_and_the_next_one_follows() {
        let dir = tempfile::tempdir().unwrap();
        let path = written(
            &dir,
            "data.jsonl",
            b"\n{\"query\": \"a\", \"pos\": []}\n{\"query\": \"b\xff\", \"pos\": [\"x\"]}\n{\"query\": \"c\", \"pos\": [\"d\"]}",
        );
        let rows: Vec<_> = RowReader::open(&path).unwrap().collect();
        assert_eq!(rows.len(), 3);
        let message = rows[0].as_ref().unwrap_err().to_string();
        assert!(message.ends_with("data.jsonl:2: \"pos\" is empty: a row needs at least one positive"), "{message}");
        let message = rows[1].as_ref().unwrap_err().to_string();
        assert!(message.contains("data.jsonl:3: not UTF-8 from byte 13"), "{message}");
        assert_eq!(rows[2].as_ref().unwrap().query, "c");
    }

    #[test]
    fn truncated_compressed_files_name_the_line_reached() {
        let dir = tempfile::tempdir().unwrap();
        let text: String = (0..500).map(|i| format!("{{\"query\": \"{i}\", \"pos\": [\"{}\"]}}\n", i * 7919)).collect();
        let zst = zstd::encode_all(text.as_bytes(), 3).unwrap();
        for (name, bytes) in [("cut.jsonl.gz", gzipped(text.as_bytes())), ("cut.jsonl.zst", zst)] {
            let path = written(&dir, name, &bytes[..bytes.len() / 2]);
            let mut reader = RowReader::open(&path).unwrap();
            let num_good = reader.by_ref().take_while(Result::is_ok).count();
            let error = match RowReader::open(&path).unwrap().find_map(Result::err) {
                Some(error) => error,
                None => panic!("{name}: no error"),
            };
            let message = error.to_string();
            assert!(message.contains(&format!("{name}: cannot be read beyond line {num_good}: ")), "{message}");
            assert!(message.contains("ends early"), "{message}");
            assert_eq!(error.exit_code(), ExitCode::Data);
            assert!(reader.next().is_none(), "nothing follows");
        }
    }

    #[test]
    fn what_is_named_gzip_but_is_not_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = written(&dir, "rows.jsonl.gz", TWO_ROWS);
        let error = RowReader::open(&path).unwrap_err();
        assert!(error.to_string().contains("rows.jsonl.gz:1: named as gzip, but"), "{error}");
        assert_eq!(error.exit_code(), ExitCode::Data);
    }

    #[test]
    fn a_missing_file_is_the_users_mistake() {
        let error = RowReader::open(Path::new("/nonexistent/rows.jsonl")).unwrap_err();
        assert!(error.to_string().starts_with("/nonexistent/rows.jsonl: "), "{error}");
        assert_eq!(error.exit_code(), ExitCode::Usage);
    }
}
