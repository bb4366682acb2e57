//! Reads and writes `torch.save`'s files as far as a state dict of tensors goes.
//!
//! The published layout keeps the lexical and multi-vector heads in two such files, and sometimes the encoder in a
//! third; other programs' loaders expect the two. A file is an uncompressed zip archive: `NAME/data.pkl`, a pickle
//! program that rebuilds tensors over storages, and one `NAME/data/KEY` per storage. A tensor says where in its storage
//! it begins and how far apart its elements lie (strides), and several may share one. Only the opcodes that state dicts
//! consist of are understood and nothing is ever called, so that a hostile file is an error and not a program. Source:
//! the pickle protocol 2 (PEP 307) and files written by PyTorch 2.

mod machine;
mod state_dict;
mod tensor_ref;
mod write;

use std::collections::HashMap;
use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::Path;
use std::rc::Rc;

use tch::Tensor;
use tercet_configs::{in_its_place, unreadable};
use zip::ZipArchive;

use state_dict::{Named, StateDict};
use tensor_ref::Storage;
pub(super) use write::write_state_dict;

/// The first bytes of files from before PyTorch 1.6: a pickled magic number.
const LEGACY: &[u8] = b"\x80\x02\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19";

/// No program of a state dict is longer: each of its tensors takes some hundred bytes.
const MAX_PROGRAM_BYTES: usize = 256 << 20;

/// Name and tensor of every entry of the state dict at `path` whose name is `wanted`, in the file's order. Every tensor
/// has its rows one after another, whatever its layout in the file.
///
/// # Errors
/// Why the file cannot be read.
pub(super) fn read_state_dict(path: &Path, wanted: &dyn Fn(&str) -> bool) -> Result<Vec<(String, Tensor)>, String> {
    let mut archive = Archive::open(path)?;
    let StateDict { tensors } = state_dict::run(&archive.entry("data.pkl", MAX_PROGRAM_BYTES)?)?;
    let tensors: Vec<Named> = tensors.into_iter().filter(|(name, _)| wanted(name)).collect();
    let mut uses: HashMap<Rc<str>, usize> = HashMap::new();
    for (_, tensor) in &tensors {
        *uses.entry(tensor.storage.key.clone()).or_default() += 1;
    }
    let mut storages: HashMap<Rc<str>, Tensor> = HashMap::new();
    let mut read = Vec::with_capacity(tensors.len());
    for (name, tensor) in tensors {
        let fail = |reason: String| format!("{name}: {reason}");
        tensor.check().map_err(fail)?;
        let key = &tensor.storage.key;
        if !storages.contains_key(key) {
            storages.insert(key.clone(), archive.storage(&tensor.storage).map_err(fail)?);
        }
        let storage = &storages[key];
        if storage.kind() != tensor.storage.kind {
            return Err(fail(format!("storage {key} is of two element types")));
        }
        let values = storage.f_as_strided(&tensor.shape, &tensor.strides, tensor.offset);
        read.push((
            name.to_string(),
            values.and_then(|values| values.f_contiguous()).map_err(|e| fail(e.to_string()))?,
        ));
        // A storage is as large as all tensors over it together, so it is freed with the last of them.
        if let Some(left) = uses.get_mut(key) {
            *left -= 1;
            if *left == 0 {
                storages.remove(key);
            }
        }
    }
    Ok(read)
}

/// A file of `torch.save`.
struct Archive {
    zip: ZipArchive<File>,
    /// The prefix of all entries' names.
    folder: String,
    big_endian: bool,
}

impl Archive {
    fn open(path: &Path) -> Result<Self, String> {
        let mut file = File::open(path).map_err(|e| unreadable(path, &e))?;
        let mut head = Vec::new();
        file.by_ref().take(512).read_to_end(&mut head).map_err(|e| e.to_string())?;
        if let Some(other) = what_else(&head) {
            return Err(other.into());
        }
        file.seek(SeekFrom::Start(0)).map_err(|e| e.to_string())?;
        let zip =
            ZipArchive::new(file).map_err(|e| format!("not a PyTorch archive ({e}): is it cut off? fetch it again"))?;
        let mut programs: Vec<&str> = zip.file_names().filter(|name| name.ends_with("/data.pkl")).collect();
        programs.sort_unstable();
        let folder = match programs.as_slice() {
            [program] => program.trim_end_matches("data.pkl").to_owned(),
            [] => return Err("not a PyTorch archive (no data.pkl in it)".into()),
            several => return Err(format!("not a PyTorch archive (several programs in it: {})", several.join(", "))),
        };
        if zip.file_names().any(|name| name.strip_prefix(&folder) == Some("constants.pkl")) {
            return Err("is a TorchScript program, not a state dict: save model.state_dict() with torch.save".into());
        }
        let has_order = zip.file_names().any(|name| name.strip_prefix(&folder) == Some("byteorder"));
        let mut archive = Self { zip, folder, big_endian: false };
        if has_order {
            archive.big_endian = match archive.entry("byteorder", 16)?.trim_ascii() {
                b"little" => false,
                b"big" => true,
                other => {
                    return Err(format!(
                        "byteorder is {:?}: little or big is expected",
                        String::from_utf8_lossy(other)
                    ));
                }
            };
        }
        Ok(archive)
    }

    /// The first `max_bytes` of an entry: compressed data may unpack to any length.
    fn entry(&mut self, name: &str, max_bytes: usize) -> Result<Vec<u8>, String> {
        let mut bytes = Vec::new();
        let entry = self.zip.by_name(&format!("{}{name}", self.folder)).map_err(|e| format!("{name}: {e}"))?;
        entry.take(max_bytes as u64).read_to_end(&mut bytes).map_err(|e| format!("{name}: {e}"))?;
        Ok(bytes)
    }

    /// All elements of a storage, one after another.
    fn storage(&mut self, storage: &Storage) -> Result<Tensor, String> {
        let element_bytes = storage.kind.elt_size_in_bytes();
        let len = storage.numel.checked_mul(element_bytes).ok_or("its storage is too large")?;
        let mut bytes = self.entry(&format!("data/{}", storage.key), len)?;
        if bytes.len() < len {
            return Err("its data is cut off".into());
        }
        if self.big_endian != cfg!(target_endian = "big") {
            bytes.chunks_exact_mut(element_bytes).for_each(<[u8]>::reverse);
        }
        Tensor::f_from_data_size(&bytes, &[storage.numel as i64], storage.kind).map_err(|e| e.to_string())
    }
}

/// What a file is that begins with `head`, if that is no zip archive and can be recognised.
fn what_else(head: &[u8]) -> Option<&'static str> {
    if head.starts_with(b"PK") {
        None
    } else if head.starts_with(LEGACY) || head.get(257..262) == Some(b"ustar") {
        Some(
            "is in the format that torch.save had before PyTorch 1.6, which is not read: save it again with \
             torch.save(torch.load(FILE), FILE)",
        )
    } else if head.get(8) == Some(&b'{') {
        Some(
            "seems to be a safetensors file, not torch.save's: name a whole model's model.safetensors; save a head's with \
             torch.save(safetensors.torch.load_file(FILE), FILE)",
        )
    } else if head.starts_with(b"\x80") {
        Some("is a pickle but not a file of torch.save: save the state dict with torch.save")
    } else {
        in_its_place(head)
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use tch::Kind;
    use zip::ZipWriter;
    use zip::write::FileOptions;

    use super::*;

    #[test]
    fn a_state_dict_survives_the_round_trip() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("sparse_linear.pt");
        let weight = Tensor::from_slice(&[1.5f32, -2.0, 0.25, 7.0, 8.0, 9.0]).view([2, 3]);
        write_state_dict(&path, &[("weight", &(&weight).into()), ("bias", &(&Tensor::from_slice(&[0.5f64])).into())])
            .unwrap();
        let back = read_state_dict(&path, &|_| true).unwrap();
        assert_eq!(back[0].0, "weight");
        assert_eq!(back[0].1, weight);
        assert_eq!(back[1].1.kind(), Kind::Double);
        assert_eq!(read_state_dict(&path, &|name| name == "bias").unwrap().len(), 1);
    }

    /// A tensor as a pickle program rebuilds it over the floats of storage `key`, `numel` long.
    fn tensor(key: &str, numel: u8, offset: u8, shape: &[u8], strides: &[u8]) -> Vec<u8> {
        let mut out = b"ctorch._utils\n_rebuild_tensor_v2\n((".to_vec();
        let text = |out: &mut Vec<u8>, s: &str| {
            out.extend([b'X', s.len() as u8, 0, 0, 0]);
            out.extend(s.as_bytes());
        };
        text(&mut out, "storage");
        out.extend(b"ctorch\nFloatStorage\n");
        text(&mut out, key);
        text(&mut out, "cpu");
        out.extend([b'K', numel, b't', b'Q', b'K', offset]);
        for sizes in [shape, strides] {
            out.push(b'(');
            sizes.iter().for_each(|&n| out.extend([b'K', n]));
            out.push(b't');
        }
        out.extend(b"\x89ccollections\nOrderedDict\n)RtR");
        out
    }

    /// A file with the state dict of these, whose storage "0" holds 0, 1, 2, 3, 4, 5.
    fn file(tensors: &[(&str, Vec<u8>)], big_endian: bool) -> (tempfile::TempDir, std::path::PathBuf) {
        let mut program = b"\x80\x02}(".to_vec();
        for (name, tensor) in tensors {
            program.extend([b'X', name.len() as u8, 0, 0, 0]);
            program.extend(name.as_bytes());
            program.extend(tensor);
        }
        program.extend(b"u.");
        let floats = (0..6).map(|i| i as f32);
        let data: Vec<u8> = floats.flat_map(|x| if big_endian { x.to_be_bytes() } else { x.to_le_bytes() }).collect();
        let order: &[u8] = if big_endian { b"big" } else { b"little" };
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("pytorch_model.bin");
        let mut archive = ZipWriter::new(File::create(&path).unwrap());
        let options = FileOptions::default().compression_method(zip::CompressionMethod::Stored);
        for (name, bytes) in [("data.pkl", program.as_slice()), ("byteorder", order), ("data/0", data.as_slice())] {
            archive.start_file(format!("archive/{name}"), options).unwrap();
            archive.write_all(bytes).unwrap();
        }
        archive.finish().unwrap();
        (dir, path)
    }

    #[test]
    fn tensors_lie_in_their_storage_as_they_say() {
        let expected = Tensor::from_slice(&[0f32, 1., 2., 3., 4., 5.]).view([2, 3]);
        let tensors = [
            ("rows", tensor("0", 6, 0, &[2, 3], &[3, 1])),
            ("transposed", tensor("0", 6, 0, &[3, 2], &[1, 3])),
            ("slice", tensor("0", 6, 1, &[2, 2], &[3, 1])),
            ("scalar", tensor("0", 6, 5, &[], &[])),
            ("repeated", tensor("0", 6, 2, &[3], &[0])),
        ];
        for big_endian in [false, true] {
            let (_dir, path) = file(&tensors, big_endian);
            let read: HashMap<String, Tensor> = read_state_dict(&path, &|_| true).unwrap().into_iter().collect();
            assert_eq!(read["rows"], expected);
            assert_eq!(read["transposed"], expected.tr());
            assert!(read["transposed"].is_contiguous());
            assert_eq!(read["slice"], Tensor::from_slice(&[1f32, 2., 4., 5.]).view([2, 2]));
            assert_eq!(read["scalar"].double_value(&[]), 5.0);
            assert_eq!(read["repeated"], Tensor::from_slice(&[2f32, 2., 2.]));
        }
    }

    #[test]
    fn a_tensor_that_leaves_its_storage_is_refused_by_name() {
        for (tensor, reason) in [
            (tensor("0", 6, 0, &[2, 3], &[3, 2]), "outside of its storage"),
            (tensor("0", 6, 1, &[2, 3], &[3, 1]), "outside of its storage"),
            (tensor("0", 6, 0, &[200, 200], &[0, 0]), "more elements"),
            (tensor("0", 6, 0, &[2, 3], &[1]), "strides"),
            (tensor("0", 7, 0, &[2], &[1]), "cut off"),
            (tensor("1", 6, 0, &[2], &[1]), "data/1"),
        ] {
            let (_dir, path) = file(&[("weight", tensor)], false);
            let message = read_state_dict(&path, &|_| true).unwrap_err();
            assert!(message.contains("weight: ") && message.contains(reason), "{message}");
        }
    }

    #[test]
    fn what_is_no_archive_is_said() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("pytorch_model.bin");
        for (bytes, reason) in [
            (&b"version https://git-lfs.github.com/spec/v1\n"[..], "git lfs pull"),
            (LEGACY, "before PyTorch 1.6"),
            (b"\x80\x04}.", "pickle"),
            (b"\x40\0\0\0\0\0\0\0{\"__metadata__\"", "safetensors"),
            (b"PK\x03\x04cut", "is it cut off"),
            (b"", "empty"),
        ] {
            std::fs::write(&path, bytes).unwrap();
            let message = read_state_dict(&path, &|_| true).unwrap_err();
            assert!(message.contains(reason), "{message}");
        }
    }
}
