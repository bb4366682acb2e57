//! Tensors over the collectives: wraps libtorch's memory as the buffers that the cluster crate knows.
//!
//! The backends of today carry host memory, so a GPU's tensors are copied to the host and back.

use tch::{Device, Kind, Tensor};
use tercet_cluster::{Buffer, BufferMut, Collective, CollectiveError, Element, Memory, ReduceOp};

fn element(tensor: &Tensor) -> Element {
    match tensor.kind() {
        Kind::Float => Element::F32,
        Kind::Double => Element::F64,
        Kind::Int64 => Element::I64,
        other => unreachable!("{other:?} tensors are never exchanged"),
    }
}

/// `tensor` must be contiguous and in host memory, which every caller here has made sure of.
fn buffer(tensor: &Tensor) -> Buffer<'_> {
    assert!(tensor.is_contiguous(), "a contiguous tensor");
    // SAFETY: a contiguous tensor's data pointer points to numel aligned elements of its kind, which live as long as
    // the tensor is borrowed; training is single-threaded, so nobody writes them meanwhile.
    unsafe { Buffer::from_raw(tensor.data_ptr().cast(), tensor.numel(), element(tensor), Memory::Host) }
}

fn buffer_mut(tensor: &mut Tensor) -> BufferMut<'_> {
    assert!(tensor.is_contiguous(), "a contiguous tensor");
    // SAFETY: as in `buffer`; the exclusive borrow keeps this rank's other code from the tensor.
    unsafe { BufferMut::from_raw(tensor.data_ptr().cast(), tensor.numel(), element(tensor), Memory::Host) }
}

/// Sums `tensor` over all ranks in place. Every rank calls it with the same shape.
///
/// # Errors
/// As [`Collective::all_reduce`].
pub fn all_reduce_sum(ranks: &dyn Collective, tensor: &mut Tensor) -> Result<(), CollectiveError> {
    if tensor.device() == Device::Cpu {
        return ranks.all_reduce(buffer_mut(tensor), ReduceOp::Sum);
    }
    let mut host = tensor.to_device(Device::Cpu);
    ranks.all_reduce(buffer_mut(&mut host), ReduceOp::Sum)?;
    tensor.copy_(&host);
    Ok(())
}

/// Sends `tensor` to the next rank and returns the previous rank's, whose shape is `shape`. Every rank calls it.
///
/// # Errors
/// As [`Collective::ring_exchange`].
pub fn ring_pass(ranks: &dyn Collective, tensor: &Tensor, shape: &[i64]) -> Result<Tensor, CollectiveError> {
    let host = tensor.to_device(Device::Cpu).contiguous();
    let mut received = Tensor::empty(shape, (tensor.kind(), Device::Cpu));
    ranks.ring_exchange(buffer(&host), buffer_mut(&mut received))?;
    Ok(received.to_device(tensor.device()))
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
