//! A library, preloaded into commands, that kills them at a chosen operation on files, so that a test covers every
//! moment that leaves a different state.

use std::path::{Path, PathBuf};

use crate::native;

/// The compiled library.
pub struct Killer(PathBuf);

/// When a command is killed, and which of its processes is.
#[derive(Debug, Clone, Copy)]
pub struct Strike {
    /// The name of the program whose operations count.
    pub program: &'static str,
    /// The operations that count, e.g. `rename`; none means all. killer.c has their names.
    pub only: Option<&'static str>,
    /// Which of them, from 1; it does not happen. A write counts twice: first it does not begin, then it ends in the
    /// middle.
    pub at: usize,
    /// Whether the program's parent is killed instead; then the operation does happen.
    pub parent: bool,
}

impl Strike {
    /// A strike at the operation `at` of `program`.
    pub fn at(program: &'static str, at: usize) -> Self {
        Self { program, only: None, at, parent: false }
    }

    /// A strike at the operation `at` among those named `only`.
    pub fn at_the(program: &'static str, only: &'static str, at: usize) -> Self {
        Self { only: Some(only), ..Self::at(program, at) }
    }
}

impl Killer {
    /// Compiles the library into `dir`.
    pub fn new(dir: &Path) -> Self {
        let (source, library) = (dir.join("killer.c"), dir.join("killer.so"));
        std::fs::write(&source, include_str!("killer.c")).unwrap();
        native::c_library(&library, &[source], &["-O1", "-w", "-ldl", "-lpthread"]);
        Self(library)
    }

    /// The variables of a command that is killed as `strike` says, counting operations below `folder`, which must
    /// exist. With an odd `at`, half of the unsynced data is lost, as when the machine goes down with the process.
    pub fn variables(&self, folder: &Path, strike: Strike) -> Vec<(&'static str, String)> {
        let path = |path: &Path| path.to_str().unwrap().to_owned();
        let mut variables = vec![
            ("LD_PRELOAD", path(&self.0)),
            ("KILLER_PROGRAM", strike.program.to_owned()),
            ("KILLER_FOLDER", path(&folder.canonicalize().unwrap())),
            ("KILLER_AT", strike.at.to_string()),
            ("KILLER_VICTIM", if strike.parent { "parent" } else { "self" }.to_owned()),
            ("KILLER_TEAR", (strike.at % 2).to_string()),
        ];
        variables.extend(strike.only.map(|only| ("KILLER_ONLY", only.to_owned())));
        variables
    }
}
