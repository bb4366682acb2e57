//! Writing: a dict of tensors, each over a storage of its own.

use std::fs::File;
use std::io::Write;
use std::path::Path;

use tch::Kind;
use zip::write::FileOptions;
use zip::{CompressionMethod, ZipWriter};

use crate::model::HostTensor;

/// Writes `tensors` (float32 or float64) so that `torch.load` gives them back as a dict.
///
/// # Errors
/// The operating system's.
pub fn write_state_dict(path: &Path, tensors: &[(&str, &HostTensor)]) -> std::io::Result<()> {
    let stem = path.file_stem().map_or("archive".into(), |s| s.to_string_lossy());
    let mut archive = ZipWriter::new(File::create(path)?);
    // Without a time stamp, so that equal weights make equal bytes.
    let options = FileOptions::default()
        .compression_method(CompressionMethod::Stored)
        .last_modified_time(zip::DateTime::default());
    archive.start_file(format!("{stem}/data.pkl"), options)?;
    archive.write_all(&program(tensors))?;
    archive.start_file(format!("{stem}/byteorder"), options)?;
    archive.write_all(if cfg!(target_endian = "big") { b"big" } else { b"little" })?;
    for (key, (_, tensor)) in tensors.iter().enumerate() {
        archive.start_file(format!("{stem}/data/{key}"), options)?;
        archive.write_all(&tensor.bytes)?;
    }
    archive.start_file(format!("{stem}/version"), options)?;
    archive.write_all(b"3\n")?;
    archive.finish()?.sync_all()
}

/// Appends a number: in four bytes where they hold it, else in eight.
fn int(out: &mut Vec<u8>, n: i64) {
    match i32::try_from(n) {
        Ok(n) => {
            out.push(b'J');
            out.extend(n.to_le_bytes());
        }
        Err(_) => {
            out.extend(b"\x8a\x08");
            out.extend(n.to_le_bytes());
        }
    }
}

/// The pickle program of a dict of tensors, each over a storage of its own.
fn program(tensors: &[(&str, &HostTensor)]) -> Vec<u8> {
    let mut out = b"\x80\x02}(".to_vec(); // protocol 2, empty dict, mark
    let text = |out: &mut Vec<u8>, s: &str| {
        out.push(b'X');
        out.extend((s.len() as u32).to_le_bytes());
        out.extend(s.as_bytes());
    };
    for (key, (name, tensor)) in tensors.iter().enumerate() {
        let storage = match tensor.kind {
            Kind::Float => "FloatStorage",
            Kind::Double => "DoubleStorage",
            other => unreachable!("{other:?} tensors are never written"),
        };
        text(&mut out, name);
        out.extend(b"ctorch._utils\n_rebuild_tensor_v2\n((");
        text(&mut out, "storage");
        out.extend(format!("ctorch\n{storage}\n").as_bytes());
        text(&mut out, &key.to_string());
        text(&mut out, "cpu");
        int(&mut out, tensor.numel() as i64);
        out.extend(b"tQ"); // tuple, persistent id
        int(&mut out, 0); // offset
        let strides = (1..=tensor.shape.len()).map(|i| tensor.shape[i..].iter().product()).collect();
        for sizes in [tensor.shape.clone(), strides] {
            out.push(b'(');
            sizes.iter().for_each(|&n| int(&mut out, n as i64));
            out.push(b't');
        }
        out.extend(b"\x89ccollections\nOrderedDict\n)RtR"); // requires_grad False, no hooks; call
    }
    out.extend(b"u."); // set items, stop
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_takes_the_bytes_that_it_needs() {
        for (number, expected) in [
            (7, &b"J\x07\0\0\0"[..]),
            (i64::from(i32::MAX), b"J\xff\xff\xff\x7f"),
            (1 << 31, b"\x8a\x08\0\0\0\x80\0\0\0\0"),
        ] {
            let mut out = Vec::new();
            int(&mut out, number);
            assert_eq!(out, expected);
        }
    }
}
