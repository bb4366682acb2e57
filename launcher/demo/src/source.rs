//! Where the demo's text comes from: Debian's manual pages, or rows of the user's own.

use std::collections::HashSet;
use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, anyhow};
use tercet_configs::ExitCode;
use tercet_sampler::RowReader;
use tokenizers::Tokenizer;

use crate::corpus::{self, Row, Written};
use crate::fail::Fail;
use crate::fetch;
use crate::pages::{self, Page};

/// Bytes of the user's rows that the tokenizer is trained on.
const SAMPLE_BYTES: usize = 5_000_000;

/// Text to train on.
#[derive(Debug)]
pub(crate) enum Text {
    Pages { pages: Vec<Page>, missing: Vec<&'static str> },
    Rows(Vec<Row>),
}

/// Debian's manual pages, from `cache` or downloaded into it.
///
/// # Errors
/// As [`fetch::man_pages`]; or the user has no cache folder.
pub(crate) fn manual_pages(cache: Option<&Path>) -> anyhow::Result<Text> {
    let cache = match cache {
        Some(folder) => folder.to_owned(),
        None => default_cache()?,
    };
    let fetched = fetch::man_pages(&cache)?;
    Ok(Text::Pages { pages: pages::read(&fetched.roots, &fetched.mandoc)?, missing: fetched.missing })
}

fn default_cache() -> anyhow::Result<PathBuf> {
    let base = std::env::var_os("XDG_CACHE_HOME").filter(|v| !v.is_empty()).map(PathBuf::from);
    let base = base.or_else(|| Some(PathBuf::from(std::env::var_os("HOME")?).join(".cache")));
    let no_home = || Fail::new(ExitCode::Usage, "HOME is not set: say where to keep the manual pages with --cache DIR");
    Ok(base.ok_or_else(no_home)?.join("tercet/manpages"))
}

/// The rows of every JSON Lines file in `folder` and below it, each with its first positive.
///
/// # Errors
/// Exit code 4 for a malformed row or no rows at all.
pub(crate) fn own_rows(folder: &Path) -> anyhow::Result<Text> {
    let mut files = Vec::new();
    find_lines(folder, &mut files).with_context(|| format!("--corpus {}", folder.display()))?;
    files.sort();
    let mut rows = Vec::new();
    for file in &files {
        for row in RowReader::open(file).map_err(bad_data)? {
            let row = row.map_err(bad_data)?;
            let query = row.query_text().into_owned();
            rows.extend(row.pos.into_iter().next().map(|passage| (query, passage)));
        }
    }
    if rows.is_empty() {
        let what = format!("--corpus {}: no rows in {} *.jsonl files", folder.display(), files.len());
        return Err(Fail::new(ExitCode::Data, what).into());
    }
    Ok(Text::Rows(rows))
}

/// Adds the files of JSON Lines in `folder` and below it to `files`. A link to a folder is not followed.
fn find_lines(folder: &Path, files: &mut Vec<PathBuf>) -> std::io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let (path, name) = (entry.path(), entry.file_name().to_string_lossy().into_owned());
        if entry.file_type()?.is_dir() {
            find_lines(&path, files)?;
        } else if [".jsonl", ".jsonl.gz", ".jsonl.zst"].iter().any(|ending| name.ends_with(ending)) {
            files.push(path);
        }
    }
    Ok(())
}

fn bad_data(error: tercet_sampler::RowError) -> Fail {
    Fail::new(ExitCode::Data, error.to_string())
}

impl Text {
    /// What the tokenizer is trained on.
    pub fn sample(&self) -> Vec<String> {
        match self {
            Text::Pages { pages, .. } => corpus::sample_texts(pages),
            Text::Rows(rows) => corpus::sample_rows(rows, SAMPLE_BYTES),
        }
    }

    /// Writes training rows and held-out tasks below `out`.
    ///
    /// # Errors
    /// If the tokenizer cannot be read or a file cannot be written.
    pub fn write(self, tokenizer: &Path, out: &Path) -> anyhow::Result<Written> {
        match self {
            Text::Pages { pages, .. } => {
                let tokenizer = Tokenizer::from_file(tokenizer).map_err(|e| anyhow!(e))?;
                // A text that cannot be tokenised belongs in no length group.
                let num_tokens = |text: &str| tokenizer.encode_fast(text, true).map_or(usize::MAX, |e| e.len());
                corpus::write(&pages, num_tokens, out)
            }
            Text::Rows(rows) => corpus::write_own(rows, out),
        }
    }
}

/// `10385 manual pages in 25 languages`
impl fmt::Display for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Text::Pages { pages, missing } => {
                let languages: HashSet<_> = pages.iter().map(|p| &p.language).collect();
                write!(f, "{} of Debian's manual pages in {} languages", pages.len(), languages.len())?;
                match missing.is_empty() {
                    true => Ok(()),
                    false => write!(f, " (this registry lacks {})", missing.join(", ")),
                }
            }
            Text::Rows(rows) => write!(f, "{} rows of your own", rows.len()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn own_rows_come_from_every_file_and_a_bad_one_is_named() {
        let folder = tempfile::tempdir().unwrap();
        assert!(own_rows(folder.path()).unwrap_err().to_string().contains("no rows"));
        for name in ["b.jsonl", "a.jsonl"] {
            fs::write(folder.path().join(name), format!("{{\"query\": \"q {name}\", \"pos\": [\"p\", \"o\"]}}\n"))
                .unwrap();
        }
        let Text::Rows(rows) = own_rows(folder.path()).unwrap() else { panic!("rows were given") };
        assert_eq!(rows, [("q a.jsonl".into(), "p".into()), ("q b.jsonl".into(), "p".into())]);
        fs::create_dir(folder.path().join("below")).unwrap();
        fs::write(folder.path().join("below/c.jsonl"), "{\"query\": 1}\n").unwrap();
        let error = own_rows(folder.path()).unwrap_err();
        assert!(error.to_string().contains("below/c.jsonl") && crate::fail::code_of(&error) == 4, "{error}");
    }
}
