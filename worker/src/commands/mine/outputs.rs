//! Where the rows of each input go, and what lies beside them.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use tercet_protocol::args::MineArgs;
use tercet_sampler::unpacked_name;

use crate::files::CommandError;
use crate::files::output::must_be_lines;

/// The paths of a mining.
pub(super) struct Outputs {
    /// For each output the inputs whose rows it gets, in order.
    pub files: Vec<(PathBuf, Vec<PathBuf>)>,
    /// The report.
    pub report: PathBuf,
    /// The index that is made for this, and removed at the end.
    pub index: PathBuf,
}

impl Outputs {
    /// Of what was typed.
    ///
    /// # Errors
    /// [`CommandError::Usage`]: a name that is no file of lines, inputs whose outputs would have one name, an input
    /// that cannot be read twice.
    pub fn of(args: &MineArgs) -> Result<Self, CommandError> {
        for path in args.rows.iter().chain(&args.corpus) {
            // What is not there is told by who reads it.
            if path.metadata().is_ok_and(|found| !found.is_file() && !found.is_dir()) {
                let path = path.display();
                return Err(CommandError::Usage(format!("{path}: it is read several times: give a file, not a pipe")));
            }
        }
        let (report, index) = (args.report(), args.own_index());
        if !args.writes_a_folder() {
            must_be_lines(&args.out)?;
            return Ok(Self { files: vec![(args.out.clone(), args.rows.clone())], report, index });
        }
        let mut files = BTreeMap::new();
        for rows in &args.rows {
            let name = name_of_lines(rows);
            if let Some(other) = files.insert(args.out.join(&name), rows) {
                return Err(CommandError::Usage(format!(
                    "--out {}: {} and {} would both be {name} there: rename one, or mine them by themselves",
                    args.out.display(),
                    other.display(),
                    rows.display()
                )));
            }
        }
        let files = files.into_iter().map(|(out, rows)| (out, vec![rows.clone()])).collect();
        Ok(Self { files, report, index })
    }

    /// All that is there at the end.
    pub fn paths(&self) -> impl Iterator<Item = &Path> {
        self.files.iter().map(|(out, _)| out.as_path()).chain([self.report.as_path()])
    }
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
