//! Typed raw memory, which collectives read and write.
//!
//! A buffer is made safely from a slice, or with an unsafe constructor from a tensor's data pointer. It says nothing
//! about shapes: a collective sees contiguous elements.

use std::marker::PhantomData;

/// The type of a buffer's elements.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Element {
    /// 32-bit float.
    F32,
    /// 64-bit float.
    F64,
    /// The upper half of a 32-bit float. Hosts move it; devices reduce it too.
    BF16,
    /// 64-bit signed integer.
    I64,
    /// Byte.
    U8,
}

impl Element {
    /// The size of one element in bytes.
    pub fn size_bytes(self) -> usize {
        match self {
            Self::F32 => 4,
            Self::F64 | Self::I64 => 8,
            Self::BF16 => 2,
            Self::U8 => 1,
        }
    }
}

/// Where a buffer's memory lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Memory {
    /// Memory that the CPU reads and writes.
    Host,
    /// Memory of this rank's GPU, for a backend whose [`is_device_memory`](crate::Collective::is_device_memory) is
    /// true.
    Device {
        /// The address of the CUDA stream that made its contents; 0 is the default stream.
        stream: usize,
    },
}

/// A Rust type that a buffer can hold.
pub trait Scalar: Copy + private::Sealed {
    /// The element type that stands for it.
    const ELEMENT: Element;
}

mod private {
    pub trait Sealed {}
}

macro_rules! scalars {
    ($($scalar:ty => $element:ident),*) => {$(
        impl private::Sealed for $scalar {}
        impl Scalar for $scalar {
            const ELEMENT: Element = Element::$element;
        }
    )*};
}
scalars!(f32 => F32, f64 => F64, i64 => I64, u8 => U8);

const NOT_THE_HOSTS: &str = "device memory was handed to a backend that does not carry it";

/// Memory that a collective reads.
#[derive(Debug, Clone, Copy)]
pub struct Buffer<'a> {
    pointer: *const u8,
    len: usize,
    element: Element,
    memory: Memory,
    lifetime: PhantomData<&'a [u8]>,
}

/// Memory that a collective writes, or reads and writes.
#[derive(Debug)]
pub struct BufferMut<'a> {
    pointer: *mut u8,
    len: usize,
    element: Element,
    memory: Memory,
    lifetime: PhantomData<&'a mut [u8]>,
}

impl<'a> Buffer<'a> {
    /// A buffer over `len` elements at `pointer`; if `len` is 0, the pointer is ignored and may be null.
    ///
    /// # Safety
    /// For the whole of `'a`, `pointer` is aligned for `element` and points to `len` initialised, contiguous elements
    /// in `memory` that nobody writes.
    pub unsafe fn from_raw(pointer: *const u8, len: usize, element: Element, memory: Memory) -> Self {
        Self { pointer, len, element, memory, lifetime: PhantomData }
    }

    /// The number of elements, not bytes.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether it has no element.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The type of its elements.
    pub fn element(&self) -> Element {
        self.element
    }

    /// Where it lies.
    pub fn memory(&self) -> Memory {
        self.memory
    }

    /// Where it begins.
    pub(crate) fn address(&self) -> *const u8 {
        self.pointer
    }

    /// The bytes of its elements; it must lie in host memory.
    pub(crate) fn as_bytes(&self) -> &'a [u8] {
        if self.len == 0 {
            return &[];
        }
        match self.memory {
            // SAFETY: slices guarantee, and callers of `from_raw` promise, what a slice over host memory needs. Numbers
            // have no padding, and any address is aligned for bytes.
            Memory::Host => unsafe { std::slice::from_raw_parts(self.pointer, self.len * self.element.size_bytes()) },
            Memory::Device { .. } => unreachable!("{NOT_THE_HOSTS}"),
        }
    }
}

impl<'a> BufferMut<'a> {
    /// A buffer over `len` elements at `pointer`; if `len` is 0, the pointer is ignored and may be null.
    ///
    /// # Safety
    /// For the whole of `'a`, `pointer` is aligned for `element` and points to `len` initialised, contiguous elements
    /// in `memory` that nobody else reads or writes.
    pub unsafe fn from_raw(pointer: *mut u8, len: usize, element: Element, memory: Memory) -> Self {
        Self { pointer, len, element, memory, lifetime: PhantomData }
    }

    /// The number of elements, not bytes.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether it has no element.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The type of its elements.
    pub fn element(&self) -> Element {
        self.element
    }

    /// Where it lies.
    pub fn memory(&self) -> Memory {
        self.memory
    }

    /// Where it begins.
    pub(crate) fn address(&self) -> *mut u8 {
        self.pointer
    }

    /// Its elements; it must lie in host memory. The caller has matched on [`BufferMut::element`].
    pub(crate) fn into_slice<T: Scalar>(self) -> &'a mut [T] {
        assert_eq!(self.element, T::ELEMENT, "a buffer is written as what it holds");
        if self.len == 0 {
            return &mut [];
        }
        match self.memory {
            // SAFETY: slices guarantee, and callers of `from_raw` promise, what an exclusive slice over host memory
            // needs. T is the element type, and `self` is consumed, so only one slice exists.
            Memory::Host => unsafe { std::slice::from_raw_parts_mut(self.pointer.cast(), self.len) },
            Memory::Device { .. } => unreachable!("{NOT_THE_HOSTS}"),
        }
    }

    /// The bytes of its elements; it must lie in host memory.
    pub(crate) fn into_bytes(self) -> &'a mut [u8] {
        if self.len == 0 {
            return &mut [];
        }
        match self.memory {
            // SAFETY: as in `into_slice`; any bytes are a valid number, and any address is aligned for bytes.
            Memory::Host => unsafe {
                std::slice::from_raw_parts_mut(self.pointer, self.len * self.element.size_bytes())
            },
            Memory::Device { .. } => unreachable!("{NOT_THE_HOSTS}"),
        }
    }
}

impl<'a, T: Scalar> From<&'a [T]> for Buffer<'a> {
    fn from(slice: &'a [T]) -> Self {
        let (pointer, len) = (slice.as_ptr().cast(), slice.len());
        // SAFETY: a shared slice is exactly what `from_raw` requires.
        unsafe { Self::from_raw(pointer, len, T::ELEMENT, Memory::Host) }
    }
}

impl<'a, T: Scalar> From<&'a mut [T]> for BufferMut<'a> {
    fn from(slice: &'a mut [T]) -> Self {
        let (pointer, len) = (slice.as_mut_ptr().cast(), slice.len());
        // SAFETY: an exclusive slice is exactly what `from_raw` requires.
        unsafe { Self::from_raw(pointer, len, T::ELEMENT, Memory::Host) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slice_comes_back_as_itself_and_as_its_bytes() {
        let mut values = [1i64, -2];
        assert_eq!(Buffer::from(&values[..]).as_bytes(), [1i64.to_ne_bytes(), (-2i64).to_ne_bytes()].concat());
        BufferMut::from(&mut values[..]).into_slice::<i64>()[1] = 7;
        BufferMut::from(&mut values[..]).into_bytes()[..8].fill(0);
        assert_eq!(values, [0, 7]);
    }

    #[test]
    fn an_empty_tensor_has_a_null_pointer() {
        // SAFETY: without elements there is nothing to promise.
        let empty = unsafe { Buffer::from_raw(std::ptr::null(), 0, Element::F32, Memory::Host) };
        assert!(empty.as_bytes().is_empty() && empty.is_empty());
    }

    #[test]
    fn element_sizes_are_rusts() {
        assert_eq!(Element::F32.size_bytes(), size_of::<f32>());
        assert_eq!(Element::F64.size_bytes(), size_of::<f64>());
        assert_eq!(Element::I64.size_bytes(), size_of::<i64>());
        assert_eq!(Element::U8.size_bytes(), size_of::<u8>());
        assert_eq!(Element::BF16.size_bytes(), 2);
    }
}
