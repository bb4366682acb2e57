//! Tensors over the collectives: wraps libtorch's memory as the buffers that the cluster crate knows.

use tch::{Kind, Tensor};
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
    ranks.all_reduce(buffer_mut(tensor), ReduceOp::Sum)
}

/// Sends `tensor` to the next rank and returns the previous rank's, whose shape is `shape`. Every rank calls it.
///
/// # Errors
/// As [`Collective::ring_exchange`].
pub fn ring_pass(ranks: &dyn Collective, tensor: &Tensor, shape: &[i64]) -> Result<Tensor, CollectiveError> {
    let tensor = tensor.contiguous();
    let mut received = Tensor::empty(shape, (tensor.kind(), tensor.device()));
    ranks.ring_exchange(buffer(&tensor), buffer_mut(&mut received))?;
    Ok(received)
}

/// Stacks the ranks' `tensor`s along the first dimension; `rows[r]` is rank r's. Every rank calls it.
///
/// # Errors
/// As [`Collective::all_gather`].
pub fn all_gather_rows(ranks: &dyn Collective, tensor: &Tensor, rows: &[usize]) -> Result<Tensor, CollectiveError> {
    let tensor = tensor.contiguous();
    let mut shape = tensor.size();
    let width: i64 = shape[1..].iter().product();
    shape[0] = rows.iter().sum::<usize>() as i64;
    let mut gathered = Tensor::empty(shape.as_slice(), (tensor.kind(), tensor.device()));
    let counts: Vec<usize> = rows.iter().map(|n| n * width as usize).collect();
    ranks.all_gather(buffer(&tensor), buffer_mut(&mut gathered), &counts)?;
    Ok(gathered)
}
