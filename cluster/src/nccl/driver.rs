//! The part of CUDA's driver that a backend needs: its GPU, a stream, events, memory of its own, and whose memory an
//! address is.
//!
//! It uses cudarc's binding, which loads `libcuda.so.1` at the first call.

use std::ffi::{CStr, c_int, c_void};
use std::ptr;

use cudarc::driver::sys::{self, CUcontext, CUdeviceptr, CUevent, CUresult, CUstream};

/// An error in the driver's words, after the name of the call.
fn check(call: &str, result: CUresult) -> Result<(), String> {
    if result == CUresult::CUDA_SUCCESS {
        return Ok(());
    }
    let mut words = ptr::null();
    // SAFETY: the driver leaves `words` null or points it to a text of its own.
    let words = unsafe {
        sys::cuGetErrorString(result, &mut words);
        if words.is_null() { "unknown".into() } else { CStr::from_ptr(words).to_string_lossy().into_owned() }
    };
    Err(format!("CUDA's driver: {call}: {words} ({result:?})"))
}

macro_rules! call {
    ($function:ident($($argument:expr),*)) => {
        check(stringify!($function), sys::$function($($argument),*))
    };
}

/// The GPU of this rank.
pub(super) struct Device {
    pub ordinal: c_int,
    pub name: String,
    /// Tells GPUs of all machines apart.
    pub uuid: [u8; 16],
    context: CUcontext,
}

impl Device {
    /// The GPU of the rank with this number among its machine's ranks. Its primary context, which libtorch uses as
    /// well, becomes this thread's current context.
    ///
    /// If a rank sees fewer GPUs than its machine has ranks, the launcher gave it its own (CUDA_VISIBLE_DEVICES).
    pub fn of_rank(local_rank: usize) -> Result<Self, String> {
        // SAFETY: this loads the driver's library, which is made to be loaded.
        if !unsafe { sys::is_culib_present() } {
            return Err("no NVIDIA driver here: libcuda.so.1 is not found".into());
        }
        let (mut count, mut device, mut context) = (0, 0, ptr::null_mut());
        let mut name = [0; 256];
        let mut uuid = sys::CUuuid { bytes: [0; 16] };
        // SAFETY: every call writes only what it has room for.
        unsafe {
            call!(cuInit(0))?;
            call!(cuDeviceGetCount(&mut count))?;
            if count == 0 {
                return Err("CUDA's driver sees no GPU (CUDA_VISIBLE_DEVICES?)".into());
            }
            let ordinal = (local_rank % count as usize) as c_int;
            call!(cuDeviceGet(&mut device, ordinal))?;
            call!(cuDeviceGetName(name.as_mut_ptr(), name.len() as c_int - 1, device))?;
            call!(cuDeviceGetUuid_v2(&mut uuid, device))?;
            call!(cuDevicePrimaryCtxRetain(&mut context, device))?;
            call!(cuCtxSetCurrent(context))?;
            let name = CStr::from_ptr(name.as_ptr()).to_string_lossy().into_owned();
            Ok(Self { ordinal, name, uuid: uuid.bytes.map(|byte| byte as u8), context })
        }
    }

    /// Whether `address` is memory of a GPU.
    pub fn has(&self, address: *const u8) -> bool {
        let mut kind = 0u32;
        let attribute = sys::CUpointer_attribute::CU_POINTER_ATTRIBUTE_MEMORY_TYPE;
        // SAFETY: the attribute is one unsigned number; the address is not followed.
        let result = unsafe { sys::cuPointerGetAttribute((&raw mut kind).cast::<c_void>(), attribute, address as u64) };
        result == CUresult::CUDA_SUCCESS && kind == sys::CUmemorytype::CU_MEMORYTYPE_DEVICE as u32
    }

    /// A stream that does not wait for the default one.
    pub fn stream(&self) -> Result<Stream, String> {
        let mut stream = ptr::null_mut();
        // SAFETY: the context is this thread's, and the call writes one handle.
        unsafe {
            call!(cuCtxSetCurrent(self.context))?;
            call!(cuStreamCreate(&mut stream, sys::CUstream_flags::CU_STREAM_NON_BLOCKING as u32))?;
        }
        Ok(Stream(stream))
    }

    /// Memory of this GPU, with any content.
    pub fn allocate(&self, bytes: usize) -> Result<DeviceMemory, String> {
        let mut address = 0;
        // SAFETY: the context is this thread's, and the call writes one address.
        unsafe {
            call!(cuCtxSetCurrent(self.context))?;
            call!(cuMemAlloc_v2(&mut address, bytes))?;
        }
        Ok(DeviceMemory { address, bytes })
    }
}

/// Memory that belongs to this backend.
pub(super) struct DeviceMemory {
    address: CUdeviceptr,
    bytes: usize,
}

impl DeviceMemory {
    /// Where it begins.
    pub fn address(&self) -> *mut u8 {
        self.address as *mut u8
    }

    /// Its size.
    pub fn bytes(&self) -> usize {
        self.bytes
    }
}

impl Drop for DeviceMemory {
    fn drop(&mut self) {
        // SAFETY: this value owns the memory; its owner drops it after the streams that work on it.
        let _ = unsafe { sys::cuMemFree_v2(self.address) };
    }
}

/// A stream of this backend.
pub(super) struct Stream(CUstream);

impl Stream {
    /// The handle, for NCCL.
    pub fn handle(&self) -> *mut c_void {
        self.0.cast()
    }

    /// Makes later work of this stream wait for the work so far of `other`, a stream's address. Returns an event that
    /// happens when that is done.
    pub fn follow(&self, other: usize) -> Result<Event, String> {
        let asked = Event::on(other as CUstream)?;
        // SAFETY: both handles are live.
        unsafe { call!(cuStreamWaitEvent(self.0, asked.0, 0))? };
        Ok(asked)
    }

    /// Copies `bytes` within the GPU's memory, after all work so far of this stream.
    ///
    /// # Safety
    /// Both runs are memory of this GPU that stays until an event behind this has happened, and nothing else uses them
    /// meanwhile.
    pub unsafe fn copy(&self, from: *const u8, into: *mut u8, bytes: usize) -> Result<(), String> {
        // SAFETY: as promised to this function.
        unsafe { call!(cuMemcpyDtoDAsync_v2(into as CUdeviceptr, from as CUdeviceptr, bytes, self.0)) }
    }

    /// An event that happens when all work so far of this stream is done.
    pub fn mark(&self) -> Result<Event, String> {
        Event::on(self.0)
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        // SAFETY: this value owns the handle and does not use it again. The call does not wait: work that is under way
        // goes on, and the driver frees the stream's resources when it is done.
        let _ = unsafe { sys::cuStreamDestroy_v2(self.0) };
    }
}

/// A moment in a stream.
pub(super) struct Event(CUevent);

impl Event {
    fn on(stream: CUstream) -> Result<Self, String> {
        let mut event = ptr::null_mut();
        // SAFETY: the call writes one handle.
        unsafe { call!(cuEventCreate(&mut event, sys::CUevent_flags::CU_EVENT_DISABLE_TIMING as u32))? };
        let event = Self(event);
        // SAFETY: the event is live, and so is the stream, whose owner is the caller.
        unsafe { call!(cuEventRecord(event.0, stream))? };
        Ok(event)
    }

    /// Whether it has happened.
    pub fn is_over(&self) -> Result<bool, String> {
        // SAFETY: the handle is live.
        match unsafe { sys::cuEventQuery(self.0) } {
            CUresult::CUDA_ERROR_NOT_READY => Ok(false),
            result => check("cuEventQuery", result).map(|()| true),
        }
    }
}

impl Drop for Event {
    fn drop(&mut self) {
        // SAFETY: this value owns the handle; the driver frees the event after it has happened.
        let _ = unsafe { sys::cuEventDestroy_v2(self.0) };
    }
}
