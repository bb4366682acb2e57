//! Operations on GPU memory that are under way.

use std::ffi::{c_int, c_void};

use cudarc::nccl::sys::ncclRedOp_t;

use super::api::{Code, SUCCESS};
use super::communicator::Waits;
use super::driver::Event;
use super::even::Copies;
use super::joined::Nccl;
use super::run::Run;
use crate::buffer::{Buffer, BufferMut, Element, Memory};
use crate::collective::{Collective, ReduceOp};
use crate::error::{Check, CollectiveError};
use crate::heartbeat::{self, Doing};
use crate::pending::{Operation, Pending};
use crate::ring::rank_before;

/// A group of NCCL calls in the backend's stream, and the copies before and after them.
///
/// The stream runs all of it when the buffers' stream has done its earlier work. The rank itself waits, by polling, and
/// does not leave that to the buffers' stream. So an operation that never ends is noticed where it is waited for, and
/// memory is not freed before its last use.
pub(super) struct Started<'a> {
    nccl: &'a Nccl,
    operation: &'static str,
    /// This rank's own work that the operation waits for.
    own_work: Event,
    done: Event,
    lengths: Option<Lengths<'a>>,
}

impl<'a> Started<'a> {
    /// Starts `calls`, between the `copies`, after the work so far of `stream`.
    ///
    /// # Errors
    /// A call that failed.
    pub fn new(
        nccl: &'a Nccl,
        operation: &'static str,
        stream: usize,
        copies: &Copies,
        calls: impl FnOnce(&Calls) -> Result<(), (&'static str, Code)>,
    ) -> Result<Self, CollectiveError> {
        let fail = |problem| nccl.communicator.fail(operation, problem);
        let own_work = nccl.stream.follow(stream).map_err(fail)?;
        copies.before(&nccl.stream).map_err(fail)?;
        nccl.communicator
            .launch(operation, |api, communicator| calls(&Calls { api, communicator, stream: nccl.stream.handle() }))?;
        copies.after(&nccl.stream).map_err(fail)?;
        let done = nccl.stream.mark().map_err(fail)?;
        Ok(Self { nccl, operation, own_work, done, lengths: None })
    }

    /// The same operation, complete only after the lengths have been compared.
    pub fn with(self, lengths: Lengths<'a>) -> Self {
        Self { lengths: Some(lengths), ..self }
    }
}

impl Operation for Started<'_> {
    fn advance(&mut self, block: bool) -> Result<bool, CollectiveError> {
        if let Some(lengths) = &mut self.lengths {
            match lengths.advance(block) {
                Ok(true) => {}
                Ok(false) => return Ok(false),
                Err(error) => {
                    self.nccl.communicator.fail(self.operation, error.to_string());
                    return Err(error);
                }
            }
        }
        let (communicator, is_over) = (&self.nccl.communicator, || self.done.is_over());
        if !block {
            return communicator.is_over(self.operation, is_over);
        }
        // Until its own GPU has come to the operation, a rank waits for nobody else.
        if !communicator.is_over(self.operation, || self.own_work.is_over())? {
            let own_work = || communicator.wait_until(self.operation, Waits::ForOwnGpu, || self.own_work.is_over());
            heartbeat::during(Doing::WaitingForGpu, own_work)?;
        }
        communicator.wait_until(self.operation, Waits::ForOthers, is_over)?;
        Ok(true)
    }

    fn settle(&mut self) {
        if let Some(lengths) = &mut self.lengths {
            lengths.settle();
        }
    }
}

/// The length that the previous rank of the ring sends. NCCL would wait for ever for missing data, and drop excess
/// data.
pub(super) struct Lengths<'a> {
    check: Check<'a>,
    expected: i64,
    from: usize,
    under_way: Option<Pending<'a>>,
    own: Box<[i64; 1]>,
    announced: Box<[i64; 1]>,
}

impl<'a> Lengths<'a> {
    /// Tells the next rank over MPI that `send` bytes will come; `expected` bytes should come from the previous one.
    ///
    /// # Errors
    /// As [`Collective::start_ring_exchange`].
    pub fn announce(nccl: &'a Nccl, check: Check<'a>, send: usize, expected: usize) -> Result<Self, CollectiveError> {
        let (own, mut announced) = (Box::new([send as i64]), Box::new([0i64]));
        // SAFETY: this operation owns the boxes, and it is forgotten, not dropped, if nobody waits for it.
        let under_way = unsafe {
            let own = Buffer::from_raw(own.as_ptr().cast(), 1, Element::I64, Memory::Host);
            let announced = BufferMut::from_raw(announced.as_mut_ptr().cast(), 1, Element::I64, Memory::Host);
            nccl.mpi.start_ring_exchange(own, announced)?
        };
        let from = rank_before(nccl.rank(), nccl.world_size());
        Ok(Self { check, expected: expected as i64, from, under_way: Some(under_way), own, announced })
    }

    /// Whether the length has come. It is an error if the length is not the expected one.
    fn advance(&mut self, block: bool) -> Result<bool, CollectiveError> {
        // It may be polled in any order but must be waited for in the order of all operations, that is, when the whole
        // one is.
        if block {
            self.under_way.take().map_or(Ok(()), Pending::wait)?;
        } else if !self.under_way.as_mut().is_none_or(Pending::poll) {
            return Ok(false);
        }
        debug_assert!(self.own[0] >= 0, "MPI left it alone");
        self.check.equal(&format!("bytes from rank {}", self.from), self.expected, self.announced[0])?;
        Ok(true)
    }

    /// The whole operation has been waited for, so the length was right.
    fn settle(&mut self) {
        if let Some(under_way) = self.under_way.take() {
            let _ = under_way.wait();
        }
    }
}

/// NCCL's operations on runs of elements, in one communicator and stream. Messages without elements are left out.
pub(super) struct Calls<'a> {
    api: &'a super::api::Api,
    communicator: cudarc::nccl::sys::ncclComm_t,
    stream: *mut c_void,
}

type Called = Result<(), (&'static str, Code)>;

fn called(call: &'static str, code: Code) -> Called {
    if code == SUCCESS || code == super::api::IN_PROGRESS { Ok(()) } else { Err((call, code)) }
}

impl Calls<'_> {
    pub fn all_reduce(&self, run: Run, op: ReduceOp) -> Called {
        let op = match op {
            ReduceOp::Sum => ncclRedOp_t::ncclSum,
            ReduceOp::Max => ncclRedOp_t::ncclMax,
            ReduceOp::Min => ncclRedOp_t::ncclMin,
        };
        let at = run.address.cast::<c_void>();
        // SAFETY: the operation's caller keeps the run, which is on this GPU, until it is over. This holds for all
        // calls here.
        let code =
            unsafe { (self.api.all_reduce)(at, at, run.len, run.kind(), op, self.communicator, self.stream.cast()) };
        called("ncclAllReduce", code)
    }

    /// Each rank's part of `whole` becomes, on that rank, the sum over all ranks. All parts are as long as `own`, which
    /// is this rank's.
    pub fn reduce_scatter(&self, whole: Run, own: Run) -> Called {
        let (from, into, sum) = (whole.address.cast(), own.address.cast(), ncclRedOp_t::ncclSum);
        // SAFETY: as above. It is in place as NCCL requires it: the own part lies at its place in the whole.
        let code = unsafe {
            let (api, stream) = (self.api, self.stream.cast());
            (api.reduce_scatter)(from, into, own.len, whole.kind(), sum, self.communicator, stream)
        };
        called("ncclReduceScatter", code)
    }

    /// Each rank's part of `whole` becomes that rank's `own`; all are of one length.
    pub fn all_gather(&self, own: Run, whole: Run) -> Called {
        let (from, into) = (own.address.cast(), whole.address.cast());
        // SAFETY: as above.
        let code =
            unsafe { (self.api.all_gather)(from, into, own.len, own.kind(), self.communicator, self.stream.cast()) };
        called("ncclAllGather", code)
    }

    /// `into` becomes `from` of rank `root`.
    pub fn broadcast(&self, from: Run, into: Run, root: usize) -> Called {
        let (from, at, len, root) = (from.address.cast(), into.address.cast(), into.len, root as c_int);
        // SAFETY: as above.
        let code =
            unsafe { (self.api.broadcast)(from, at, len, into.kind(), root, self.communicator, self.stream.cast()) };
        called("ncclBroadcast", code)
    }

    /// Sends `send` to one rank and fills `recv` from another.
    pub fn exchange(&self, send: Run, to: usize, recv: Run, from: usize) -> Called {
        let (communicator, stream) = (self.communicator, self.stream.cast());
        if send.len > 0 {
            // SAFETY: as above.
            let code = unsafe {
                (self.api.send)(send.address.cast(), send.len, send.kind(), to as c_int, communicator, stream)
            };
            called("ncclSend", code)?;
        }
        if recv.len > 0 {
            // SAFETY: as above.
            let code = unsafe {
                (self.api.recv)(recv.address.cast(), recv.len, recv.kind(), from as c_int, communicator, stream)
            };
            called("ncclRecv", code)?;
        }
        Ok(())
    }
}
