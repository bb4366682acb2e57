//! The functions of NCCL that are called, by address.
//!
//! The types are cudarc's. Its loader is not used: it looks for `libnccl.so`, which only development packages have,
//! searches only the linker's paths, and panics if it finds none. Results are plain numbers here, since a library newer
//! than the binding may return some that the binding's enum does not have.

use std::ffi::{c_char, c_int, c_void};

use cudarc::nccl::sys::{cudaStream_t, ncclComm_t, ncclConfig_t, ncclDataType_t, ncclRedOp_t, ncclUniqueId};

/// The result of a call: `ncclResult_t`.
pub(super) type Code = c_int;

/// All is well.
pub(super) const SUCCESS: Code = 0;
/// A non-blocking communicator is still working.
pub(super) const IN_PROGRESS: Code = 7;

macro_rules! api {
    ($($name:ident = $symbol:literal: fn($($argument:ty),*) -> $result:ty;)*) => {
        /// Addresses that stay valid: the library is never unloaded, because it has threads of its own.
        pub(super) struct Api {
            $(pub $name: unsafe extern "C" fn($($argument),*) -> $result,)*
        }

        impl Api {
            /// Takes the functions from `library`.
            ///
            /// # Errors
            /// The first function that it does not have.
            pub fn of(library: libloading::Library) -> Result<Self, libloading::Error> {
                // SAFETY: the signatures are those of nccl.h and have not changed since the functions exist.
                let api = unsafe { Self { $($name: *library.get($symbol)?,)* } };
                std::mem::forget(library);
                Ok(api)
            }
        }
    };
}

api! {
    get_version = b"ncclGetVersion": fn(*mut c_int) -> Code;
    get_unique_id = b"ncclGetUniqueId": fn(*mut ncclUniqueId) -> Code;
    get_error_string = b"ncclGetErrorString": fn(Code) -> *const c_char;
    get_last_error = b"ncclGetLastError": fn(ncclComm_t) -> *const c_char;
    comm_init_rank_config = b"ncclCommInitRankConfig": fn(*mut ncclComm_t, c_int, ncclUniqueId, c_int, *mut ncclConfig_t) -> Code;
    comm_get_async_error = b"ncclCommGetAsyncError": fn(ncclComm_t, *mut Code) -> Code;
    comm_finalize = b"ncclCommFinalize": fn(ncclComm_t) -> Code;
    comm_destroy = b"ncclCommDestroy": fn(ncclComm_t) -> Code;
    comm_abort = b"ncclCommAbort": fn(ncclComm_t) -> Code;
    group_start = b"ncclGroupStart": fn() -> Code;
    group_end = b"ncclGroupEnd": fn() -> Code;
    all_reduce = b"ncclAllReduce": fn(*const c_void, *mut c_void, usize, ncclDataType_t, ncclRedOp_t, ncclComm_t, cudaStream_t) -> Code;
    reduce_scatter = b"ncclReduceScatter": fn(*const c_void, *mut c_void, usize, ncclDataType_t, ncclRedOp_t, ncclComm_t, cudaStream_t) -> Code;
    all_gather = b"ncclAllGather": fn(*const c_void, *mut c_void, usize, ncclDataType_t, ncclComm_t, cudaStream_t) -> Code;
    broadcast = b"ncclBroadcast": fn(*const c_void, *mut c_void, usize, ncclDataType_t, c_int, ncclComm_t, cudaStream_t) -> Code;
    send = b"ncclSend": fn(*const c_void, usize, ncclDataType_t, c_int, ncclComm_t, cudaStream_t) -> Code;
    recv = b"ncclRecv": fn(*mut c_void, usize, ncclDataType_t, c_int, ncclComm_t, cudaStream_t) -> Code;
}
