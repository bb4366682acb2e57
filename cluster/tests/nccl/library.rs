//! Builds the stand-in, once, and provides the environment in which a rank finds it.

use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use tercet_tests::native;

/// The environment in which a rank finds the stand-in, with some variables changed.
pub fn stand_in(changes: &[(&'static str, &str)]) -> Vec<(&'static str, String)> {
    static HOME: OnceLock<PathBuf> = OnceLock::new();
    let home = HOME.get_or_init(|| build(Path::new(env!("CARGO_TARGET_TMPDIR"))));
    let mut variables = vec![
        ("NCCL_HOME", home.display().to_string()),
        ("LD_LIBRARY_PATH", home.join("lib").display().to_string()),
        ("TERCET_STAND_IN_GPUS", "4".to_owned()),
    ];
    variables.extend(changes.iter().map(|(name, value)| (*name, (*value).to_owned())));
    variables
}

/// Compiles the stand-in into `folder`, and returns the value for NCCL_HOME.
pub fn build(folder: &Path) -> PathBuf {
    let home = folder.join(format!("nccl-stand-in-{}", std::process::id()));
    let lib = home.join("lib");
    std::fs::create_dir_all(&lib).unwrap();
    let sources = Path::new(env!("CARGO_MANIFEST_DIR")).join("../cluster/tests/nccl/stand_in");
    let sources = ["cuda.c", "nccl.c", "ranks.c"].map(|name| sources.join(name));
    native::c_library(&lib.join("libnccl.so.2"), &sources, &["-O2", "-lpthread", "-lrt", "-ldl"]);
    // The driver's half is in the same file. It gets both names that are searched, so that no real driver is found.
    for name in ["libcuda.so", "libcuda.so.1"] {
        let _ = std::fs::remove_file(lib.join(name));
        std::os::unix::fs::symlink("libnccl.so.2", lib.join(name)).unwrap();
    }
    home
}
