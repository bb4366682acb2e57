//! Runs of elements in GPU memory, as NCCL's calls name them.

use cudarc::nccl::sys::ncclDataType_t;

use crate::buffer::Element;

/// The address, number and type of elements.
#[derive(Clone, Copy)]
pub(super) struct Run {
    pub address: *mut u8,
    pub len: usize,
    pub element: Element,
}

impl Run {
    /// `len` of its elements, from `start` on.
    pub fn part(self, start: usize, len: usize) -> Self {
        Self { address: self.address.wrapping_add(start * self.element.size_bytes()), len, element: self.element }
    }

    /// The size of all of them.
    pub fn size_bytes(self) -> usize {
        self.len * self.element.size_bytes()
    }

    /// The type, as NCCL calls it.
    pub fn kind(self) -> ncclDataType_t {
        match self.element {
            Element::F32 => ncclDataType_t::ncclFloat32,
            Element::F64 => ncclDataType_t::ncclFloat64,
            Element::BF16 => ncclDataType_t::ncclBfloat16,
            Element::I64 => ncclDataType_t::ncclInt64,
            Element::U8 => ncclDataType_t::ncclUint8,
        }
    }
}
