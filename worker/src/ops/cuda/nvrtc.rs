//! NVRTC, NVIDIA's compiler in a library: where it is, and what it makes of the kernels' text.
//!
//! It comes in the wheels of libtorch for CUDA. libtorch does not load it before it compiles something itself.

use std::ffi::{CString, c_char, c_int, c_void};
use std::fs;
use std::path::{Path, PathBuf};
use std::ptr;

use super::library::{Library, functions};

type Program = *mut c_void;

functions!(Functions {
    nvrtcVersion(*mut c_int, *mut c_int);
    nvrtcCreateProgram(
        *mut Program, *const c_char, *const c_char, c_int, *const *const c_char, *const *const c_char);
    nvrtcCompileProgram(Program, c_int, *const *const c_char);
    nvrtcGetProgramLogSize(Program, *mut usize);
    nvrtcGetProgramLog(Program, *mut c_char);
    nvrtcGetCUBINSize(Program, *mut usize);
    nvrtcGetCUBIN(Program, *mut c_char);
    nvrtcDestroyProgram(*mut Program);
});

/// File names, the newest first.
const FILES: [&str; 2] = ["libnvrtc.so.13", "libnvrtc.so.12"];

/// Options besides the card. Without --fmad=false products and sums would be joined wherever the compiler likes; the
/// text says where they are.
pub const OPTIONS: [&str; 2] = ["--std=c++17", "--fmad=false"];

/// A loaded NVRTC.
pub struct Nvrtc {
    functions: Functions,
    /// Major and minor.
    pub version: [c_int; 2],
}

impl Nvrtc {
    /// The first that is found: what the process has loaded, beside libtorch, where the dynamic linker looks, in a
    /// toolkit.
    ///
    /// # Errors
    /// There is none.
    pub fn find() -> Result<Self, String> {
        // SAFETY: what has loaded functions of these names has NVRTC.
        if let Ok(functions) = unsafe { Functions::of(Library::PROCESS) } {
            return Self::with(functions);
        }
        let maps = fs::read_to_string("/proc/self/maps").unwrap_or_default();
        let found = candidates(&maps, |name| std::env::var(name).ok()).into_iter().find_map(|path| load(&path));
        let functions = found.ok_or_else(|| {
            format!(
                "NVRTC is not found: neither beside libtorch, nor by the dynamic linker, nor in CUDA_HOME is one of \
                 {FILES:?} (PyPI: nvidia-cuda-nvrtc)"
            )
        })?;
        Self::with(functions)
    }

    fn with(functions: Functions) -> Result<Self, String> {
        let [mut major, mut minor] = [0; 2];
        // SAFETY: the call writes two numbers.
        match unsafe { (functions.nvrtcVersion)(&mut major, &mut minor) } {
            0 => Ok(Self { functions, version: [major, minor] }),
            code => Err(format!("nvrtcVersion: error {code}")),
        }
    }

    /// `13.0`
    pub fn version_in_words(&self) -> String {
        let [major, minor] = self.version;
        format!("{major}.{minor}")
    }

    /// `text` as a cubin for a card, `sm_90` or the like, and what the compiler has to say.
    ///
    /// # Errors
    /// What the compiler does not like: the text, or a card that it does not know.
    pub fn compile(&self, text: &str, card: &str, options: &[&str]) -> Result<(Vec<u8>, String), String> {
        let text = CString::new(text).map_err(|e| e.to_string())?;
        let card = format!("--gpu-architecture={card}");
        let options = options.iter().copied().chain([card.as_str()]).map(CString::new);
        let options = options.collect::<Result<Vec<_>, _>>().map_err(|e| e.to_string())?;
        let options: Vec<*const c_char> = options.iter().map(|option| option.as_ptr()).collect();
        let mut program = ptr::null_mut();
        let name = c"tercet.cu".as_ptr();
        // SAFETY: texts end with NUL, and outlive the program; there are no headers.
        let made = unsafe {
            (self.functions.nvrtcCreateProgram)(&mut program, text.as_ptr(), name, 0, ptr::null(), ptr::null())
        };
        if made != 0 {
            return Err(format!("nvrtcCreateProgram: error {made}"));
        }
        // SAFETY: the program is live, and so are the options, of which there are as many.
        let done = unsafe { (self.functions.nvrtcCompileProgram)(program, options.len() as c_int, options.as_ptr()) };
        let log = self.read(program, self.functions.nvrtcGetProgramLogSize, self.functions.nvrtcGetProgramLog);
        let log = String::from_utf8_lossy(&log).trim_end_matches('\0').trim().to_owned();
        let cubin =
            (done == 0).then(|| self.read(program, self.functions.nvrtcGetCUBINSize, self.functions.nvrtcGetCUBIN));
        // SAFETY: the program is live and not used again.
        unsafe { (self.functions.nvrtcDestroyProgram)(&mut program) };
        match cubin {
            Some(cubin) if !cubin.is_empty() => Ok((cubin, log)),
            _ => Err(format!("NVRTC's error {done}: {log}")),
        }
    }

    /// What the two calls tell: how long it is, and it. Empty if they fail.
    fn read(
        &self,
        program: Program,
        len: unsafe extern "C" fn(Program, *mut usize) -> c_int,
        bytes: unsafe extern "C" fn(Program, *mut c_char) -> c_int,
    ) -> Vec<u8> {
        let mut count = 0;
        // SAFETY: the program is live; the first call writes one number, the second as many bytes as it says.
        unsafe {
            if len(program, &mut count) != 0 {
                return Vec::new();
            }
            let mut room = vec![0u8; count];
            if count > 0 && bytes(program, room.as_mut_ptr().cast()) != 0 {
                return Vec::new();
            }
            room
        }
    }
}

/// Loads NVRTC, and first the library beside it that it looks for by name alone, without saying where.
fn load(path: &Path) -> Option<Functions> {
    if let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
        if !path.exists() {
            return None;
        }
        let names = fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path());
        let is_builtins = |path: &PathBuf| {
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            name.starts_with("libnvrtc-builtins.so.")
        };
        for builtins in names.filter(is_builtins) {
            // SAFETY: its name says that it is a part of NVRTC, which is made to be loaded.
            unsafe { Library::open(&builtins) };
        }
    }
    // SAFETY: likewise.
    unsafe { Functions::of(Library::open(path)?).ok() }
}

/// Where it may be, given this process's memory map.
fn candidates(maps: &str, variable: impl Fn(&str) -> Option<String>) -> Vec<PathBuf> {
    let mut folders = Vec::new();
    let libtorch =
        maps.lines().filter_map(|line| Some(&line[line.find('/')?..])).find(|path| path.contains("/libtorch_"));
    // site-packages/torch/lib
    if let Some(lib) = libtorch.and_then(|path| Path::new(path).parent()) {
        folders.push(lib.to_owned());
        let wheels = lib.parent().and_then(Path::parent).map(|packages| packages.join("nvidia"));
        let wheels = wheels.into_iter().flat_map(fs::read_dir).flatten().flatten();
        let mut wheels: Vec<_> = wheels.map(|wheel| wheel.path().join("lib")).filter(|lib| lib.is_dir()).collect();
        wheels.sort();
        folders.extend(wheels);
    }
    // No folder: where the dynamic linker looks.
    folders.push(PathBuf::new());
    for toolkit in ["CUDA_HOME", "CUDA_PATH", "CUDA_ROOT"].into_iter().filter_map(variable) {
        folders.extend(["lib64", "lib"].map(|lib| Path::new(&toolkit).join(lib)));
    }
    folders.push("/usr/local/cuda/lib64".into());
    folders.iter().flat_map(|folder| FILES.map(|file| folder.join(file))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_looked_for_beside_libtorch_then_by_the_linker_then_in_a_toolkit() {
        let folder = tempfile::tempdir().unwrap();
        let wheel = folder.path().join("nvidia/cu13/lib");
        fs::create_dir_all(&wheel).unwrap();
        let maps = format!("7f00-7f01 r-xp 0 08:01 1 {}/torch/lib/libtorch_cpu.so", folder.path().display());
        let found = candidates(&maps, |name| (name == "CUDA_HOME").then(|| "/cuda".to_owned()));
        let place = |wanted: &Path| found.iter().position(|path| path == wanted).unwrap();
        let places = [wheel.join(FILES[0]), FILES[0].into(), Path::new("/cuda/lib64").join(FILES[0])];
        assert!(places.each_ref().map(|path| place(path)).is_sorted(), "{found:?}");
    }
}
