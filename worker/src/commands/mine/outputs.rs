//! Where the rows of each input go, and what lies beside them.

use std::path::{Path, PathBuf};

use tercet_protocol::args::MineArgs;

use crate::files::CommandError;
use crate::files::names::in_folder;
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
    /// The outputs that were typed.
    ///
    /// # Errors
    /// [`CommandError::Usage`]: a name that is no file of lines, inputs whose outputs would have one name, an input
    /// that cannot be read twice.
    pub fn of(args: &MineArgs) -> Result<Self, CommandError> {
        for path in args.rows.iter().chain(&args.corpus) {
            // Whoever reads the file reports one that is not there.
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
        let files = in_folder(&args.out, &args.rows, &["mine.json", "mine.index"])?;
        let files = files.into_iter().map(|(out, rows)| (out, vec![rows])).collect();
        Ok(Self { files, report, index })
    }

    /// All that is there at the end.
    pub fn paths(&self) -> impl Iterator<Item = &Path> {
        self.files.iter().map(|(out, _)| out.as_path()).chain([self.report.as_path()])
    }
}
