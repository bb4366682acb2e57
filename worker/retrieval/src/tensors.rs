//! One safetensors file: written in one pass, and mapped. Its metadata has a checksum over all of its tensors.

use std::fs::File;
use std::io::{self, Write};
use std::ops::Range;
use std::path::{Path, PathBuf};

use memmap2::Mmap;
use safetensors::SafeTensors;
use safetensors::tensor::{Dtype, Metadata};

use crate::error::IndexError;

/// A tensor to write: name, type, shape, bytes.
pub(crate) type Entry = (&'static str, Dtype, Vec<usize>, Vec<u8>);

/// The metadata's key.
const CHECKSUM: &str = "blake3";

/// Writes `entries` and returns their checksum. Those with the longest elements come first, so that all are aligned.
pub(crate) fn write(mut entries: Vec<Entry>, out: &mut impl Write) -> io::Result<String> {
    entries.sort_by_key(|(name, dtype, ..)| (std::cmp::Reverse(dtype.bitsize()), *name));
    let checksum = checksum(entries.iter().map(|(name, .., bytes)| (*name, bytes.as_slice())));
    let mut header = format!("{{\"__metadata__\":{{\"{CHECKSUM}\":\"{checksum}\"}}");
    let mut end = 0;
    for (name, dtype, shape, bytes) in &entries {
        let start = end;
        end += bytes.len();
        header +=
            &format!(",\"{name}\":{{\"dtype\":\"{dtype}\",\"shape\":{shape:?},\"data_offsets\":[{start},{end}]}}");
    }
    header += "}";
    // The format pads its header with blanks.
    header += &" ".repeat(header.len().next_multiple_of(8) - header.len());
    out.write_all(&(header.len() as u64).to_le_bytes())?;
    out.write_all(header.as_bytes())?;
    entries.iter().try_for_each(|(.., bytes)| out.write_all(bytes))?;
    Ok(checksum)
}

/// The checksum of tensors in whatever order.
fn checksum<'a>(tensors: impl Iterator<Item = (&'a str, &'a [u8])>) -> String {
    let mut tensors: Vec<(&str, &[u8])> = tensors.collect();
    tensors.sort_unstable_by_key(|(name, _)| *name);
    let mut hasher = blake3::Hasher::new();
    for (name, bytes) in tensors {
        hasher.update(name.as_bytes()).update(&[0]).update(&(bytes.len() as u64).to_le_bytes()).update(bytes);
    }
    hasher.finalize().to_hex().to_string()
}

/// A mapped file.
#[derive(Debug)]
pub(crate) struct MappedTensors {
    path: PathBuf,
    map: Mmap,
    /// Where the tensors begin.
    start: usize,
    header: Metadata,
}

impl MappedTensors {
    pub(crate) fn open(path: &Path) -> Result<Self, IndexError> {
        let file = File::open(path).map_err(IndexError::file(path))?;
        // SAFETY: the map is only sound while nobody truncates or rewrites the file. Tercet writes a block once, beside
        // its final name, and never touches it again; what others do to it is out of our hands, as with any
        // memory-mapped format.
        let map = unsafe { Mmap::map(&file) }.map_err(IndexError::file(path))?;
        let (len, header) =
            SafeTensors::read_metadata(&map).map_err(|error| IndexError::damaged(path, error.to_string()))?;
        Ok(Self { path: path.to_owned(), map, start: len + 8, header })
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// The checksum that the file says it has.
    pub(crate) fn stated(&self) -> Result<&str, IndexError> {
        let stated = self.header.metadata().as_ref().and_then(|metadata| metadata.get(CHECKSUM));
        stated.map(String::as_str).ok_or_else(|| self.damaged("it has no checksum"))
    }

    /// Whether the tensors have the checksum that the file says it has. It reads all of them.
    pub(crate) fn verify(&self) -> Result<(), IndexError> {
        let tensors = self.header.tensors();
        let bytes = tensors.iter().map(|(name, info)| (name.as_str(), &self.map[self.place(info.data_offsets)]));
        match checksum(bytes) == self.stated()? {
            true => Ok(()),
            false => Err(self.damaged("its content does not have its checksum")),
        }
    }

    /// Where the tensor `name` of this type lies, and its shape.
    pub(crate) fn find(&self, name: &str, dtype: Dtype) -> Result<(Range<usize>, &[usize]), IndexError> {
        let info = self.header.info(name).ok_or_else(|| self.damaged(format!("it has no {name}")))?;
        if info.dtype != dtype {
            return Err(self.damaged(format!("{name} is {}, expected {dtype}", info.dtype)));
        }
        Ok((self.place(info.data_offsets), &info.shape))
    }

    pub(crate) fn bytes(&self, place: &Range<usize>) -> &[u8] {
        &self.map[place.clone()]
    }

    fn place(&self, (from, to): (usize, usize)) -> Range<usize> {
        self.start + from..self.start + to
    }

    pub(crate) fn damaged(&self, reason: impl Into<String>) -> IndexError {
        IndexError::damaged(&self.path, reason)
    }
}

/// The i-th of little-endian numbers.
pub(crate) fn u32_at(bytes: &[u8], i: usize) -> u32 {
    u32::from_le_bytes(bytes.as_chunks::<4>().0[i])
}

/// The i-th of little-endian numbers.
pub(crate) fn u64_at(bytes: &[u8], i: usize) -> u64 {
    u64::from_le_bytes(bytes.as_chunks::<8>().0[i])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_read_as_it_was_written_and_by_others() {
        let path = tempfile::tempdir().unwrap().keep().join("a.safetensors");
        let entries: Vec<Entry> = vec![
            ("bytes", Dtype::U8, vec![3], vec![1, 2, 3]),
            ("longs", Dtype::U64, vec![1], 7u64.to_le_bytes().to_vec()),
            ("nothing", Dtype::F32, vec![0, 4], vec![]),
        ];
        let stated = write(entries, &mut File::create(&path).unwrap()).unwrap();
        let mapped = MappedTensors::open(&path).unwrap();
        mapped.verify().unwrap();
        assert_eq!(mapped.stated().unwrap(), stated);
        let (place, shape) = mapped.find("longs", Dtype::U64).unwrap();
        assert_eq!((u64_at(mapped.bytes(&place), 0), shape), (7, &[1][..]));
        assert!(mapped.find("longs", Dtype::U8).unwrap_err().to_string().contains("longs is U64, expected U8"));
        let whole = std::fs::read(&path).unwrap();
        let others = SafeTensors::deserialize(&whole).unwrap();
        assert_eq!(others.tensor("bytes").unwrap().data(), [1, 2, 3]);
        assert_eq!(others.tensor("nothing").unwrap().shape(), [0, 4]);
    }

    #[test]
    fn what_is_changed_or_cut_off_is_told() {
        let path = tempfile::tempdir().unwrap().keep().join("a.safetensors");
        write(vec![("bytes", Dtype::U8, vec![3], vec![1, 2, 3])], &mut File::create(&path).unwrap()).unwrap();
        let mut bytes = std::fs::read(&path).unwrap();
        *bytes.last_mut().unwrap() ^= 1;
        std::fs::write(&path, &bytes).unwrap();
        let error = MappedTensors::open(&path).unwrap().verify().unwrap_err();
        assert!(error.to_string().contains("a.safetensors: damaged: its content"), "{error}");
        std::fs::write(&path, &bytes[..bytes.len() - 1]).unwrap();
        assert!(MappedTensors::open(&path).is_err());
    }
}
