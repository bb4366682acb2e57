//! Tensors as plain bytes in host memory: what files hold, and what a thread without libtorch may write to them.

use std::borrow::Cow;

use safetensors::Dtype;
use tch::{Kind, Tensor};

/// A contiguous tensor's bytes.
pub struct HostTensor<'a> {
    /// float32, float64 or int64.
    pub kind: Kind,
    /// The shape.
    pub shape: Vec<usize>,
    /// The elements, in the machine's byte order.
    pub bytes: Cow<'a, [u8]>,
}

impl HostTensor<'_> {
    /// The number of elements.
    pub fn numel(&self) -> usize {
        self.shape.iter().product()
    }

    /// Whether every number is one: neither NaN nor infinite.
    pub fn is_finite(&self) -> bool {
        match self.kind {
            Kind::Float => !self.bytes.as_chunks().0.iter().any(|&number| !f32::from_ne_bytes(number).is_finite()),
            Kind::Double => !self.bytes.as_chunks().0.iter().any(|&number| !f64::from_ne_bytes(number).is_finite()),
            _ => true,
        }
    }
}

impl From<&Tensor> for HostTensor<'static> {
    fn from(tensor: &Tensor) -> Self {
        let mut bytes = vec![0u8; tensor.numel() * tensor.kind().elt_size_in_bytes()];
        tensor.copy_data_u8(&mut bytes, tensor.numel());
        Self { kind: tensor.kind(), shape: tensor.size().iter().map(|&n| n as usize).collect(), bytes: bytes.into() }
    }
}

impl safetensors::View for &HostTensor<'_> {
    fn dtype(&self) -> Dtype {
        dtype(self.kind)
    }

    fn shape(&self) -> &[usize] {
        &self.shape
    }

    fn data(&self) -> Cow<'_, [u8]> {
        Cow::Borrowed(&self.bytes)
    }

    fn data_len(&self) -> usize {
        self.bytes.len()
    }
}

/// The type of elements that are written, in files' words.
pub fn dtype(kind: Kind) -> Dtype {
    match kind {
        Kind::Float => Dtype::F32,
        Kind::Double => Dtype::F64,
        Kind::Int64 => Dtype::I64,
        other => unreachable!("{other:?} tensors are never written"),
    }
}
