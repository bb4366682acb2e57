//! The optimizer's moments in a checkpoint's file, read a tensor at a time: all of them are twice the weights, and a
//! rank whose state is sharded keeps only a part.

use std::fs::File;
use std::io::Read;
use std::os::unix::fs::FileExt;
use std::path::Path;

use safetensors::tensor::{Dtype, Metadata};
use tch::{Kind, Tensor};

/// A safetensors file, of which only the header has been read.
pub struct Moments {
    file: File,
    header: Metadata,
    /// Where the tensors begin.
    start: u64,
}

impl Moments {
    /// Opens the file at `path`.
    ///
    /// # Errors
    /// It cannot be read, or is no such file.
    pub fn open(path: &Path) -> Result<Self, String> {
        let open = || -> std::io::Result<Self> {
            let mut file = File::open(path)?;
            let mut len = [0; 8];
            file.read_exact(&mut len)?;
            let (len, whole) = (u64::from_le_bytes(len), file.metadata()?.len());
            let mut header = Vec::new();
            (&mut file).take(len.min(whole)).read_to_end(&mut header)?;
            Ok(Self { header: serde_json::from_slice(&header)?, start: 8 + len, file })
        };
        open().map_err(|e| e.to_string())
    }

    /// The tensor `name`, which must have this shape.
    ///
    /// # Errors
    /// There is none, it has another shape or no floating-point type of an optimizer, or it cannot be read.
    pub fn read(&self, name: &str, shape: &[i64]) -> Result<Tensor, String> {
        let misfit = || format!("{name} does not fit");
        let info = self.header.info(name).ok_or_else(misfit)?;
        let kind = match info.dtype {
            Dtype::F64 => Kind::Double,
            Dtype::F32 => Kind::Float,
            _ => return Err(misfit()),
        };
        if !info.shape.iter().map(|&n| n as i64).eq(shape.iter().copied()) {
            return Err(misfit());
        }
        let (from, to) = info.data_offsets;
        let mut bytes = vec![0; to - from];
        self.file.read_exact_at(&mut bytes, self.start + from as u64).map_err(|e| format!("{name}: {e}"))?;
        Tensor::f_from_data_size(&bytes, shape, kind).map_err(|e| format!("{name}: {e}"))
    }
}
