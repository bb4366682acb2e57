//! Values that are typed in forms of their own: `NAME=FILE[,FILE…]`, by which `tercet prepare` is told a data set's
//! name and files, and `tercet report` the like of folders; numbers with exponents; names of pages.

use std::num::NonZeroU64;
use std::path::{Path, PathBuf};
use std::str::FromStr;

/// One data set to prepare.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DataSetInput {
    /// Its name in the store.
    pub name: String,
    /// Its files, in order.
    pub paths: Vec<PathBuf>,
}

/// What a report is made of: a run, an evaluation, or several evaluations of one kind.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReportInput {
    /// What it is to be called.
    pub name: Option<String>,
    /// Its folders; at least one.
    pub paths: Vec<PathBuf>,
}

impl FromStr for DataSetInput {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (name, paths) = split(text, "FILE")?;
        let name = name.unwrap_or_else(|| stem(&paths[0]));
        if name.is_empty() {
            return Err("the name before = is empty: expected NAME=FILE[,FILE…] or FILE".into());
        }
        Ok(Self { name, paths })
    }
}

impl FromStr for ReportInput {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (name, paths) = split(text, "FOLDER")?;
        if name.as_ref().is_some_and(|name| name.trim().is_empty()) {
            return Err("the name before = is empty: expected NAME=FOLDER[,FOLDER…] or FOLDER".into());
        }
        Ok(Self { name, paths })
    }
}

/// The name, if one is typed, and the paths behind it.
fn split(text: &str, what: &str) -> Result<(Option<String>, Vec<PathBuf>), String> {
    // A slash before the `=` means that the `=` belongs to a path.
    let (name, paths) = match text.split_once('=').filter(|(name, _)| !name.contains('/')) {
        Some((name, paths)) => (Some(name.to_owned()), paths),
        None => (None, text),
    };
    let paths: Vec<PathBuf> = paths.split(',').map(PathBuf::from).collect();
    if paths.iter().any(|path| path.as_os_str().is_empty()) {
        return Err(format!("a {} name is empty: expected NAME={what}[,{what}…] or {what}", what.to_lowercase()));
    }
    if name.is_none() && paths.len() > 1 {
        return Err(format!("several {}s need a name: NAME={what},{what}", what.to_lowercase()));
    }
    Ok((name, paths))
}

/// The file name without .gz, .bz2 or .zst and without .jsonl, .json or .txt.
fn stem(path: &Path) -> String {
    let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let name = [".gz", ".bz2", ".zst"].iter().find_map(|ending| name.strip_suffix(ending)).unwrap_or(&name);
    let endings = [".jsonl", ".json", ".txt"];
    endings.into_iter().find_map(|ending| name.strip_suffix(ending)).unwrap_or(name).to_owned()
}

/// A whole number, which may be written as 1e9.
pub(super) fn count(text: &str) -> Result<NonZeroU64, String> {
    // Up to 2^53 all whole numbers are floats.
    let is_whole = |number: &f64| (1.0..=9e15).contains(number) && number.fract() == 0.0;
    let number = || Some(text.parse::<f64>().ok().filter(is_whole)? as u64);
    let count = text.parse().ok().or_else(number).and_then(NonZeroU64::new);
    count.ok_or_else(|| "expected a whole number above 0, e.g. 5000000 or 5e6".into())
}

/// The name of a page of HTML.
pub(super) fn page(text: &str) -> Result<PathBuf, String> {
    let path = PathBuf::from(text);
    let is_page = path.extension().is_some_and(|ending| ending == "html" || ending == "htm");
    is_page.then_some(path).ok_or_else(|| "expected a name that ends with .html; the .md lies beside it".into())
}

/// Something per second.
pub(super) fn rate(text: &str) -> Result<f64, String> {
    let rate = text.parse::<f64>().ok().filter(|rate| rate.is_finite() && *rate > 0.0);
    rate.ok_or_else(|| "expected a number above 0 per second, e.g. 120e12".into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<(String, usize), String> {
        text.parse::<DataSetInput>().map(|input| (input.name, input.paths.len()))
    }

    #[test]
    fn names_come_from_the_left_of_the_equals_sign_or_from_the_file() {
        assert_eq!(parse("man=a.jsonl,b.jsonl.gz"), Ok(("man".into(), 2)));
        assert_eq!(parse("data/man.de.jsonl.zst"), Ok(("man.de".into(), 1)));
        assert_eq!(parse("books.txt.gz"), Ok(("books".into(), 1)));
        assert_eq!(parse("x=1/man.json"), Ok(("x".into(), 1)));
        assert_eq!(parse("runs/x=1/man.json"), Ok(("man".into(), 1)));
    }

    #[test]
    fn what_has_no_name_or_no_file_is_refused() {
        assert!(parse("a.jsonl,b.jsonl").unwrap_err().contains("NAME=FILE,FILE"));
        assert!(parse("=a.jsonl").unwrap_err().contains("name before ="));
        assert!(parse("man=a.jsonl,").unwrap_err().contains("empty"));
    }

    #[test]
    fn a_count_may_be_written_with_an_exponent() {
        let good = |text: &str| count(text).unwrap().get();
        assert_eq!((good("7"), good("1e9"), good("2.5e3")), (7, 1_000_000_000, 2500));
        assert_eq!(good("18446744073709551615"), u64::MAX);
        for bad in ["0", "-1", "1.5", "1e30", "nan", "", "many"] {
            assert!(count(bad).is_err(), "{bad}");
        }
    }
}
