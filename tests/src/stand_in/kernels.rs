//! The worker's own kernels on the host: their text (`worker/src/ops/cuda/text`) as a C++ compiler takes it, and the
//! stand-in of NVRTC and of CUDA's driver that runs it (`tests/stand_in/kernels.cpp`).

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::native::{self, root};

/// Sums and products are joined where the text says so, and nowhere else; rows are read as vectors.
const FLAGS: [&str; 7] = ["-std=c++20", "-O2", "-w", "-fPIC", "-fopenmp", "-ffp-contract=off", "-fno-strict-aliasing"];

/// The file that kernels.cpp includes: the text for NVRTC as a string, and all but its first part, which is for GPUs
/// alone, as code. The worker's module says what it consists of.
pub fn header() -> String {
    let folder = root().join("worker/src/ops/cuda");
    let read = |path: PathBuf| fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    let module = read(folder.join("mod.rs"));
    let files: Vec<PathBuf> = module
        .lines()
        .filter_map(|line| line.trim().strip_prefix("include_str!(\"")?.strip_suffix("\"),"))
        .map(|file| folder.join(file))
        .collect();
    assert!(files.len() > 1 && files[0].ends_with("text/device.h"), "{files:?}");
    let text: String = files.iter().cloned().map(read).collect();
    let code: String = files[1..].iter().map(|file| format!("#include \"{}\"\n", file.display())).collect();
    format!("const char TEXT[] = R\"--({text})--\";\n{code}")
}

/// Compiles kernels.cpp, beside which the header lies as kernels.inc in `folder`.
pub(super) fn object(folder: &Path, sources: &Path) -> Command {
    let mut command = Command::new("c++");
    command.args(FLAGS).arg("-I").arg(folder).arg("-c").arg(sources.join("kernels.cpp"));
    command.arg("-o").arg(folder.join("kernels.o"));
    command
}

/// The library of NVRTC's and the driver's stand-in by itself, on the host's memory.
pub fn library() -> PathBuf {
    let sources = root().join("tests/stand_in");
    let read = |name: &str| fs::read(sources.join(name)).unwrap();
    let inputs = [read("kernels.cpp"), read("launch.h"), read("threads.h"), header().into_bytes()];
    let folder = native::kept("kernels", &inputs, |folder| {
        fs::write(folder.join("kernels.inc"), header()).unwrap();
        native::run_all([object(folder, &sources)]);
        let mut command = Command::new("c++");
        command.args(["-shared", "-fopenmp", "-o"]).arg(folder.join("kernels.so")).arg(folder.join("kernels.o"));
        native::run_all([command]);
    });
    folder.join("kernels.so")
}
