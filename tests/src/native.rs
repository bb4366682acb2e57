//! Compiles C and C++ that tests load or preload, and keeps what takes long between runs.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::thread;

/// Compiles C files into the library `out`, without warnings.
pub fn c_library(out: &Path, sources: &[PathBuf], flags: &[&str]) {
    let mut cc = Command::new("cc");
    cc.args(["-std=gnu11", "-Wall", "-Wextra", "-Werror", "-shared", "-fPIC", "-o"]).arg(out).args(sources).args(flags);
    assert!(cc.status().unwrap().success(), "{cc:?}");
}

/// The folder of the sources.
pub(crate) fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap()
}

/// Runs commands, as many at a time as the machine has cores; all must succeed.
pub fn run_all(commands: impl IntoIterator<Item = Command>) {
    let most = thread::available_parallelism().map_or(1, |cores| cores.get());
    let mut running: Vec<(Command, Child)> = Vec::new();
    let end = |(command, mut child): (Command, Child)| assert!(child.wait().unwrap().success(), "{command:?}");
    for mut command in commands {
        if running.len() == most {
            end(running.remove(0));
        }
        let child = command.spawn().unwrap();
        running.push((command, child));
    }
    running.into_iter().for_each(end);
}

/// A folder that `build` has filled, in this run or an earlier one: it is filled once for the same `inputs`. Programs
/// that want it at the same time wait for each other.
pub fn kept(name: &str, inputs: &[Vec<u8>], build: impl FnOnce(&Path)) -> PathBuf {
    let mut hash = blake3::Hasher::new();
    for input in inputs {
        hash.update(&(input.len() as u64).to_le_bytes()).update(input);
    }
    // target/release/deps/PROGRAM, or target/release/PROGRAM
    let own = std::env::current_exe().unwrap();
    let target = own.ancestors().find(|folder| folder.ends_with("release") || folder.ends_with("debug")).unwrap();
    let kept = target.with_file_name("kept");
    fs::create_dir_all(&kept).unwrap();
    let folder = kept.join(format!("{name}-{}", &hash.finalize().to_hex()[..16]));
    let lock = File::create(kept.join(format!("{name}.lock"))).unwrap();
    lock.lock().unwrap();
    if !folder.is_dir() {
        let unfinished = folder.with_extension("unfinished");
        let _ = fs::remove_dir_all(&unfinished);
        fs::create_dir(&unfinished).unwrap();
        build(&unfinished);
        fs::rename(&unfinished, &folder).unwrap();
    }
    // For people: what was used last has the name alone.
    let (link, newest) = (kept.join(name), Path::new(folder.file_name().unwrap()));
    if fs::read_link(&link).ok().as_deref() != Some(newest) {
        let _ = fs::remove_file(&link);
        std::os::unix::fs::symlink(newest, &link).unwrap();
    }
    folder
}
