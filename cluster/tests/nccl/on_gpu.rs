//! Values in GPU memory, through the driver.

use std::marker::PhantomData;

use cudarc::driver::sys::{self, CUresult};
use tercet_cluster::{Buffer, BufferMut, Memory, Scalar};

/// The default stream.
const MEMORY: Memory = Memory::Device { stream: 0 };

/// A run of values on the current GPU.
pub struct OnGpu<T> {
    address: u64,
    len: usize,
    values: PhantomData<T>,
}

impl<T: Scalar> OnGpu<T> {
    pub fn of(values: &[T]) -> Self {
        let mut address = 0;
        // SAFETY: the allocation is as long as what is copied into it.
        unsafe {
            assert_eq!(sys::cuMemAlloc_v2(&mut address, size_of_val(values).max(1)), CUresult::CUDA_SUCCESS);
            let copied = sys::cuMemcpyHtoD_v2(address, values.as_ptr().cast(), size_of_val(values));
            assert_eq!(copied, CUresult::CUDA_SUCCESS);
        }
        Self { address, len: values.len(), values: PhantomData }
    }

    pub fn values(&self) -> Vec<T> {
        let mut values = Vec::<T>::with_capacity(self.len);
        // SAFETY: there is room for all values, and any bytes are valid numbers.
        unsafe {
            let copied = sys::cuMemcpyDtoH_v2(values.as_mut_ptr().cast(), self.address, self.len * size_of::<T>());
            assert_eq!(copied, CUresult::CUDA_SUCCESS);
            values.set_len(self.len);
        }
        values
    }

    pub fn address_mut(&self) -> *mut u8 {
        self.address as *mut u8
    }

    pub fn buffer<'a>(&self) -> Buffer<'a> {
        // SAFETY: the tests keep the values until they have waited for the operation.
        unsafe { Buffer::from_raw(self.address as *const u8, self.len, T::ELEMENT, MEMORY) }
    }

    pub fn buffer_mut<'a>(&self) -> BufferMut<'a> {
        // SAFETY: as above, and nothing else uses them.
        unsafe { BufferMut::from_raw(self.address_mut(), self.len, T::ELEMENT, MEMORY) }
    }
}

impl<T> Drop for OnGpu<T> {
    fn drop(&mut self) {
        // SAFETY: this value owns the allocation.
        unsafe { sys::cuMemFree_v2(self.address) };
    }
}
