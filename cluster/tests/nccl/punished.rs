//! Calls the stand-in as the backend never would: each mistake is an error with a message.

use std::ffi::{CStr, c_char, c_int, c_void};
use std::path::Path;
use std::ptr::{null, null_mut};

use cudarc::driver::sys;
use libloading::Library;

use crate::on_gpu::OnGpu;

const FLOAT32: c_int = 7;
const INVALID_ARGUMENT: c_int = 4;
const INVALID_USAGE: c_int = 5;
const IN_PROGRESS: c_int = 7;

type Comm = *mut c_void;

/// The first fields of NCCL's settings.
#[repr(C)]
struct Config {
    size: usize,
    magic: u32,
    version: u32,
    blocking: c_int,
}

struct StandIn(Library);

/// Calls a function of the stand-in with these arguments.
macro_rules! call {
    ($library:expr, $name:literal, $($argument:expr => $kind:ty),*) => {{
        // SAFETY: the signature is that of nccl.h, and the pointers' targets outlive the call.
        unsafe {
            let function: libloading::Symbol<unsafe extern "C" fn($($kind),*) -> c_int> = $library.0.get($name).unwrap();
            function($($argument),*)
        }
    }};
}

impl StandIn {
    /// A ready communicator of one rank, and its stream.
    fn communicator(&self) -> (Comm, *mut c_void) {
        let (mut context, mut stream, mut comm) = (null_mut(), null_mut(), null_mut());
        // SAFETY: the stand-in's GPU 0 exists.
        unsafe {
            sys::cuInit(0);
            sys::cuDevicePrimaryCtxRetain(&mut context, 0);
            sys::cuCtxSetCurrent(context);
            sys::cuStreamCreate(&mut stream, 1);
        }
        let mut id = [0u8; 128];
        call!(self, b"ncclGetUniqueId", id.as_mut_ptr() => *mut u8);
        let config = Config { size: size_of::<Config>(), magic: 0xcafe_beef, version: 21700, blocking: 0 };
        let begun = call!(self, b"ncclCommInitRankConfig", &mut comm => *mut Comm, 1 => c_int, id => [u8; 128],
            0 => c_int, &config => *const Config);
        assert_eq!(begun, IN_PROGRESS);
        assert_eq!(self.settled(comm), 0);
        (comm, stream.cast())
    }

    /// Waits until the communicator is settled, and returns its state.
    fn settled(&self, comm: Comm) -> c_int {
        loop {
            let mut state = 0;
            let code = call!(self, b"ncclCommGetAsyncError", comm => Comm, &mut state => *mut c_int);
            match (code, state) {
                (0, IN_PROGRESS) => std::thread::yield_now(),
                (0, state) => return state,
                (code, _) => return code,
            }
        }
    }

    fn all_reduce(&self, values: &OnGpu<f32>, comm: Comm, stream: *mut c_void) -> c_int {
        let at = values.address_mut();
        call!(self, b"ncclAllReduce", at => *const u8, at => *mut u8, 3 => usize, FLOAT32 => c_int, 0 => c_int,
            comm => Comm, stream => *mut c_void)
    }

    fn said(&self, words: &str) {
        // SAFETY: the function returns a text that the library owns.
        let said = unsafe {
            let last_error: libloading::Symbol<unsafe extern "C" fn(Comm) -> *const c_char> =
                self.0.get(b"ncclGetLastError").unwrap();
            CStr::from_ptr(last_error(null_mut())).to_string_lossy().into_owned()
        };
        assert!(said.contains(words), "{said:?} is not {words:?}");
    }
}

pub fn run() {
    let file = Path::new(&std::env::var("NCCL_HOME").unwrap()).join("lib/libnccl.so.2");
    // SAFETY: the stand-in has no initialisers.
    let library = StandIn(unsafe { Library::new(file) }.unwrap());

    assert_eq!(call!(library, b"ncclGroupEnd",), INVALID_USAGE);
    library.said("closed that was not opened");

    let (comm, stream) = library.communicator();
    let values = OnGpu::of(&[1.0f32, 2.0, 3.0]);
    assert_eq!(library.all_reduce(&values, comm, stream), IN_PROGRESS);
    assert_eq!(library.all_reduce(&values, comm, stream), INVALID_USAGE);
    library.said("a call before the last one was found to be over");

    let (comm, stream) = library.communicator();
    call!(library, b"ncclGroupStart",);
    assert_eq!(library.all_reduce(&values, comm, stream), 0);
    assert_eq!(library.settled(comm), INVALID_USAGE);
    library.said("a group was opened and not closed");
    call!(library, b"ncclGroupEnd",);

    let (comm, stream) = library.communicator();
    let at = values.address_mut();
    let sent = call!(library, b"ncclSend", at => *const u8, 3 => usize, FLOAT32 => c_int, 0 => c_int, comm => Comm,
        stream => *mut c_void);
    assert_eq!((sent, library.settled(comm)), (IN_PROGRESS, 0));
    assert_eq!(library.all_reduce(&values, comm, stream), IN_PROGRESS);
    while library.settled(comm) == 0 {}
    library.said("a message of rank 0 was never received");

    assert_eq!(call!(library, b"ncclCommAbort", comm => Comm), 0);
    assert_eq!(library.all_reduce(&values, comm, stream), INVALID_USAGE);
    library.said("used after its abort");
    assert_eq!(call!(library, b"ncclCommAbort", comm => Comm), INVALID_USAGE);

    let (comm, _) = library.communicator();
    let no_stream = library.all_reduce(&values, comm, null_mut());
    let no_memory = call!(library, b"ncclSend", null::<u8>() => *const u8, 3 => usize, 99 => c_int, 0 => c_int,
        comm => Comm, null_mut() => *mut c_void);
    assert_eq!([no_stream, no_memory], [INVALID_ARGUMENT; 2]);
}
