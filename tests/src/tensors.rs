//! Reads and writes safetensors files as plain numbers.

use std::collections::BTreeMap;
use std::path::Path;

use safetensors::tensor::TensorView;
use safetensors::{Dtype, SafeTensors};

/// The numbers of tensors by name, as float64 whatever their type.
pub type Tensors = BTreeMap<String, Vec<f64>>;

/// Reads every tensor of a file.
pub fn read(path: &Path) -> Tensors {
    let bytes = std::fs::read(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    let file = SafeTensors::deserialize(&bytes).unwrap();
    file.tensors().into_iter().map(|(name, tensor)| (name, numbers(&tensor))).collect()
}

fn numbers(tensor: &TensorView) -> Vec<f64> {
    let eight = |bytes: &[u8]| -> [u8; 8] { bytes.try_into().unwrap() };
    let four = |bytes: &[u8]| -> [u8; 4] { bytes.try_into().unwrap() };
    let data = tensor.data();
    match tensor.dtype() {
        Dtype::F64 => data.chunks_exact(8).map(|b| f64::from_le_bytes(eight(b))).collect(),
        Dtype::I64 => data.chunks_exact(8).map(|b| i64::from_le_bytes(eight(b)) as f64).collect(),
        Dtype::F32 => data.chunks_exact(4).map(|b| f32::from_le_bytes(four(b)).into()).collect(),
        other => panic!("a tensor of type {other:?}"),
    }
}

/// Reads the rows of the matrix `name`.
pub fn rows(path: &Path, name: &str) -> Vec<Vec<f64>> {
    let bytes = std::fs::read(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    let file = SafeTensors::deserialize(&bytes).unwrap();
    let tensor = file.tensor(name).unwrap();
    numbers(&tensor).chunks_exact(tensor.shape()[1]).map(<[f64]>::to_vec).collect()
}

/// Writes int64 matrices and float32 matrices.
pub fn write(path: &Path, integers: &[(&str, &[Vec<i64>])], floats: &[(&str, &[Vec<f32>])]) {
    let integers = integers.iter().map(|(name, rows)| {
        let bytes: Vec<u8> = rows.iter().flatten().flat_map(|n| n.to_le_bytes()).collect();
        (*name, Dtype::I64, vec![rows.len(), rows[0].len()], bytes)
    });
    let floats = floats.iter().map(|(name, rows)| {
        let bytes: Vec<u8> = rows.iter().flatten().flat_map(|n| n.to_le_bytes()).collect();
        (*name, Dtype::F32, vec![rows.len(), rows[0].len()], bytes)
    });
    let parts: Vec<_> = integers.chain(floats).collect();
    let views =
        parts.iter().map(|(name, dtype, shape, bytes)| (*name, TensorView::new(*dtype, shape.clone(), bytes).unwrap()));
    safetensors::serialize_to_file(views, None, path).unwrap();
}
