//! A communicator that never keeps its rank waiting for ever.
//!
//! It is non-blocking: calls return at once, and their state is polled, with a deadline. Polling also finds errors that
//! arise after the calls: a peer that has gone or a broken network. After any failure the communicator is aborted,
//! which ends its kernels on the GPU, and every later call reports the first failure.

use std::cell::{Cell, RefCell};
use std::ffi::c_int;
use std::mem::size_of;
use std::ptr;
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use cudarc::nccl::sys::{ncclComm_t, ncclConfig_t, ncclUniqueId};

use super::api::{Api, Code, IN_PROGRESS, SUCCESS};
use super::library::Library;
use crate::error::{CollectiveError, Place};

/// The longest that aborting may take: it frees this rank's own GPU and waits for nobody.
const ABORT_WITHIN: Duration = Duration::from_secs(10);

/// The time after which a waiting rank leaves its core to others; a small operation is over sooner.
const SPIN_FOR: Duration = Duration::from_micros(200);
const NAP: Duration = Duration::from_micros(50);

/// Whom a rank waits for.
#[derive(Debug, Clone, Copy)]
pub(super) enum Waits {
    /// The other ranks, and the network between them.
    ForOthers,
    /// Its own GPU, which has not done its earlier work.
    ForOwnGpu,
}

/// One rank's end of the communicator of all ranks.
pub(super) struct Communicator {
    library: Library,
    place: Place,
    deadline: Duration,
    /// Null once aborted.
    handle: Cell<ncclComm_t>,
    /// The first failure; nothing works after it.
    failure: RefCell<Option<String>>,
}

/// A handle on its way to the thread that aborts it.
struct Aborted(ncclComm_t, unsafe extern "C" fn(ncclComm_t) -> Code);

// SAFETY: NCCL lets any thread abort a communicator, and the thread that made it has given it up.
unsafe impl Send for Aborted {}

impl Communicator {
    /// The id that rank 0 gives to all ranks before they meet.
    ///
    /// # Errors
    /// NCCL's error.
    pub fn unique_id(library: &Library) -> Result<ncclUniqueId, String> {
        let mut id = ncclUniqueId { internal: [0; 128] };
        // SAFETY: the call fills in the id.
        match unsafe { (library.api.get_unique_id)(&mut id) } {
            SUCCESS => Ok(id),
            code => Err(complaint(library, "ncclGetUniqueId", code)),
        }
    }

    /// Meets the other ranks, on this thread's GPU. Every rank calls it with the same id.
    ///
    /// # Errors
    /// NCCL's error; some ranks did not come within the deadline.
    pub fn meet(
        library: Library,
        place: &Place,
        id: ncclUniqueId,
        deadline: Duration,
    ) -> Result<Self, CollectiveError> {
        let mut config = non_blocking();
        let mut handle = ptr::null_mut();
        let (size, rank) = (place.world_size as c_int, place.rank as c_int);
        // SAFETY: the call reads the config while it lasts and writes the handle.
        let code = unsafe { (library.api.comm_init_rank_config)(&mut handle, size, id, rank, &mut config) };
        let (place, handle, failure) = (place.clone(), Cell::new(handle), RefCell::default());
        let own = Self { library, place, deadline, handle, failure };
        own.check("join", "ncclCommInitRankConfig", code)?;
        own.wait_until("join", Waits::ForOthers, || Ok(true))?;
        Ok(own)
    }

    /// The library's name, version and path.
    pub fn description(&self) -> String {
        format!("NCCL {} ({})", self.library.version, self.library.path)
    }

    /// Makes `calls`, as one group, and returns when all of them are in their stream.
    ///
    /// # Errors
    /// NCCL's error; an earlier failure; the deadline.
    pub fn launch(
        &self,
        operation: &'static str,
        calls: impl FnOnce(&Api, ncclComm_t) -> Result<(), (&'static str, Code)>,
    ) -> Result<(), CollectiveError> {
        if let Some(failure) = &*self.failure.borrow() {
            return Err(self.failed(operation, format!("NCCL was aborted after an earlier failure: {failure}")));
        }
        let api = &self.library.api;
        // SAFETY: a group may be opened at any time on the thread that closes it.
        let opened = unsafe { (api.group_start)() };
        self.check(operation, "ncclGroupStart", opened)?;
        let called = calls(api, self.handle.get());
        // SAFETY: the group is open; it is closed again whatever the calls returned.
        let closed = unsafe { (api.group_end)() };
        if let Err((call, code)) = called {
            return Err(self.fail(operation, complaint(&self.library, call, code)));
        }
        self.check(operation, "ncclGroupEnd", closed)?;
        self.wait_until(operation, Waits::ForOthers, || Ok(true))
    }

    /// Returns when NCCL has no call under way any more and `is_over` is true.
    ///
    /// # Errors
    /// An error of NCCL or of `is_over`; the deadline.
    pub fn wait_until(
        &self,
        operation: &'static str,
        waits: Waits,
        mut is_over: impl FnMut() -> Result<bool, String>,
    ) -> Result<(), CollectiveError> {
        let since = Instant::now();
        while !self.is_over(operation, &mut is_over)? {
            if since.elapsed() > self.deadline {
                let why = match waits {
                    Waits::ForOthers => "another rank has not started it, or the network between them is stuck",
                    Waits::ForOwnGpu => {
                        "this rank's own GPU has not done the work before it: it may hang (`dmesg` has \
                                         NVIDIA's Xid)"
                    }
                };
                let secs = self.deadline.as_secs_f64();
                let problem = format!("not done after {secs:.0} s, the deadline (backend_deadline_secs): {why}");
                return Err(self.fail(operation, problem));
            }
            if since.elapsed() < SPIN_FOR { thread::yield_now() } else { thread::sleep(NAP) }
        }
        Ok(())
    }

    /// Whether NCCL has no call under way any more and `is_over` is true.
    ///
    /// # Errors
    /// An error of NCCL or of `is_over`.
    pub fn is_over(
        &self,
        operation: &'static str,
        is_over: impl FnOnce() -> Result<bool, String>,
    ) -> Result<bool, CollectiveError> {
        if let Some(failure) = &*self.failure.borrow() {
            return Err(self.failed(operation, format!("NCCL was aborted: {failure}")));
        }
        let mut state = SUCCESS;
        // SAFETY: the communicator has not failed, so it is live, and the call writes one number.
        let code = unsafe { (self.library.api.comm_get_async_error)(self.handle.get(), &mut state) };
        self.check(operation, "ncclCommGetAsyncError", code)?;
        self.check(operation, "ncclCommGetAsyncError", state)?;
        let over = is_over().map_err(|problem| self.fail(operation, problem))?;
        Ok(over && state == SUCCESS)
    }

    /// Aborts the communicator and returns this rank's error.
    pub fn fail(&self, operation: &'static str, problem: String) -> CollectiveError {
        self.abort();
        self.failure.borrow_mut().get_or_insert_with(|| format!("{operation}: {problem}"));
        self.failed(operation, problem)
    }

    fn failed(&self, operation: &'static str, problem: String) -> CollectiveError {
        CollectiveError::Failed { place: self.place.clone(), operation, problem }
    }

    fn check(&self, operation: &'static str, call: &str, code: Code) -> Result<(), CollectiveError> {
        match code {
            SUCCESS | IN_PROGRESS => Ok(()),
            _ => Err(self.fail(operation, complaint(&self.library, call, code))),
        }
    }

    /// Aborts on another thread, because NCCL does not promise how long it takes; a thread that does not end is left
    /// behind.
    fn abort(&self) {
        let handle = self.handle.replace(ptr::null_mut());
        if handle.is_null() {
            return;
        }
        let aborted = Aborted(handle, self.library.api.comm_abort);
        let (done, is_done) = mpsc::channel();
        let thread = thread::Builder::new().name("nccl-abort".into()).spawn(move || {
            let Aborted(handle, abort) = { aborted };
            // SAFETY: nothing else has the handle any more.
            let code = unsafe { abort(handle) };
            let _ = done.send(code);
        });
        if thread.is_err() || is_done.recv_timeout(ABORT_WITHIN).is_err() {
            eprintln!("{}: ncclCommAbort does not return: going on without it", self.place);
        }
    }
}

impl Drop for Communicator {
    fn drop(&mut self) {
        if self.handle.get().is_null() {
            return;
        }
        // SAFETY: the communicator is live.
        let code = unsafe { (self.library.api.comm_finalize)(self.handle.get()) };
        let all_left = || self.wait_until("leave", Waits::ForOthers, || Ok(true));
        let ended = self.check("leave", "ncclCommFinalize", code).and_then(|()| all_left());
        match ended {
            // SAFETY: nothing is under way on it, and it is not used again.
            Ok(()) => _ = unsafe { (self.library.api.comm_destroy)(self.handle.get()) },
            Err(error) => eprintln!("{error}"),
        }
    }
}

/// NCCL's words for a failed call.
fn complaint(library: &Library, call: &str, code: Code) -> String {
    let (words, details) = (library.words(code), library.last_error());
    let details = if details.is_empty() { String::new() } else { format!(": {details}") };
    format!("NCCL {} failed in {call}: {words} (result {code}){details}", library.version)
}

/// Settings as `NCCL_CONFIG_INITIALIZER` makes them in their oldest layout, but with calls that do not block. A newer
/// library fills in what a shorter layout lacks.
fn non_blocking() -> ncclConfig_t {
    /// `NCCL_API_MAGIC`.
    const MAGIC: u32 = 0xcafe_beef;
    /// The version that introduced this layout.
    const LAYOUT: u32 = 21700;
    /// `NCCL_CONFIG_UNDEF_INT`.
    const UNDEFINED: c_int = c_int::MIN;
    ncclConfig_t {
        size: size_of::<ncclConfig_t>(),
        magic: MAGIC,
        version: LAYOUT,
        blocking: 0,
        cgaClusterSize: UNDEFINED,
        minCTAs: UNDEFINED,
        maxCTAs: UNDEFINED,
        netName: ptr::null(),
        splitShare: UNDEFINED,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// NVIDIA's library, not the stand-in, is loaded, its version is read, and it reports that there is no driver.
    #[test]
    fn the_real_library_is_read_and_its_refusal_without_a_driver_arrives() {
        let required = std::env::var_os("TERCET_TEST_NCCL").is_some();
        let library = match Library::find() {
            Ok(library) => library,
            Err(why) if required => panic!("{why}"),
            Err(_) => {
                return eprintln!("SKIPPED: there is no libnccl.so.2 here; `make test-nccl` fetches it and runs this");
            }
        };
        println!("NCCL {} ({})", library.version, library.path);
        if std::path::Path::new("/proc/driver/nvidia/version").exists() {
            return eprintln!("SKIPPED: there is a driver here, which refuses nothing");
        }
        let id = ncclUniqueId { internal: [0; 128] };
        let id = Communicator::unique_id(&library).unwrap_or(id);
        let place = Place { rank: 0, world_size: 1, host: "gpu07".into() };
        let error = Communicator::meet(library, &place, id, Duration::from_secs(60)).err().unwrap().to_string();
        println!("{error}");
        assert!(error.starts_with("rank 0/1 gpu07: join: NCCL 2."), "{error}");
        assert!(error.contains("unhandled cuda error") && error.contains("driver"), "{error}");
    }
}
