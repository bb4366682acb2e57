//! Tensors over the collectives: wraps libtorch's memory as the buffers that the cluster crate knows.
//!
//! The backends of today carry host memory, so a GPU's tensors are copied to the host and back.
//!
//! An operation under way holds its tensors. If it is dropped before it was waited for, as when an error is on its way
//! up, its host memory is never freed: MPI may still use it.

use std::mem::ManuallyDrop;

use tch::{Device, Kind, Tensor};
use tercet_cluster::{Buffer, BufferMut, Collective, CollectiveError, Element, Memory, Pending, part_counts};

fn element(tensor: &Tensor) -> Element {
    match tensor.kind() {
        Kind::Float => Element::F32,
        Kind::Double => Element::F64,
        Kind::Int64 => Element::I64,
        Kind::Uint8 => Element::U8,
        other => unreachable!("{other:?} tensors are never exchanged"),
    }
}

/// `tensor` must be contiguous and in host memory, which every caller here has made sure of, and stay until the operation
/// with the buffer is over.
fn buffer<'a>(tensor: &Tensor) -> Buffer<'a> {
    assert!(tensor.is_contiguous(), "a contiguous tensor");
    // SAFETY: a contiguous tensor's data pointer points to numel aligned elements of its kind, and the caller keeps it;
    // training is single-threaded, so nobody writes them meanwhile.
    unsafe { Buffer::from_raw(tensor.data_ptr().cast(), tensor.numel(), element(tensor), Memory::Host) }
}

fn buffer_mut<'a>(tensor: &mut Tensor) -> BufferMut<'a> {
    assert!(tensor.is_contiguous(), "a contiguous tensor");
    // SAFETY: as in `buffer`; this rank's other code leaves the tensor alone as well.
    unsafe { BufferMut::from_raw(tensor.data_ptr().cast(), tensor.numel(), element(tensor), Memory::Host) }
}

/// An operation under way and what it reads and writes on the host.
struct UnderWay<'a> {
    pending: Pending<'a>,
    host: ManuallyDrop<Vec<Tensor>>,
}

impl<'a> UnderWay<'a> {
    fn of(pending: Pending<'a>, host: Vec<Tensor>) -> Self {
        Self { pending, host: ManuallyDrop::new(host) }
    }

    fn wait(self) -> Result<Vec<Tensor>, CollectiveError> {
        self.pending.wait()?;
        Ok(ManuallyDrop::into_inner(self.host))
    }
}

/// An operation on one tensor that is under way. Until it has been waited for nobody touches the tensor's memory, not
/// through another tensor either.
///
/// Where a rank's part is spoken of, the tensor is cut as [`part_counts`] says.
pub struct InPlace<'a> {
    under_way: UnderWay<'a>,
    values: Tensor,
}

impl<'a> InPlace<'a> {
    /// Starts replacing `values` by their sum over all ranks. Every rank calls it with the same shape.
    ///
    /// # Errors
    /// As [`Collective::start_all_reduce`].
    pub fn sum(ranks: &'a dyn Collective, values: Tensor) -> Result<Self, CollectiveError> {
        // SAFETY: `start` asks no more.
        Self::start(values, |buffer| unsafe { ranks.start_all_reduce(buffer) })
    }

    /// Starts replacing this rank's part of `values` by its sum over all ranks. Every rank calls it with the same shape.
    ///
    /// # Errors
    /// As [`Collective::start_reduce_scatter`].
    pub fn sum_part(ranks: &'a dyn Collective, values: Tensor) -> Result<Self, CollectiveError> {
        let counts = part_counts(values.numel(), ranks.world_size());
        // SAFETY: `start` asks no more.
        Self::start(values, |buffer| unsafe { ranks.start_reduce_scatter(buffer, &counts) })
    }

    /// Starts replacing every other rank's part of `values` by that rank's. Every rank calls it with the same shape.
    ///
    /// # Errors
    /// As [`Collective::start_all_gather`].
    pub fn gather_parts(ranks: &'a dyn Collective, values: Tensor) -> Result<Self, CollectiveError> {
        let counts = part_counts(values.numel(), ranks.world_size());
        // SAFETY: `start` asks no more.
        Self::start(values, |buffer| unsafe { ranks.start_all_gather(buffer, &counts) })
    }

    /// The memory that `operation` is given is freed when the operation is over and not before. That nobody touches it is
    /// asked of the caller; a copy on the host is known here alone.
    fn start(
        values: Tensor,
        operation: impl FnOnce(BufferMut<'a>) -> Result<Pending<'a>, CollectiveError>,
    ) -> Result<Self, CollectiveError> {
        let mut host = values.to_device(Device::Cpu);
        let pending = operation(buffer_mut(&mut host))?;
        Ok(Self { under_way: UnderWay::of(pending, vec![host]), values })
    }

    /// Lets it move on; whether it is over.
    pub fn poll(&mut self) -> bool {
        self.under_way.pending.poll()
    }

    /// Returns when the tensor is as was asked for.
    ///
    /// # Errors
    /// As the operation that was started.
    pub fn wait(mut self) -> Result<(), CollectiveError> {
        let host = self.under_way.wait()?;
        if self.values.device() != Device::Cpu {
            self.values.copy_(&host[0]);
        }
        Ok(())
    }
}

/// A tensor that goes to the next rank while the previous rank's comes.
pub struct Passing<'a> {
    under_way: UnderWay<'a>,
    device: Device,
}

impl<'a> Passing<'a> {
    /// Starts sending `tensor` to the next rank and receiving one of the same kind and of this shape from the previous
    /// one. Every rank calls it; nobody writes to `tensor` until it has been waited for.
    ///
    /// # Errors
    /// As [`Collective::start_ring_exchange`].
    pub fn start(ranks: &'a dyn Collective, tensor: &Tensor, shape: &[i64]) -> Result<Self, CollectiveError> {
        let host = tensor.to_device(Device::Cpu).contiguous();
        let mut received = Tensor::empty(shape, (tensor.kind(), Device::Cpu));
        // SAFETY: as in `InPlace::start`; `received` is known here alone.
        let pending = unsafe { ranks.start_ring_exchange(buffer(&host), buffer_mut(&mut received)) }?;
        Ok(Self { under_way: UnderWay::of(pending, vec![host, received]), device: tensor.device() })
    }

    /// Lets it move on; whether it is over.
    pub fn poll(&mut self) -> bool {
        self.under_way.pending.poll()
    }

    /// The previous rank's tensor.
    ///
    /// # Errors
    /// As [`Collective::start_ring_exchange`].
    pub fn wait(self) -> Result<Tensor, CollectiveError> {
        Ok(self.under_way.wait()?.swap_remove(1).to_device(self.device))
    }
}

/// Sends `tensor` to the next rank and returns the previous rank's, whose shape is `shape`. Every rank calls it.
///
/// # Errors
/// As [`Collective::ring_exchange`].
pub fn ring_pass(ranks: &dyn Collective, tensor: &Tensor, shape: &[i64]) -> Result<Tensor, CollectiveError> {
    Passing::start(ranks, tensor, shape)?.wait()
}

/// Stacks the ranks' `tensor`s along the first dimension; `rows[r]` is rank r's. Every rank calls it.
///
/// # Errors
/// As [`Collective::all_gather`].
pub fn all_gather_rows(ranks: &dyn Collective, tensor: &Tensor, rows: &[usize]) -> Result<Tensor, CollectiveError> {
    let host = tensor.to_device(Device::Cpu).contiguous();
    let mut shape = host.size();
    let width: i64 = shape[1..].iter().product();
    shape[0] = rows.iter().sum::<usize>() as i64;
    let mut gathered = Tensor::empty(shape.as_slice(), (tensor.kind(), Device::Cpu));
    let counts: Vec<usize> = rows.iter().map(|n| n * width as usize).collect();
    ranks.all_gather(buffer(&host), buffer_mut(&mut gathered), &counts)?;
    Ok(gathered.to_device(tensor.device()))
}
