//! Where the indices of corpora lie.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use tempfile::TempDir;
use tercet_cluster::{Collective, broadcast_bytes};
use tercet_protocol::args::EvalArgs;

use crate::files::CommandError;

/// A folder for indices.
pub struct Indices {
    folder: PathBuf,
    /// On rank 0, if nobody asked for it: it is removed with this.
    _temporary: Option<TempDir>,
}

impl Indices {
    /// The folder that is asked for, or one beside the run files, or a temporary one. Every rank calls it.
    ///
    /// # Errors
    /// [`CommandError::Usage`]: ranks of several hosts need one that they share. [`CommandError::File`].
    pub fn find(args: &EvalArgs, ranks: &dyn Collective) -> anyhow::Result<Self> {
        let kept = args.index.clone().or_else(|| args.out.as_ref().map(|out| out.join("index")));
        if let Some(folder) = kept {
            return Ok(Self { folder, _temporary: None });
        }
        if ranks.local_size() < ranks.world_size() {
            let message = "the ranks are on several hosts, which must share the index of a corpus: give --index DIR on a \
                           file system that all of them see (--out DIR has it in DIR/index)";
            return Err(CommandError::Usage(message.into()).into());
        }
        let (mut temporary, mut bytes) = (None, Vec::new());
        if ranks.rank() == 0 {
            let made = tempfile::Builder::new().prefix("tercet-eval-").tempdir();
            let made = made.map_err(CommandError::file(&std::env::temp_dir()))?;
            bytes = made.path().as_os_str().as_bytes().to_vec();
            temporary = Some(made);
        }
        broadcast_bytes(ranks, &mut bytes, 0)?;
        Ok(Self { folder: OsStr::from_bytes(&bytes).into(), _temporary: temporary })
    }

    /// The folder.
    pub fn folder(&self) -> &Path {
        &self.folder
    }
}
