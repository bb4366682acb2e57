//! Gives the worker an rpath to libtorch, so that it runs without environment variables, and compiles the calls into
//! libtorch that `tch` does not bind.

use std::path::{Path, PathBuf};

fn main() {
    println!("cargo:rerun-if-env-changed=LIBTORCH");
    let Some(lib) = std::env::var_os("LIBTORCH").map(|folder| PathBuf::from(folder).join("lib")) else { return };
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
    let real = std::fs::canonicalize(lib.join("libtorch_cpu.so")).unwrap_or_else(|_| lib.join("libtorch_cpu.so"));
    for folder in [real.parent().unwrap_or(Path::new("/")), lib.as_path()] {
        println!("cargo:rustc-link-arg=-Wl,-rpath,{}", folder.display());
    }
    // Nothing refers to a symbol of libtorch_cuda.so: it registers its kernels when it is loaded, so it must be loaded.
    if lib.join("libtorch_cuda.so").exists() {
        println!("cargo:rustc-link-arg=-Wl,--no-as-needed,-ltorch_cuda,--as-needed");
    }
}
