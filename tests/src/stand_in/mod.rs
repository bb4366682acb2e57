//! The stand-in of a CUDA device for libtorch (`tests/stand_in`): built once, and preloaded into the programs that are
//! shipped. docs/change/testing.md says what it shows and what it cannot show.

mod counts;
pub mod kernels;
mod operators;

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

pub use counts::Counts;

use crate::native::{self, root};
use crate::program::Tercet;

/// The parts that see libtorch, each compiled by itself; front.c beside them sees nothing of it.
const PARTS: [&str; 13] = [
    "attention",
    "checks",
    "counts",
    "determinism",
    "fallback",
    "hooks",
    "host",
    "memory",
    "pinned",
    "products",
    "runtime",
    "settings",
    "tensors",
];

/// Devices of a stand-in, and what is unusual about them.
#[derive(Debug, Clone)]
pub struct StandIn {
    library: &'static Path,
    variables: Vec<(&'static str, OsString)>,
}

impl StandIn {
    /// `gpus` devices of 16 GiB. None, which is told on standard error, where it cannot be built: libtorch has CUDA
    /// itself, or comes without its list of operators.
    pub fn new(gpus: usize) -> Option<Self> {
        let library = library()?;
        Some(Self { library, variables: vec![("STAND_IN_GPUS", gpus.to_string().into())] })
    }

    /// With a variable of `tests/stand_in/stand_in.h`.
    #[must_use]
    pub fn with(mut self, name: &'static str, value: impl Into<OsString>) -> Self {
        self.variables.push((name, value.into()));
        self
    }

    /// With this much memory on each device.
    #[must_use]
    pub fn with_mib(self, mib: usize) -> Self {
        self.with("STAND_IN_MIB", mib.to_string())
    }

    /// The command, on these devices.
    #[must_use]
    pub fn under(&self, tercet: Tercet) -> Tercet {
        let tercet = tercet.with_gpus().env("LD_PRELOAD", self.library);
        // Compiled kernels are kept here, and not with the user's.
        let tercet = tercet.env("XDG_CACHE_HOME", self.library.with_file_name("cache"));
        self.variables.iter().fold(tercet, |tercet, (name, value)| tercet.env(name, value))
    }

    /// The variables that make any program that uses libtorch see these devices.
    pub fn variables(&self) -> impl Iterator<Item = (&'static str, OsString)> {
        let cache = self.library.with_file_name("cache").into();
        [("LD_PRELOAD", self.library.into()), ("XDG_CACHE_HOME", cache)]
            .into_iter()
            .chain(self.variables.iter().cloned())
    }
}

/// The library to preload.
fn library() -> Option<&'static Path> {
    static LIBRARY: OnceLock<Option<PathBuf>> = OnceLock::new();
    let library = LIBRARY.get_or_init(|| {
        let libtorch = std::env::var_os("LIBTORCH").map_or_else(|| root().join(".deps/libtorch"), PathBuf::from);
        match build(&libtorch) {
            Ok(library) => Some(library),
            Err(reason) => {
                eprintln!("\nSKIPPED, the stand-in of a CUDA device: {reason}");
                None
            }
        }
    });
    library.as_deref()
}

/// Builds it for `libtorch`, in a minute of one core, unless that has been done.
fn build(libtorch: &Path) -> Result<PathBuf, String> {
    let lib = libtorch.join("lib");
    if lib.join("libtorch_cuda.so").exists() {
        return Err(format!("{} has CUDA itself", libtorch.display()));
    }
    // The folder that the wheel was unpacked into; LIBTORCH only links to it.
    let real = fs::canonicalize(lib.join("libtorch_cpu.so")).map_err(|e| format!("{}: {e}", lib.display()))?;
    let real = real.parent().unwrap();
    let list = real.join("../../torchgen/packaged/ATen/native/native_functions.yaml");
    let list = fs::read_to_string(&list).map_err(|e| format!("{}: {e}", list.display()))?;

    let sources = root().join("tests/stand_in");
    let read = |name: &str| fs::read(sources.join(name)).unwrap_or_else(|e| panic!("tests/stand_in/{name}: {e}"));
    let mut inputs: Vec<Vec<u8>> = PARTS.iter().map(|part| read(&format!("{part}.cpp"))).collect();
    inputs.extend(["stand_in.h", "front.c", "kernels.cpp", "launch.h", "threads.h"].map(read));
    inputs.push(kernels::header().into_bytes());
    inputs.push(fs::read(libtorch.join("include/torch/version.h")).unwrap_or_default());
    inputs.extend([operators::header(&list).into_bytes(), real.to_string_lossy().into_owned().into_bytes()]);
    let folder = native::kept("stand-in", &inputs, |folder| {
        eprintln!("building the stand-in of a CUDA device for {}", libtorch.display());
        fs::write(folder.join("operators.inc"), operators::header(&list)).unwrap();
        fs::write(folder.join("kernels.inc"), kernels::header()).unwrap();
        compile(folder, &sources, libtorch, real);
    });
    Ok(folder.join("stand-in.so"))
}

/// libtorch's headers, which take longest, are read once for all parts.
fn compile(folder: &Path, sources: &Path, libtorch: &Path, real: &Path) {
    let include = libtorch.join("include");
    let compiler = || {
        let mut compiler = Command::new("c++");
        compiler.args(["-std=c++20", "-O1", "-w", "-fPIC", "-fopenmp"]).arg("-I").arg(folder);
        compiler.arg("-isystem").arg(&include).arg("-isystem").arg(include.join("torch/csrc/api/include"));
        compiler
    };
    let header = folder.join("stand_in.h");
    let mut command = compiler();
    command.args(["-x", "c++-header"]).arg(sources.join("stand_in.h")).arg("-o").arg(folder.join("stand_in.h.gch"));
    native::run_all([command]);
    let objects = PARTS.map(|part| {
        let mut command = compiler();
        command.arg("-include").arg(&header).arg("-c").arg(sources.join(format!("{part}.cpp")));
        command.arg("-o").arg(folder.join(format!("{part}.o")));
        command
    });
    native::run_all(objects.into_iter().chain([kernels::object(folder, sources)]));
    let mut command = Command::new("c++");
    command.args(["-shared", "-fopenmp", "-o"]).arg(folder.join("stand-in-device.so"));
    let objects = || PARTS.into_iter().chain(["kernels"]).map(|part| folder.join(format!("{part}.o")));
    command.args(objects());
    command.arg("-L").arg(libtorch.join("lib")).arg("-L").arg(real).args(["-ltorch_cpu", "-lc10"]);
    // libtorch_cpu.so wants libraries that the linker does not find, and the program has.
    command.arg(format!("-Wl,-rpath,{},--allow-shlib-undefined", real.display()));
    native::run_all([command]);
    native::c_library(&folder.join("stand-in.so"), &[sources.join("front.c")], &["-O1", "-ldl"]);
    objects().for_each(|object| fs::remove_file(object).unwrap());
    fs::remove_file(folder.join("stand_in.h.gch")).unwrap();
}
