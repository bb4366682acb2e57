//! Gives the worker its rpaths to libtorch and to MPI, so that it runs without environment variables, and compiles the
//! calls into libtorch that `tch` does not bind.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Where `make dist` puts libtorch, seen from the folder of the programs.
const PACKED: &str = "$ORIGIN/../lib/torch/lib";

fn main() {
    println!("cargo:rerun-if-env-changed=LIBTORCH");
    let Some(lib) = env::var_os("LIBTORCH").map(|folder| PathBuf::from(folder).join("lib")) else { return };
    // Another kind of libtorch under the same path is linked anew. cargo would run this script every time if it were
    // told of a file that is not there.
    for path in [lib.with_file_name("flavour"), lib.clone()].iter().filter(|path| path.exists()) {
        println!("cargo:rerun-if-changed={}", path.display());
    }
    let include = lib.with_file_name("include");
    cc::Build::new()
        .cpp(true)
        .std("c++20")
        .warnings(false)
        .flag("-fopenmp") // as libtorch was built: its threads are OpenMP's
        .include(&include)
        .include(include.join("torch/csrc/api/include"))
        .file("src/tensors/libtorch/calls.cpp")
        .file("src/tensors/libtorch/device.cpp")
        .compile("tercet_libtorch_calls");
    println!("cargo:rustc-link-lib=gomp");
    for source in ["calls.cpp", "device.cpp", "attempt.h"] {
        println!("cargo:rerun-if-changed=src/tensors/libtorch/{source}");
    }
    // libtorch_cpu.so finds its CUDA runtime relative to where it really lies, which is not where LIBTORCH links to it.
    let real = fs::canonicalize(lib.join("libtorch_cpu.so")).unwrap_or_else(|_| lib.join("libtorch_cpu.so"));
    let real = real.parent().unwrap_or(Path::new("/"));
    for folder in [Path::new(PACKED), real, lib.as_path()] {
        link_arg(&format!("-Wl,-rpath,{}", folder.display()));
    }
    // lld leaves what libtorch's libraries need to the dynamic linker. GNU ld wants to see it, and looks for it beside
    // where LIBTORCH links to them.
    for folder in [real.to_owned()].into_iter().chain(nvidia(real)) {
        link_arg(&format!("-Wl,-rpath-link,{}", folder.display()));
    }
    // Nothing refers to a symbol of libtorch_cuda.so: it registers its kernels when it is loaded, so it must be loaded.
    if lib.join("libtorch_cuda.so").exists() {
        link_arg("-Wl,--no-as-needed,-ltorch_cuda,--as-needed");
    }
    mpi_rpaths().iter().for_each(|arg| link_arg(arg));
}

fn link_arg(arg: &str) {
    println!("cargo:rustc-link-arg={arg}");
}

/// The folders of NVIDIA's libraries in the wheels installed with the one that holds this lib folder.
fn nvidia(lib: &Path) -> Vec<PathBuf> {
    let wheels = fs::read_dir(lib.join("../../nvidia")).into_iter().flatten().flatten();
    let mut folders: Vec<_> = wheels.map(|wheel| wheel.path().join("lib")).filter(|lib| lib.is_dir()).collect();
    folders.sort();
    folders
}

/// What MPI's compiler wrapper would tell the linker of rpaths. A distribution's says none; a site's own MPI is often
/// found in no other way.
fn mpi_rpaths() -> Vec<String> {
    println!("cargo:rerun-if-env-changed=MPICC");
    let mpicc = env::var_os("MPICC").unwrap_or_else(|| "mpicc".into());
    let Ok(said) = Command::new(mpicc).arg("-show").output() else { return Vec::new() };
    let said = String::from_utf8_lossy(&said.stdout).into_owned();
    said.split_whitespace()
        .filter(|word| word.starts_with("-Wl,-rpath") || word.starts_with("-Wl,/"))
        .map(ToOwned::to_owned)
        .collect()
}
