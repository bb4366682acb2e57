//! What CUDA itself says of its GPUs: the driver's library, and the runtime that libtorch brings along.
//!
//! libtorch counts GPUs without a word on why there are none. The same questions are asked here once more, with the
//! answers kept. Functions are looked up by name, because a build of libtorch for the CPU alone, a machine without a
//! driver and a test's stand-in each lack some of them. Nothing here makes a context on a GPU.

use std::ffi::{CStr, c_char, c_int, c_uint, c_void};

use tercet_protocol::says::doctor::CudaError;

/// What the driver's library says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DriverSays {
    /// The newest CUDA that it speaks, 1000 × major + 10 × minor.
    pub cuda: u32,
    /// The GPUs that it shows to this process, or the number of its error.
    pub gpus: Result<usize, c_int>,
}

/// Asks the driver's library; none if it is not found or does not say a version.
pub fn driver() -> Option<DriverSays> {
    // SAFETY: this runs the initialisers of the driver's library, which is made to be loaded. It stays loaded.
    let library = unsafe { libc::dlopen(c"libcuda.so.1".as_ptr(), libc::RTLD_NOW) };
    if library.is_null() {
        return None;
    }
    let version = one_number(library, c"cuDriverGetVersion")?.ok().filter(|version| *version > 0)?;
    let gpus = match initialise(library)? {
        0 => one_number(library, c"cuDeviceGetCount")?.map(|count| usize::try_from(count).unwrap_or_default()),
        code => Err(code),
    };
    Some(DriverSays { cuda: version.unsigned_abs(), gpus })
}

/// Errors that only a machine with a driver gives: too old a driver, a system that is not ready, libraries that do not
/// fit to the driver. A libcuda.so.1 that says that there is no device may come from a container's image.
const WITH_A_DRIVER: [c_int; 4] = [35, 802, 803, 804];

/// Whether the error shows that there is a driver, of whose library the version is `cuda`.
pub fn shows_a_driver(error: &CudaError, cuda: Option<u32>) -> bool {
    cuda.is_some() && WITH_A_DRIVER.contains(&error.code)
}

/// The newest CUDA that the driver's library speaks, as the runtime knows it; none if it finds no such library.
pub fn runtime_knows_of_driver() -> Option<u32> {
    let version = one_number(libc::RTLD_DEFAULT, c"cudaDriverGetVersion")?.ok()?;
    u32::try_from(version).ok().filter(|version| *version > 0)
}

/// The error with which the runtime counts GPUs; none if it counts some, or if there is no runtime to be asked.
pub fn runtime_error() -> Option<CudaError> {
    let code = one_number(libc::RTLD_DEFAULT, c"cudaGetDeviceCount")?.err()?;
    let words = |name: &CStr| {
        let function = symbol(libc::RTLD_DEFAULT, name)?;
        // SAFETY: CUDA's runtime declares both functions as `const char* f(cudaError_t)`.
        let function: unsafe extern "C" fn(c_int) -> *const c_char = unsafe { std::mem::transmute(function) };
        // SAFETY: the runtime returns a text of its own for any number.
        let text = unsafe { function(code) };
        // SAFETY: the text ends with NUL and lives for ever.
        (!text.is_null()).then(|| unsafe { CStr::from_ptr(text) }.to_string_lossy().into_owned())
    };
    let name = words(c"cudaGetErrorName").unwrap_or_default();
    let text = words(c"cudaGetErrorString").unwrap_or_default();
    Some(CudaError { code, words: format!("{name}: {text}") })
}

/// The compute capability of GPU `index` as libtorch counts it, e.g. (8, 0) of an A100; none where the runtime does not
/// say.
pub fn compute_capability(index: usize) -> Option<(c_int, c_int)> {
    /// The runtime's cudaDevAttrComputeCapabilityMajor and cudaDevAttrComputeCapabilityMinor.
    const ATTRIBUTES: [c_int; 2] = [75, 76];
    let function = symbol(libc::RTLD_DEFAULT, c"cudaDeviceGetAttribute")?;
    // SAFETY: CUDA's runtime declares it as `cudaError_t f(int*, cudaDeviceAttr, int)`.
    let function: unsafe extern "C" fn(*mut c_int, c_int, c_int) -> c_int = unsafe { std::mem::transmute(function) };
    let [major, minor] = ATTRIBUTES.map(|attribute| {
        let mut number = 0;
        // SAFETY: the call writes one number.
        let code = unsafe { function(&mut number, attribute, c_int::try_from(index).ok()?) };
        (code == 0).then_some(number)
    });
    major.zip(minor)
}

/// `cuInit(0)`'s answer.
fn initialise(library: *mut c_void) -> Option<c_int> {
    let function = symbol(library, c"cuInit")?;
    // SAFETY: CUDA's driver declares it as `CUresult cuInit(unsigned)`.
    let function: unsafe extern "C" fn(c_uint) -> c_int = unsafe { std::mem::transmute(function) };
    // SAFETY: it may be called at any time, and more than once.
    Some(unsafe { function(0) })
}

/// The number that a function `int f(int*)` of CUDA's writes, or the error that it returns.
fn one_number(library: *mut c_void, name: &CStr) -> Option<Result<c_int, c_int>> {
    let function = symbol(library, name)?;
    // SAFETY: as CUDA declares the functions that are asked for here.
    let function: unsafe extern "C" fn(*mut c_int) -> c_int = unsafe { std::mem::transmute(function) };
    let mut number = 0;
    // SAFETY: the call writes one number.
    Some(match unsafe { function(&mut number) } {
        0 => Ok(number),
        code => Err(code),
    })
}

fn symbol(library: *mut c_void, name: &CStr) -> Option<*mut c_void> {
    // SAFETY: the handle is of a loaded library or means all of them, and the name ends with NUL.
    let found = unsafe { libc::dlsym(library, name.as_ptr()) };
    (!found.is_null()).then_some(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// libtorch's library for the CPU brings the runtime along, so it can be asked also where there is nothing to tell.
    #[test]
    fn the_runtime_says_why_it_counts_no_gpu() {
        match (driver(), runtime_error()) {
            (None, Some(error)) => {
                assert!(error.code != 0 && error.words.starts_with("cudaError"), "{error:?}");
            }
            (None, None) => {}
            (Some(driver), error) => assert!(driver.cuda > 10_000, "{driver:?} {error:?}"),
        }
    }
}
