//! Where a tensor's elements lie in a file: the storage, and the place, shape and strides in it.

use std::rc::Rc;

use tch::Kind;

/// Elements of one type, one after another.
#[derive(Debug)]
pub struct Storage {
    /// Their type.
    pub kind: Kind,
    /// Its name in the archive.
    pub key: Rc<str>,
    /// Their number.
    pub numel: usize,
}

/// Where a tensor's elements lie in a storage; all in elements.
#[derive(Debug)]
pub struct TensorRef {
    /// The storage.
    pub storage: Rc<Storage>,
    /// Its first element.
    pub offset: i64,
    /// The shape.
    pub shape: Vec<i64>,
    /// How far apart neighbours are, for every dimension.
    pub strides: Vec<i64>,
}

impl TensorRef {
    /// Whether it lies within its storage, and is no larger.
    pub fn check(&self) -> Result<(), String> {
        let Self { storage, offset, shape, strides } = self;
        if shape.len() != strides.len() || [shape, strides].into_iter().flatten().any(|&n| n < 0) || *offset < 0 {
            return Err(format!("its shape {shape:?}, strides {strides:?} and offset {offset} make no tensor"));
        }
        let numel = shape.iter().try_fold(1i64, |product, &n| product.checked_mul(n));
        // Strides of 0 could repeat a few elements until memory is full.
        if numel.is_none_or(|numel| numel as usize > storage.numel) {
            return Err(format!("its shape {shape:?} has more elements than its storage"));
        }
        let last = shape
            .iter()
            .zip(strides)
            .try_fold(*offset, |sum, (&n, &stride)| sum.checked_add((n - 1).max(0).checked_mul(stride)?));
        if numel != Some(0) && last.is_none_or(|last| last as usize >= storage.numel) {
            return Err(format!(
                "its shape {shape:?}, strides {strides:?} and offset {offset} reach outside of its storage of {}",
                storage.numel
            ));
        }
        Ok(())
    }
}
