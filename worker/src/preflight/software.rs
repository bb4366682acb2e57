//! Finds what must be equal on all ranks: libraries by version; program, recipe and data by BLAKE3.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::path::Path;

use tercet_cluster::{mpi_version, nccl_version};
use tercet_configs::Recipe;

use crate::machine::device;
use crate::ops::nvrtc_version;
use crate::tensors::libtorch;

/// The names of what is hashed.
pub const PROGRAM: &str = "program";
/// The name of NVIDIA's compiler among versions, and what stands for the version of what is not found.
pub const NVRTC: &str = "NVRTC";
pub const NOT_FOUND: &str = "not found";

const RECIPE: &str = "recipe";
const STORE: &str = "token store";
const TOKENIZER: &str = "tokenizer";
const MODEL: &str = "model's config.json";

/// The versions of this process's libraries, by name.
pub fn versions() -> BTreeMap<String, String> {
    let mut versions = of_libtorch(&libtorch::config());
    versions.insert("tercet".into(), env!("CARGO_PKG_VERSION").into());
    versions.insert("MPI".into(), mpi_version());
    if device::is_cuda() {
        versions.insert("NCCL".into(), nccl_version().unwrap_or_else(|| NOT_FOUND.into()));
        versions.insert(NVRTC.into(), nvrtc_version().unwrap_or_else(|| NOT_FOUND.into()));
    }
    versions
}

/// The versions of libtorch, CUDA and cuDNN, from libtorch's description of its build.
fn of_libtorch(config: &str) -> BTreeMap<String, String> {
    let behind = |key: &str| {
        let value = config.split_once(key)?.1;
        let end = value.find(|c: char| c == ',' || c == ';' || c.is_whitespace()).unwrap_or(value.len());
        (end > 0).then(|| value[..end].to_owned())
    };
    let found = [("libtorch", "TORCH_VERSION="), ("CUDA", "CUDA Runtime "), ("cuDNN", "CuDNN ")];
    found.into_iter().filter_map(|(name, key)| Some((name.to_owned(), behind(key)?))).collect()
}

/// BLAKE3 of the program that this rank runs and, with a recipe, of the files that it reads; None for one that cannot
/// be read.
pub fn hashes(recipe: Option<&Recipe>) -> BTreeMap<String, Option<String>> {
    let mut hashes = BTreeMap::from([(PROGRAM.to_owned(), of_file(Path::new("/proc/self/exe")))]);
    let Some(recipe) = recipe else { return hashes };
    hashes.insert(RECIPE.into(), Some(recipe.hash()));
    if !recipe.data.store.as_os_str().is_empty() {
        // The manifest lists all files of the store with their hashes.
        hashes.insert(STORE.into(), of_file(&recipe.data.store.join("manifest.json")));
    }
    if let Some(tokenizer) = recipe.model.tokenizer_json() {
        hashes.insert(TOKENIZER.into(), of_file(&tokenizer));
    }
    let config = recipe.model.config_json();
    if let Some(config) = config {
        hashes.insert(MODEL.into(), of_file(&config));
    }
    hashes
}

fn of_file(path: &Path) -> Option<String> {
    let mut hasher = blake3::Hasher::new();
    fs::metadata(path).ok().filter(|meta| meta.is_file())?;
    hasher.update_reader(File::open(path).ok()?).ok()?;
    Some(hasher.finalize().to_hex().to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_build_says_its_versions() {
        let text = "PyTorch built with:\n  - CUDA Runtime 13.0\n  - CuDNN 91.0.2  (built against CUDA 12.9)\n  - Build \
                    settings: BLAS_INFO=mkl, TORCH_VERSION=2.13.0, USE_CUDA=ON, ";
        let versions = of_libtorch(text);
        assert_eq!(
            (&versions["libtorch"][..], &versions["CUDA"][..], &versions["cuDNN"][..]),
            ("2.13.0", "13.0", "91.0.2")
        );
        assert!(of_libtorch("nothing").is_empty());
    }

    #[test]
    fn this_process_knows_what_it_runs() {
        let versions = versions();
        for name in ["libtorch", "tercet", "MPI"] {
            assert!(versions.get(name).is_some_and(|version| version.contains('.')), "{name}: {versions:?}");
        }
        assert!(hashes(None)[PROGRAM].as_ref().is_some_and(|hash| hash.len() == 64));
    }
}
