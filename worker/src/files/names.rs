//! Where the rows of each input go, if each gets a file in a folder.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use tercet_sampler::unpacked_name;

use super::error::CommandError;
use super::output::must_be_lines;

/// For each of `inputs` a file of lines in the folder `out`, in the order of their names. The command writes `own`
/// there itself.
///
/// # Errors
/// [`CommandError::Usage`]: two would have one name, or one would have that of `own`.
pub fn in_folder(out: &Path, inputs: &[PathBuf], own: &[&str]) -> Result<Vec<(PathBuf, PathBuf)>, CommandError> {
    let mut files = BTreeMap::new();
    for input in inputs {
        let name = name_of_lines(input);
        if own.contains(&name.as_str()) {
            let (out, input) = (out.display(), input.display());
            return Err(CommandError::Usage(format!(
                "--out {out}: {input} would be {name} there, which is the command's own: rename it"
            )));
        }
        if let Some(other) = files.insert(out.join(&name), input) {
            return Err(CommandError::Usage(format!(
                "--out {}: {} and {} would both be {name} there: rename one, or take them by themselves",
                out.display(),
                other.display(),
                input.display()
            )));
        }
    }
    Ok(files.into_iter().map(|(file, input)| (file, input.clone())).collect())
}

/// The name of the rows of `input` as JSON Lines.
fn name_of_lines(input: &Path) -> String {
    let name = input.file_name().unwrap_or_default();
    if !input.is_dir() && must_be_lines(Path::new(name)).is_ok() {
        return name.to_string_lossy().into_owned();
    }
    let unpacked = unpacked_name(Path::new(name));
    let stem = if input.is_dir() { name } else { unpacked.file_stem().unwrap_or_default() };
    format!("{}.jsonl", stem.to_string_lossy())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_of_lines_keeps_its_name_and_another_gets_one() {
        for (input, expected) in [
            ("a/b.jsonl", "b.jsonl"),
            ("b.jsonl.gz", "b.jsonl.gz"),
            ("b.parquet", "b.jsonl"),
            ("b.v2.arrow", "b.v2.jsonl"),
            ("b", "b.jsonl"),
        ] {
            assert_eq!(name_of_lines(Path::new(input)), expected, "{input}");
        }
        let dir = tempfile::tempdir().unwrap();
        let folder = dir.path().join("data.v1");
        std::fs::create_dir(&folder).unwrap();
        assert_eq!(name_of_lines(&folder), "data.v1.jsonl");
    }
}
