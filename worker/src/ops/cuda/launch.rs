//! Launching kernels on tensors.

use std::ffi::c_void;

use tch::{Device, Kind, Tensor};

use super::{Kernels, kernels};
use crate::ops::dropout::Dropout;
use crate::tensors::libtorch::current_stream;

/// Rows whose sums one block makes; `text/common.h` has the same number.
const ROWS: i64 = 32;

/// The most threads of a block.
const MOST_THREADS: i64 = 1024;

/// Threads of a block where their number does not matter.
pub const THREADS: i64 = 256;

/// Elements that a thread takes where each is by itself; `text/elements.cu` has the same number.
const EACH: i64 = 4;

/// Dropout as kernels take it.
#[derive(Debug, Clone, Copy)]
#[repr(C)]
pub struct Draw {
    low: u32,
    high: u32,
    threshold: u32,
    scale: f32,
}

impl Draw {
    /// The masks of `dropout`.
    pub fn of(dropout: Dropout) -> Self {
        let (seed, threshold) = (dropout.seed, if dropout.is_on() { dropout.steps() as u32 } else { 0 });
        Self { low: seed as u32, high: (seed >> 32) as u32, threshold, scale: dropout.scale() }
    }
}

/// AdamW's constants as the kernel takes them.
#[derive(Debug, Clone, Copy)]
#[repr(C)]
pub struct Constants {
    /// As `text/elements.cu` names them, in its order.
    pub numbers: [f32; 7],
}

/// What a kernel is given.
#[derive(Debug, Clone, Copy)]
pub enum Argument {
    /// An address, or null.
    At(u64),
    /// A number of rows or of elements.
    Count(i64),
    /// A width, or another small number.
    Width(i32),
    /// A number.
    Number(f32),
    /// Dropout.
    Draw(Draw),
    /// AdamW's constants.
    Constants(Constants),
}

impl Argument {
    fn pointer(&self) -> *mut c_void {
        let pointer: *const c_void = match self {
            Self::At(value) => (&raw const *value).cast(),
            Self::Count(value) => (&raw const *value).cast(),
            Self::Width(value) => (&raw const *value).cast(),
            Self::Number(value) => (&raw const *value).cast(),
            Self::Draw(value) => (&raw const *value).cast(),
            Self::Constants(value) => (&raw const *value).cast(),
        };
        pointer.cast_mut()
    }
}

/// Where kernels run: on a tensor's GPU, in the stream that libtorch works in.
pub struct Gpu<'a> {
    kernels: &'a Kernels,
    device: Device,
    stream: usize,
}

impl Gpu<'static> {
    /// The GPU of `x`.
    ///
    /// # Panics
    /// If there are no kernels for it.
    pub fn of(x: &Tensor) -> Self {
        let device = x.device();
        let kernels = kernels(device).expect("asked before: this device has kernels");
        Self { kernels, device, stream: current_stream(device) }
    }
}

#[cfg(test)]
impl<'a> Gpu<'a> {
    /// A test's own, on the CPU.
    pub fn made_up(kernels: &'a Kernels) -> Self {
        Self { kernels, device: Device::Cpu, stream: 0 }
    }
}

impl Gpu<'_> {
    /// Where the numbers of a contiguous tensor begin.
    ///
    /// # Panics
    /// If it lies on another device, is of another type or has not `len` numbers.
    pub fn at(&self, x: &Tensor, kind: Kind, len: i64) -> Argument {
        assert!(x.device() == self.device && x.is_contiguous(), "contiguous, on {:?}", self.device);
        assert_eq!((x.kind(), x.numel() as i64), (kind, len));
        Argument::At(x.data_ptr() as u64)
    }

    /// As [`Gpu::at`] for rows, which threads read by some columns at once.
    ///
    /// # Panics
    /// As there, or if it does not begin where that can be done.
    pub fn rows_at(&self, x: &Tensor, rows: &Rows) -> Argument {
        let begin = x.data_ptr() as usize;
        let unit = rows.columns as usize * rows.kind.elt_size_in_bytes();
        assert!(begin.is_multiple_of(unit), "rows begin at a multiple of {unit} bytes");
        self.at(x, rows.kind, rows.num_rows * rows.width)
    }

    /// Runs a kernel, behind what the stream has to do.
    ///
    /// # Panics
    /// If CUDA refuses, also because of earlier work.
    ///
    /// # Safety
    /// The arguments are those that the kernel's text declares, and their tensors have the sizes that it expects.
    pub unsafe fn launch(&self, name: &str, grid: [i64; 2], num_threads: i64, arguments: &[Argument]) {
        let function = self.kernels.functions[name];
        let mut pointers: Vec<_> = arguments.iter().map(Argument::pointer).collect();
        let grid = grid.map(|count| i32::try_from(count).expect("a grid of less than 2³¹ blocks") as u32);
        // SAFETY: the pointers are to the arguments, of which the caller says that they are right.
        let launched =
            unsafe { self.kernels.driver.launch(function, grid, num_threads as u32, self.stream, &mut pointers) };
        if let Err(error) = launched {
            panic!("{error}, the kernel {name}");
        }
    }
}

/// The shape of activations, and how blocks share them.
#[derive(Debug, Clone, Copy)]
pub struct Rows {
    /// T.
    pub num_rows: i64,
    /// d.
    pub width: i64,
    /// float32 or bfloat16.
    pub kind: Kind,
    /// Neighbouring columns that a thread takes.
    pub columns: i64,
}

impl Rows {
    /// Those of `x`, [T, d].
    pub fn of(x: &Tensor) -> Self {
        let (num_rows, width) = x.size2().expect("two dimensions");
        Self { num_rows, width, kind: x.kind(), columns: columns(width) }
    }

    /// Whether a block has a thread for all columns of a row.
    pub fn fit(width: i64) -> bool {
        width > 0 && width <= MOST_THREADS * columns(width)
    }

    /// The kernel of this type and number of columns.
    pub fn named(&self, name: &str) -> String {
        format!("{name}_{}_{}", of_kind(self.kind), self.columns)
    }

    /// Threads for all columns of a row, in whole warps.
    pub fn threads(&self) -> i64 {
        blocks(self.width / self.columns, 32) * 32
    }

    /// Blocks of rows whose sums are made together.
    pub fn blocks(&self) -> i64 {
        blocks(self.num_rows, ROWS)
    }

    /// The width as kernels take it.
    pub fn width(&self) -> Argument {
        Argument::Width(self.width as i32)
    }
}

/// Blocks of `size` that hold `count`.
pub fn blocks(count: i64, size: i64) -> i64 {
    (count + size - 1) / size
}

fn columns(width: i64) -> i64 {
    if width % 4 == 0 { 4 } else { 1 }
}

/// The grid for `count` elements, each by itself, with [`THREADS`] in a block.
pub fn grid_of_elements(count: i64) -> [i64; 2] {
    [blocks(count, THREADS * EACH), 1]
}

/// A type in the names of kernels.
pub fn of_kind(kind: Kind) -> &'static str {
    match kind {
        Kind::BFloat16 => "bf16",
        Kind::Double => "f64",
        _ => "f32",
    }
}
