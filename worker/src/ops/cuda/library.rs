//! Libraries that are loaded while the program runs, and their functions by name.

use std::ffi::{CStr, CString, c_void};
use std::path::Path;

/// A loaded library, which stays loaded.
#[derive(Debug, Clone, Copy)]
pub struct Library(*mut c_void);

impl Library {
    /// Everything that this process has loaded for all to see.
    pub const PROCESS: Self = Self(libc::RTLD_DEFAULT);

    /// The library of this name or path.
    ///
    /// # Safety
    /// Its initialisers may run in this process.
    pub unsafe fn open(name: &Path) -> Option<Self> {
        let name = CString::new(name.as_os_str().as_encoded_bytes()).ok()?;
        // SAFETY: as promised to this function; the name ends with NUL.
        let library = unsafe { libc::dlopen(name.as_ptr(), libc::RTLD_NOW) };
        (!library.is_null()).then_some(Self(library))
    }

    /// Where the function of this name is.
    pub fn function(self, name: &CStr) -> Option<*mut c_void> {
        // SAFETY: the handle is of a loaded library or means all of them, and the name ends with NUL.
        let found = unsafe { libc::dlsym(self.0, name.as_ptr()) };
        (!found.is_null()).then_some(found)
    }
}

/// Declares a table of C functions that return an int, 0 being success. Its `of(library)` looks all of them up; the
/// error is the name of one that the library lacks.
macro_rules! functions {
    ($table:ident { $($name:ident($($argument:ty),*);)* }) => {
        #[derive(Clone, Copy)]
        #[allow(non_snake_case, reason = "as the library has them")]
        struct $table {
            $($name: unsafe extern "C" fn($($argument),*) -> std::ffi::c_int,)*
        }

        impl $table {
            /// # Safety
            /// The library's functions of these names are as they are declared here.
            unsafe fn of(library: $crate::ops::cuda::library::Library) -> Result<Self, &'static str> {
                Ok(Self {
                    $($name: {
                        let name = concat!(stringify!($name), "\0").as_bytes();
                        let found = std::ffi::CStr::from_bytes_with_nul(name).ok();
                        let found = found.and_then(|name| library.function(name)).ok_or(stringify!($name))?;
                        // SAFETY: as promised to this function.
                        unsafe {
                            std::mem::transmute::<
                                *mut std::ffi::c_void,
                                unsafe extern "C" fn($($argument),*) -> std::ffi::c_int,
                            >(found)
                        }
                    },)*
                })
            }
        }
    };
}
pub(super) use functions;
