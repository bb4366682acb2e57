//! Tensors over the collectives: wraps libtorch's memory as the buffers that the cluster crate knows.
//!
//! A backend that carries the memory of GPUs is handed their tensors as they are; for the others they are copied to the
//! host and back, by way of page-locked memory that libtorch keeps for the next copy. A rank alone copies nothing.
//!
//! An operation under way holds its tensors. If it is dropped before it was waited for, as when an error is on its way
//! up, their memory is never freed: the backend may still use it.

use std::mem::ManuallyDrop;

use tch::{Device, Kind, Tensor};
use tercet_cluster::{Buffer, BufferMut, Collective, CollectiveError, Element, Memory, Pending, part_counts};

use crate::tensors::libtorch::{current_stream, host_room, send};

fn element(tensor: &Tensor) -> Element {
    match tensor.kind() {
        Kind::Float => Element::F32,
        Kind::BFloat16 => Element::BF16,
        Kind::Double => Element::F64,
        Kind::Int64 => Element::I64,
        Kind::Uint8 => Element::U8,
        other => unreachable!("{other:?} tensors are never exchanged"),
    }
}

/// The memory that libtorch's tensors on `device` lie in.
fn memory_of(device: Device) -> Memory {
    if device.is_cuda() { Memory::Device { stream: current_stream(device) } } else { Memory::Host }
}

/// Whether the backend carries tensors where they are, on a GPU: then no operation takes memory for others' values.
///
/// The driver is asked about a tensor that has elements. An empty `tensor` lies nowhere, and its rank must decide as
/// the others do.
pub fn is_carried_on_device(ranks: &dyn Collective, tensor: &Tensor) -> bool {
    let knows = |sample: &Tensor| ranks.is_device_memory(sample.data_ptr().cast());
    match tensor.numel() {
        0 => knows(&Tensor::empty([1], (Kind::Uint8, tensor.device()))),
        _ => knows(tensor),
    }
}

/// `tensor` or a copy of it on the host, and the memory that the result lies in.
fn carried(ranks: &dyn Collective, tensor: &Tensor) -> (Tensor, Memory) {
    if is_carried_on_device(ranks, tensor) {
        return (tensor.shallow_clone(), Memory::Device { stream: current_stream(tensor.device()) });
    }
    if tensor.device() == Device::Cpu {
        return (tensor.shallow_clone(), Memory::Host);
    }
    let mut copy = host_room(&tensor.size(), tensor.kind());
    copy.copy_(tensor);
    (copy, Memory::Host)
}

/// Room for a tensor that will arrive and then go to `device`.
fn room(shape: &[i64], kind: Kind, memory: Memory, device: Device) -> Tensor {
    match memory {
        Memory::Host if device.is_cuda() => host_room(shape, kind),
        _ => Tensor::empty(shape, (kind, device)),
    }
}

/// The tensor that has arrived, on `device`.
fn returned(arrived: Tensor, device: Device) -> Tensor {
    if arrived.device() == device {
        return arrived;
    }
    let mut there = Tensor::empty(arrived.size(), (arrived.kind(), device));
    send(&mut there, &arrived);
    there
}

/// `tensor` must be contiguous and in `memory`, which every caller here has made sure of, and stay until the operation
/// with the buffer is over.
fn buffer<'a>(tensor: &Tensor, memory: Memory) -> Buffer<'a> {
    assert!(tensor.is_contiguous(), "a contiguous tensor");
    // SAFETY: a contiguous tensor's data pointer points to numel aligned elements of its kind, and the caller keeps it;
    // training is single-threaded, so nobody writes them meanwhile.
    unsafe { Buffer::from_raw(tensor.data_ptr().cast(), tensor.numel(), element(tensor), memory) }
}

fn buffer_mut<'a>(tensor: &mut Tensor, memory: Memory) -> BufferMut<'a> {
    assert!(tensor.is_contiguous(), "a contiguous tensor");
    // SAFETY: as in `buffer`; this rank's other code leaves the tensor alone as well.
    unsafe { BufferMut::from_raw(tensor.data_ptr().cast(), tensor.numel(), element(tensor), memory) }
}

/// An operation under way and what it reads and writes.
struct UnderWay<'a> {
    pending: Pending<'a>,
    held: ManuallyDrop<Vec<Tensor>>,
}

impl<'a> UnderWay<'a> {
    fn of(pending: Pending<'a>, held: Vec<Tensor>) -> Self {
        Self { pending, held: ManuallyDrop::new(held) }
    }

    fn wait(self) -> Result<Vec<Tensor>, CollectiveError> {
        self.pending.wait()?;
        Ok(ManuallyDrop::into_inner(self.held))
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
        Self::start(ranks, values, |buffer| unsafe { ranks.start_all_reduce(buffer) })
    }

    /// Starts replacing this rank's part of `values` by its sum over all ranks. Every rank calls it with the same
    /// shape.
    ///
    /// # Errors
    /// As [`Collective::start_reduce_scatter`].
    pub fn sum_part(ranks: &'a dyn Collective, values: Tensor) -> Result<Self, CollectiveError> {
        let counts = part_counts(values.numel(), ranks.world_size());
        // SAFETY: `start` asks no more.
        Self::start(ranks, values, |buffer| unsafe { ranks.start_reduce_scatter(buffer, &counts) })
    }

    /// Starts replacing every other rank's part of `values` by that rank's. Every rank calls it with the same shape.
    ///
    /// # Errors
    /// As [`Collective::start_all_gather`].
    pub fn gather_parts(ranks: &'a dyn Collective, values: Tensor) -> Result<Self, CollectiveError> {
        let counts = part_counts(values.numel(), ranks.world_size());
        // SAFETY: `start` asks no more.
        Self::start(ranks, values, |buffer| unsafe { ranks.start_all_gather(buffer, &counts) })
    }

    /// The memory that `operation` is given is freed when the operation is over and not before. That nobody touches it
    /// is asked of the caller; a copy on the host is known here alone.
    fn start(
        ranks: &dyn Collective,
        values: Tensor,
        operation: impl FnOnce(BufferMut<'a>) -> Result<Pending<'a>, CollectiveError>,
    ) -> Result<Self, CollectiveError> {
        // Alone there is nothing to exchange, so that any backend takes the memory of a GPU.
        let is_idle = ranks.world_size() == 1 && !is_carried_on_device(ranks, &values);
        let (mut carried, memory) = match is_idle {
            true => (values.shallow_clone(), memory_of(values.device())),
            false => carried(ranks, &values),
        };
        let pending = operation(buffer_mut(&mut carried, memory))?;
        Ok(Self { under_way: UnderWay::of(pending, vec![carried]), values })
    }

    /// Lets it move on; whether it is over.
    pub fn poll(&mut self) -> bool {
        self.under_way.pending.poll()
    }

    /// Returns when the tensor holds the operation's result.
    ///
    /// # Errors
    /// As the operation that was started.
    pub fn wait(mut self) -> Result<(), CollectiveError> {
        let carried = self.under_way.wait()?;
        if self.values.device() != carried[0].device() {
            send(&mut self.values, &carried[0]);
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
        let (sent, memory) = carried(ranks, &tensor.contiguous());
        let mut received = room(shape, tensor.kind(), memory, tensor.device());
        // SAFETY: as in `InPlace::start`; `received` is known here alone.
        let pending = unsafe { ranks.start_ring_exchange(buffer(&sent, memory), buffer_mut(&mut received, memory)) }?;
        Ok(Self { under_way: UnderWay::of(pending, vec![sent, received]), device: tensor.device() })
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
        Ok(returned(self.under_way.wait()?.swap_remove(1), self.device))
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
    if ranks.world_size() == 1 {
        return Ok(tensor.contiguous());
    }
    let (sent, memory) = carried(ranks, &tensor.contiguous());
    let mut shape = sent.size();
    let width: i64 = shape[1..].iter().product();
    shape[0] = rows.iter().sum::<usize>() as i64;
    let mut gathered = room(&shape, tensor.kind(), memory, tensor.device());
    let counts: Vec<usize> = rows.iter().map(|n| n * width as usize).collect();
    ranks.all_gather(buffer(&sent, memory), buffer_mut(&mut gathered, memory), &counts)?;
    Ok(returned(gathered, tensor.device()))
}
