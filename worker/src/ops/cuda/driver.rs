//! The part of CUDA's driver that kernels of our own need: loading them into a GPU and launching them.

use std::ffi::{CStr, CString, c_char, c_int, c_void};
use std::path::Path;
use std::ptr;

use super::library::{Library, functions};

type Pointer = *mut c_void;

functions!(Functions {
    cuDeviceGet(*mut c_int, c_int);
    cuDevicePrimaryCtxRetain(*mut Pointer, c_int);
    cuCtxPushCurrent_v2(Pointer);
    cuCtxPopCurrent_v2(*mut Pointer);
    cuModuleLoadData(*mut Pointer, *const c_void);
    cuModuleGetFunction(*mut Pointer, Pointer, *const c_char);
    cuLaunchKernel(Pointer, u32, u32, u32, u32, u32, u32, u32, Pointer, *mut Pointer, *mut Pointer);
    cuGetErrorString(c_int, *mut *const c_char);
});

/// The driver, and the context on a GPU that libtorch computes in.
#[derive(Clone)]
pub struct Driver {
    functions: Functions,
    context: Pointer,
}

// SAFETY: the driver's functions may be called from any thread, and the handle is the driver's.
unsafe impl Send for Driver {}
// SAFETY: likewise.
unsafe impl Sync for Driver {}

/// A kernel in a GPU's memory.
#[derive(Debug, Clone, Copy)]
pub struct Function(Pointer);

// SAFETY: the handle is the driver's, and nothing here follows it.
unsafe impl Send for Function {}
// SAFETY: likewise.
unsafe impl Sync for Function {}

impl Driver {
    /// The driver of GPU `index` as libtorch counts it, which libtorch has initialised.
    ///
    /// # Errors
    /// There is none, or it says so.
    pub fn of_gpu(index: usize) -> Result<Self, String> {
        // SAFETY: what has loaded functions of these names has CUDA's driver.
        let functions = unsafe { Functions::of(Library::PROCESS) }.or_else(|_| {
            // SAFETY: this is the driver's library, which is made to be loaded.
            let library = unsafe { Library::open(Path::new("libcuda.so.1")) };
            let library = library.ok_or_else(|| "no NVIDIA driver: libcuda.so.1 is not found".to_owned())?;
            // SAFETY: likewise.
            unsafe { Functions::of(library) }.map_err(|name| format!("libcuda.so.1 has no {name}"))
        })?;
        Self::with(functions, index)
    }

    fn with(functions: Functions, index: usize) -> Result<Self, String> {
        let (mut device, mut context) = (0, ptr::null_mut());
        let ordinal = c_int::try_from(index).map_err(|e| e.to_string())?;
        let driver = Self { functions, context };
        // SAFETY: each call writes one number or handle.
        unsafe {
            driver.check("cuDeviceGet", (functions.cuDeviceGet)(&mut device, ordinal))?;
            // The primary context is the one that CUDA's runtime uses, and so libtorch. It is kept until the end.
            let retained = (functions.cuDevicePrimaryCtxRetain)(&mut context, device);
            driver.check("cuDevicePrimaryCtxRetain", retained)?;
        }
        Ok(Self { functions, context })
    }

    /// Loads kernels, and looks up `names` among them. They stay loaded.
    ///
    /// # Errors
    /// The driver's: they are for another card, say, or one of them is missing.
    ///
    /// # Safety
    /// `image` is a whole cubin.
    pub unsafe fn load(&self, image: &[u8], names: &[String]) -> Result<Vec<Function>, String> {
        self.within(|| {
            let mut module = ptr::null_mut();
            // SAFETY: the image is whole, as promised, so the driver finds its end; it writes one handle.
            let loaded = unsafe { (self.functions.cuModuleLoadData)(&mut module, image.as_ptr().cast()) };
            self.check("cuModuleLoadData", loaded)?;
            let function = |name: &String| {
                let (mut function, text) = (ptr::null_mut(), CString::new(name.as_str()).map_err(|e| e.to_string())?);
                // SAFETY: the module is loaded, and the call writes one handle.
                let found = unsafe { (self.functions.cuModuleGetFunction)(&mut function, module, text.as_ptr()) };
                self.check(&format!("cuModuleGetFunction of {name}"), found)?;
                Ok(Function(function))
            };
            names.iter().map(function).collect()
        })
    }

    /// Has the GPU run a kernel behind what its stream, by its address, was asked to do so far.
    ///
    /// # Errors
    /// The driver's; of earlier work, too.
    ///
    /// # Safety
    /// Each of `arguments` points to what the kernel's text declares there, and the kernel stays within the memory that
    /// it is given.
    pub unsafe fn launch(
        &self,
        function: Function,
        grid: [u32; 2],
        num_threads: u32,
        stream: usize,
        arguments: &mut [Pointer],
    ) -> Result<(), String> {
        self.within(|| {
            // SAFETY: as promised to this function; the function and the stream are of the context that is current.
            let launched = unsafe {
                (self.functions.cuLaunchKernel)(
                    function.0,
                    grid[0],
                    grid[1],
                    1,
                    num_threads,
                    1,
                    1,
                    0,
                    stream as Pointer,
                    arguments.as_mut_ptr(),
                    ptr::null_mut(),
                )
            };
            self.check("cuLaunchKernel", launched)
        })
    }

    /// Does `work` with the GPU's context as the thread's current one, and puts back the one that was.
    fn within<T>(&self, work: impl FnOnce() -> Result<T, String>) -> Result<T, String> {
        // SAFETY: the context is retained.
        self.check("cuCtxPushCurrent", unsafe { (self.functions.cuCtxPushCurrent_v2)(self.context) })?;
        let done = work();
        let mut popped = ptr::null_mut();
        // SAFETY: the call writes one handle.
        self.check("cuCtxPopCurrent", unsafe { (self.functions.cuCtxPopCurrent_v2)(&mut popped) })?;
        done
    }

    /// An error in CUDA's words, after which messages about failures are sorted.
    fn check(&self, call: &str, code: c_int) -> Result<(), String> {
        if code == 0 {
            return Ok(());
        }
        let mut words = ptr::null();
        // SAFETY: the driver leaves `words` null or points it to a text of its own.
        let words = unsafe {
            (self.functions.cuGetErrorString)(code, &mut words);
            if words.is_null() { "unknown error".into() } else { CStr::from_ptr(words).to_string_lossy().into_owned() }
        };
        Err(format!("CUDA error: {words} ({call}: {code})"))
    }
}

#[cfg(test)]
impl Driver {
    /// A driver that a test has built.
    pub fn of_library(library: &Path) -> Self {
        // SAFETY: the test has built the library, with functions like the driver's.
        let functions = unsafe { Functions::of(Library::open(library).unwrap()) };
        Self::with(functions.unwrap(), 0).unwrap()
    }
}
