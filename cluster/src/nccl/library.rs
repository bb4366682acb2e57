//! Finds NCCL, loads it, and checks whether it is new enough.

use std::ffi::{CStr, CString, c_int, c_void};
use std::fmt;
use std::ptr;

use libloading::os::unix;

use super::api::{Api, Code, SUCCESS};
use super::search::{Candidate, FILE_NAME, candidates};

/// The oldest NCCL that is used. It has the communicator settings that are passed (non-blocking since 2.14, their
/// layout since 2.17), its non-blocking send and receive are past their first bugs, and CUDA 12.2's containers hold it.
const MIN_VERSION: Version = Version(21800);

/// 10000 × major + 100 × minor + patch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Version(c_int);

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.0 / 10000, self.0 / 100 % 100, self.0 % 100)
    }
}

/// A loaded NCCL.
pub(super) struct Library {
    pub api: Api,
    pub version: Version,
    /// Where it came from.
    pub path: String,
}

impl Library {
    /// The first usable NCCL.
    ///
    /// # Errors
    /// There is none: the message says what was searched, where, and what was wrong there.
    pub fn find() -> Result<Self, String> {
        Self::first_of(candidates(|name| std::env::var(name).ok()))
    }

    fn first_of(candidates: Vec<Candidate>) -> Result<Self, String> {
        let mut tried = Vec::new();
        for candidate in candidates {
            match Self::load(&candidate) {
                Ok(library) => return Ok(library),
                Err(Some(why)) => tried.push(why),
                Err(None) => {}
            }
        }
        Err(format!(
            "no usable NCCL: looked for {FILE_NAME} of version {MIN_VERSION} or newer:\n  {}\n\
             install it (PyPI: nvidia-nccl-cu13, with a libtorch for CUDA 12 nvidia-nccl-cu12; NVIDIA's packages: \
             libnccl2), or set NCCL_HOME to the folder above its lib/, or set backend = \"mpi\", which copies through \
             host memory",
            tried.join("\n  ")
        ))
    }

    /// The candidate, or why it is not usable; `None` as the reason if it is merely not loaded yet.
    fn load(candidate: &Candidate) -> Result<Self, Option<String>> {
        let (name, place, flags) = match candidate {
            Candidate::Loaded => (FILE_NAME.into(), "in this process".to_owned(), libc::RTLD_NOW | libc::RTLD_NOLOAD),
            Candidate::Linker => (FILE_NAME.into(), "LD_LIBRARY_PATH and ldconfig".to_owned(), libc::RTLD_NOW),
            Candidate::File(path) if !path.exists() => return Err(Some(format!("{}: not there", path.display()))),
            Candidate::File(path) => (path.clone(), path.display().to_string(), libc::RTLD_NOW),
        };
        // SAFETY: loading runs the library's initialisers; its name says that it is NCCL.
        let library = unsafe { unix::Library::open(Some(&name), flags) }.map_err(|error| match candidate {
            Candidate::Loaded => None,
            Candidate::Linker => Some(format!("{place}: not found ({})", said(&error))),
            Candidate::File(_) => Some(format!("{place}: cannot be loaded ({})", said(&error))),
        })?;
        let api =
            Api::of(library.into()).map_err(|error| Some(format!("{place}: is no NCCL 2.14 ({})", said(&error))))?;
        let path = file_of(api.get_version as *const c_void).unwrap_or(place);
        let mut version = 0;
        // SAFETY: the call writes one number.
        let code = unsafe { (api.get_version)(&mut version) };
        match Version(version) {
            _ if code != SUCCESS => Err(Some(format!("{path}: cannot tell its version (result {code})"))),
            version if version < MIN_VERSION => Err(Some(format!("{path}: is version {version}"))),
            version => Ok(Self { api, version, path }),
        }
    }

    /// A result in NCCL's words.
    pub fn words(&self, code: Code) -> String {
        // SAFETY: NCCL returns a text of its own for any number.
        unsafe { text((self.api.get_error_string)(code)) }
    }

    /// NCCL's last error on this thread; empty if there is none.
    pub fn last_error(&self) -> String {
        // SAFETY: NCCL does not use the communicator, which may be null; NCCL owns the text.
        unsafe { text((self.api.get_last_error)(ptr::null_mut())) }
    }
}

/// The version of the NCCL that the `nccl` backend would use, if there is a usable one.
pub fn nccl_version() -> Option<String> {
    Library::find().ok().map(|library| library.version.to_string())
}

fn said(error: &libloading::Error) -> String {
    std::error::Error::source(error).map_or_else(|| error.to_string(), ToString::to_string)
}

/// # Safety
/// `pointer` is null or points to a text that ends with NUL.
unsafe fn text(pointer: *const std::ffi::c_char) -> String {
    if pointer.is_null() {
        return String::new();
    }
    // SAFETY: as promised to this function.
    unsafe { CStr::from_ptr(pointer) }.to_string_lossy().trim().to_owned()
}

/// The file that a loaded function came from.
fn file_of(function: *const c_void) -> Option<String> {
    let mut info = std::mem::MaybeUninit::<libc::Dl_info>::zeroed();
    // SAFETY: dladdr fills in `info` if it knows the address, and the linker owns the name.
    let name: CString = unsafe {
        if libc::dladdr(function, info.as_mut_ptr()) == 0 || info.assume_init_ref().dli_fname.is_null() {
            return None;
        }
        CStr::from_ptr(info.assume_init_ref().dli_fname).to_owned()
    };
    Some(name.to_string_lossy().into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn where_there_is_none_the_message_lists_every_place() {
        let folder = std::env::temp_dir().join(format!("tercet-nccl-library-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let broken = folder.join(FILE_NAME);
        std::fs::write(&broken, "no library").unwrap();
        let places = ["/nowhere/libnccl.so.2".into(), broken.clone(), "/proc/self/exe".into()];
        let error = Library::first_of(places.map(Candidate::File).into()).err().unwrap();
        std::fs::remove_dir_all(&folder).unwrap();
        let broken = format!("{}: cannot be loaded (", broken.display());
        for part in ["2.18.0 or newer", "/nowhere/libnccl.so.2: not there", &broken, "NCCL_HOME", "backend = \"mpi\""] {
            assert!(error.contains(part), "{part}: {error}");
        }
    }

    #[test]
    fn a_library_that_is_something_else_is_refused() {
        let libc = std::fs::read_to_string("/proc/self/maps").unwrap();
        let libc = libc.lines().find_map(|line| line.find('/').map(|at| &line[at..]).filter(|l| l.contains("libc.so")));
        let error = Library::first_of(vec![Candidate::File(libc.unwrap().into())]).err().unwrap();
        assert!(error.contains("is no NCCL 2.14") && error.contains("ncclGetVersion"), "{error}");
    }

    #[test]
    fn versions_read_as_nccl_writes_them() {
        assert_eq!(Version(22907).to_string(), "2.29.7");
        assert!(Version(21805) > MIN_VERSION);
    }
}
