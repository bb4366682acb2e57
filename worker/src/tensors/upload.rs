//! Values that the host makes for a device: gathered in one buffer, sent by one copy, and cut into tensors there.
//!
//! A copy for each tensor would be a call of the driver for each and, from memory that is not page-locked, a wait for
//! all the work that the device still has. The one copy waits for nothing: the host goes on to launch the work that
//! reads the values, and the device does that after the copy.
//!
//! Nobody here remembers which buffers are still being read. libtorch does: a copy that does not block is noted with
//! the page-locked block that it reads (`record_event` in `copy_kernel_cuda`, aten/src/ATen/native/cuda/Copy.cu), and
//! the allocator hands a block that was freed out again when an event behind its copies has passed, and not before
//! (ATen/core/CachingHostAllocator.h). Any thread may ask it.

use tch::kind::Element;
use tch::{Device, Kind, Tensor};

use crate::tensors::libtorch;

/// Every part begins at a multiple of this many bytes, as kernels that read whole words want it.
const ALIGNED_BYTES: usize = 64;

/// Values on their way to one device.
#[derive(Default)]
pub struct Upload {
    bytes: Vec<u8>,
}

/// Which of the values are one tensor's.
#[derive(Debug, Clone, Copy)]
pub struct Part {
    first_byte: usize,
    num_bytes: usize,
    kind: Kind,
}

impl Upload {
    /// Adds one tensor's values.
    pub fn add<T: Element>(&mut self, values: &[T]) -> Part {
        let first_byte = self.bytes.len().next_multiple_of(ALIGNED_BYTES);
        self.bytes.resize(first_byte, 0);
        // SAFETY: the elements of tensors are numbers, without padding, and any address is aligned for bytes.
        let bytes = unsafe { std::slice::from_raw_parts(values.as_ptr().cast::<u8>(), size_of_val(values)) };
        self.bytes.extend_from_slice(bytes);
        Part { first_byte, num_bytes: bytes.len(), kind: T::KIND }
    }

    /// Makes them ready to be sent to `device`; `parts` say which of them are what. Any thread may do it, and
    /// libtorch's threads do nothing for it.
    pub fn stage<P>(self, device: Device, parts: P) -> Staged<P> {
        let values = match device {
            Device::Cpu => Tensor::from_slice(&self.bytes),
            _ => libtorch::host_copy(&self.bytes),
        };
        Staged { values, device, parts }
    }

    /// Sends all of them.
    pub fn send(self, device: Device) -> Uploaded {
        self.stage(device, ()).send().1
    }
}

/// Values that are ready to be sent, in page-locked memory where they go to a GPU, and which of them are what.
pub struct Staged<P> {
    values: Tensor,
    device: Device,
    parts: P,
}

impl<P> Staged<P> {
    /// Sends them behind what the device was asked to do so far by the calling thread, which waits for nothing.
    pub fn send(self) -> (P, Uploaded) {
        let Self { values, device, parts } = self;
        if device == Device::Cpu {
            return (parts, Uploaded(values));
        }
        let mut there = Tensor::empty(values.size(), (Kind::Uint8, device));
        libtorch::send(&mut there, &values);
        (parts, Uploaded(there))
    }
}

/// Values that are on their device, or will be before the device comes to the work that reads them.
pub struct Uploaded(Tensor);

impl Uploaded {
    /// One tensor, in one dimension; it shares its memory with the others.
    pub fn of(&self, part: &Part) -> Tensor {
        self.0.narrow(0, part.first_byte as i64, part.num_bytes as i64).view_dtype(part.kind)
    }
}

/// `values` as a tensor in one dimension on `device`.
pub fn upload<T: Element>(values: &[T], device: Device) -> Tensor {
    let mut one = Upload::default();
    let part = one.add(values);
    one.send(device).of(&part)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_part_comes_back_as_it_was_whatever_its_type_and_length() {
        let mut all = Upload::default();
        let ids = all.add(&[5i64, -1, 7]);
        let none = all.add::<i64>(&[]);
        let flags = all.add(&[true, false, true]);
        let halves = all.add(&[0.5f32, f32::NEG_INFINITY]);
        let lengths = all.add(&[0.1f64]);
        let sent = all.send(Device::Cpu);
        assert_eq!(Vec::<i64>::try_from(sent.of(&ids)).unwrap(), [5, -1, 7]);
        assert_eq!(sent.of(&none).size(), [0]);
        assert_eq!(Vec::<bool>::try_from(sent.of(&flags)).unwrap(), [true, false, true]);
        assert_eq!(Vec::<f32>::try_from(sent.of(&halves)).unwrap(), [0.5, f32::NEG_INFINITY]);
        assert_eq!(Vec::<f64>::try_from(sent.of(&lengths)).unwrap(), [0.1]);
        assert_eq!(sent.of(&halves).data_ptr() as usize % ALIGNED_BYTES, 0);
        assert_eq!(upload::<i64>(&[], Device::Cpu).size(), [0]);
    }
}
