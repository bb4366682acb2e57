//! The places where `libnccl.so.2` may be.

use std::fs;
use std::path::{Path, PathBuf};

/// The file name of every NCCL 2; `libnccl.so` exists for compilers only.
pub(super) const FILE_NAME: &str = "libnccl.so.2";

/// Its folder in PyPI's wheels, below site-packages.
const IN_SITE_PACKAGES: &str = "nvidia/nccl/lib";

/// A place to look.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Candidate {
    /// The library that this process has already loaded, as libtorch does: two NCCLs in one process invite trouble.
    Loaded,
    /// A file.
    File(PathBuf),
    /// Where the dynamic linker finds the name: LD_LIBRARY_PATH, then ldconfig's paths (Debian, vendor packages).
    Linker,
}

/// The places in order. NCCL_HOME, if it is set, is the only one, because whoever sets it wants that one.
pub(super) fn candidates(variable: impl Fn(&str) -> Option<String>) -> Vec<Candidate> {
    let set = |name: &str| variable(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    if let Some(home) = set("NCCL_HOME") {
        return ["lib", "lib64", ""].map(|lib| Candidate::File(home.join(lib).join(FILE_NAME))).into();
    }
    let mut folders: Vec<PathBuf> = beside_libtorch(&fs::read_to_string("/proc/self/maps").unwrap_or_default());
    let mut after_linker = Vec::new();
    for prefix in ["VIRTUAL_ENV", "CONDA_PREFIX"].into_iter().filter_map(set) {
        let site_packages = matching(&prefix.join("lib"), "python3", &format!("site-packages/{IN_SITE_PACKAGES}"));
        folders.extend(site_packages);
        folders.push(prefix.join("lib"));
    }
    for toolkit in ["CUDA_HOME", "CUDA_PATH", "CUDA_ROOT"].into_iter().filter_map(set) {
        after_linker.extend(["lib64", "lib"].map(|lib| toolkit.join(lib)));
    }
    after_linker
        .extend(["/usr/local/cuda/lib64", "/usr/local/nccl/lib", "/usr/lib/x86_64-linux-gnu"].map(PathBuf::from));
    after_linker.extend(matching(Path::new("/opt/nvidia/hpc_sdk/Linux_x86_64"), "", "comm_libs/nccl/lib"));
    let files = |folders: Vec<PathBuf>| folders.into_iter().map(|folder| Candidate::File(folder.join(FILE_NAME)));
    [Candidate::Loaded]
        .into_iter()
        .chain(files(folders))
        .chain([Candidate::Linker])
        .chain(files(after_linker))
        .collect()
}

/// Folders of the libtorch in this memory map: its own, and that of the NCCL wheel which PyPI installs with it.
fn beside_libtorch(maps: &str) -> Vec<PathBuf> {
    let path = maps.lines().filter_map(|line| Some(&line[line.find('/')?..])).find(|path| path.contains("/libtorch_"));
    let Some(lib) = path.and_then(|path| Path::new(path).parent()) else { return Vec::new() };
    // site-packages/torch/lib
    let wheel = lib.parent().and_then(Path::parent).map(|packages| packages.join(IN_SITE_PACKAGES));
    [lib.to_owned()].into_iter().chain(wheel).collect()
}

/// `folder/NAME/rest` for every name in `folder` that begins with `start`, the last name first.
fn matching(folder: &Path, start: &str, rest: &str) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let named = entries.filter(|entry| entry.file_name().to_string_lossy().starts_with(start));
    let mut found: Vec<PathBuf> = named.map(|entry| entry.path().join(rest)).filter(|path| path.is_dir()).collect();
    found.sort();
    found.reverse();
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nccl_home_is_the_only_place_where_it_is_set() {
        let found = candidates(|name| (name == "NCCL_HOME").then(|| "/x".to_owned()));
        let files = ["/x/lib/libnccl.so.2", "/x/lib64/libnccl.so.2", "/x/libnccl.so.2"];
        assert_eq!(found, files.map(|file| Candidate::File(file.into())));
    }

    #[test]
    fn the_wheel_beside_libtorch_comes_before_the_linker_and_the_toolkit_after_it() {
        let maps = "7f00-7f01 r-xp 0 08:01 1 /env/site-packages/torch/lib/libtorch_cpu.so\n7f02-7f03 rw-p 0 0 0";
        let folders = ["/env/site-packages/torch/lib", "/env/site-packages/nvidia/nccl/lib"];
        assert_eq!(beside_libtorch(maps), folders.map(PathBuf::from));
        let found = candidates(|name| (name == "CUDA_HOME").then(|| "/cuda".to_owned()));
        let toolkit = Candidate::File("/cuda/lib64/libnccl.so.2".into());
        let place = |wanted: &Candidate| found.iter().position(|candidate| candidate == wanted).unwrap();
        assert_eq!(place(&Candidate::Loaded), 0);
        assert!(place(&Candidate::Linker) < place(&toolkit));
    }

    #[test]
    fn a_virtual_environments_packages_are_found() {
        let folder = std::env::temp_dir().join(format!("tercet-nccl-search-{}", std::process::id()));
        let wheel = folder.join("lib/python3.11/site-packages/nvidia/nccl/lib");
        fs::create_dir_all(&wheel).unwrap();
        let found = candidates(|name| (name == "VIRTUAL_ENV").then(|| folder.display().to_string()));
        fs::remove_dir_all(&folder).unwrap();
        assert!(found.contains(&Candidate::File(wheel.join(FILE_NAME))), "{found:?}");
    }
}
