//! Texts in frames of zstd: small enough that one text is quickly had, large enough to be packed well.

use std::io;
use std::ops::Range;

use safetensors::tensor::Dtype;

use crate::error::IndexError;
use crate::postings::count_up_to;
use crate::tensors::{Entry, MappedTensors, u32_at, u64_at};

/// A frame ends with the text that makes it at least so long.
const FRAME_BYTES: usize = 64 << 10;
/// zstd's own default.
const LEVEL: i32 = 3;

const DATA: &str = "texts.data";
const OFFSETS: &str = "texts.offsets";
const FIRST: &str = "texts.first";
const LENS: &str = "texts.lens";

/// Texts that are packed one after another.
#[derive(Debug, Default)]
pub(crate) struct TextsBuilder {
    /// The frame that is being filled.
    open: Option<Vec<u8>>,
    data: Vec<u8>,
    offsets: Vec<u8>,
    first: Vec<u8>,
    lens: Vec<u8>,
    num_texts: u32,
}

impl TextsBuilder {
    pub(crate) fn push(&mut self, text: &str) -> io::Result<()> {
        let len = u32::try_from(text.len()).map_err(|_| io::Error::other("a text of more than 4 GiB"))?;
        if self.open.is_none() {
            self.mark();
        }
        let open = self.open.get_or_insert_default();
        open.extend(text.as_bytes());
        let is_full = open.len() >= FRAME_BYTES;
        self.lens.extend(len.to_le_bytes());
        self.num_texts += 1;
        if is_full { self.close() } else { Ok(()) }
    }

    /// Notes where a frame begins, or the last one ends.
    fn mark(&mut self) {
        self.offsets.extend((self.data.len() as u64).to_le_bytes());
        self.first.extend(self.num_texts.to_le_bytes());
    }

    fn close(&mut self) -> io::Result<()> {
        if let Some(open) = self.open.take() {
            self.data.extend(zstd::bulk::compress(&open, LEVEL)?);
        }
        Ok(())
    }

    pub(crate) fn into_entries(mut self) -> io::Result<[Entry; 4]> {
        self.close()?;
        self.mark();
        let num_marks = self.offsets.len() / 8;
        Ok([
            (DATA, Dtype::U8, vec![self.data.len()], self.data),
            (OFFSETS, Dtype::U64, vec![num_marks], self.offsets),
            (FIRST, Dtype::U32, vec![num_marks], self.first),
            (LENS, Dtype::U32, vec![self.num_texts as usize], self.lens),
        ])
    }
}

/// Where the texts of a mapped file lie.
#[derive(Debug)]
pub(crate) struct Texts {
    data: Range<usize>,
    offsets: Range<usize>,
    first: Range<usize>,
    lens: Range<usize>,
}

impl Texts {
    pub(crate) fn find(file: &MappedTensors) -> Result<Self, IndexError> {
        Ok(Self {
            data: file.find(DATA, Dtype::U8)?.0,
            offsets: file.find(OFFSETS, Dtype::U64)?.0,
            first: file.find(FIRST, Dtype::U32)?.0,
            lens: file.find(LENS, Dtype::U32)?.0,
        })
    }

    /// The bytes of text `i`.
    pub(crate) fn len(&self, file: &MappedTensors, i: usize) -> usize {
        u32_at(file.bytes(&self.lens), i) as usize
    }

    /// Text `i` of the block, one of those that it has.
    pub(crate) fn get(&self, file: &MappedTensors, i: usize) -> Result<String, IndexError> {
        let first = file.bytes(&self.first);
        let frame = count_up_to(first, i as u32) - 1;
        let (from, to) = (u32_at(first, frame) as usize, u32_at(first, frame + 1) as usize);
        let len = |texts: Range<usize>| texts.map(|text| self.len(file, text)).sum::<usize>();
        let (start, own, whole) = (len(from..i), len(i..i + 1), len(from..to));
        let offsets = file.bytes(&self.offsets);
        let packed = u64_at(offsets, frame) as usize..u64_at(offsets, frame + 1) as usize;
        let damaged = |reason: String| file.damaged(format!("the text of passage {i}: {reason}"));
        let mut bytes = zstd::bulk::decompress(&file.bytes(&self.data)[packed], whole)
            .map_err(|error| damaged(error.to_string()))?;
        if bytes.len() != whole {
            return Err(damaged(format!("{} bytes where {whole} were written", bytes.len())));
        }
        bytes.truncate(start + own);
        String::from_utf8(bytes.split_off(start)).map_err(|error| damaged(error.to_string()))
    }
}

#[cfg(test)]
mod tests {
    use std::fs::File;

    use super::*;
    use crate::tensors::write;

    #[test]
    fn every_text_is_had_by_itself() {
        let texts: Vec<String> = (0..300)
            .map(|i| match i % 7 {
                0 => String::new(),
                1 => "long ".repeat(i * 200),
                _ => format!("text {i}, é中🙂"),
            })
            .collect();
        let mut builder = TextsBuilder::default();
        texts.iter().for_each(|text| builder.push(text).unwrap());
        let path = tempfile::tempdir().unwrap().keep().join("t.safetensors");
        write(builder.into_entries().unwrap().into(), &mut File::create(&path).unwrap()).unwrap();
        let file = MappedTensors::open(&path).unwrap();
        let found = Texts::find(&file).unwrap();
        assert!(file.bytes(&found.offsets).len() > 8 * 20, "several frames");
        for (i, text) in texts.iter().enumerate() {
            assert_eq!(found.get(&file, i).unwrap(), *text, "{i}");
        }
    }
}
