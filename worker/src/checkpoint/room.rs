//! Host memory for the numbers of all parameters, and how a GPU's numbers come into it.

use std::borrow::Cow;
use std::ops::Range;

use tch::{Kind, Tensor};

use super::download::{CHUNK_BYTES, download};
use crate::tensors::libtorch::device::{Moment, SideStream};
use crate::tensors::libtorch::host_room;

/// Room for the bytes of all parameters, in the order of the flat buffers.
pub enum Room {
    /// Plain memory. What is on a GPU is noted, and copied when the room is completed.
    Plain {
        /// The memory.
        bytes: Vec<u8>,
        /// What is yet to be copied: all numbers.
        noted: Option<Tensor>,
    },
    /// Page-locked memory, into which a GPU copies while the host goes on.
    Locked {
        /// The number of bytes.
        len: usize,
        /// The memory, each of [`CHUNK_BYTES`] but the last; none before it is made.
        chunks: Vec<Tensor>,
    },
}

impl Room {
    /// Plain memory of `len` bytes.
    pub fn plain(len: usize) -> Self {
        Self::Plain { bytes: vec![0; len], noted: None }
    }

    /// Page-locked memory of `len` bytes.
    pub fn locked(len: usize) -> Self {
        Self::Locked { len, chunks: Vec::new() }
    }

    /// Has the system provide the memory, if it has not yet. Any thread may call it.
    pub fn touch(&mut self) {
        match self {
            Self::Plain { bytes, .. } => bytes.fill(1),
            Self::Locked { len, chunks } => make(*len, chunks),
        }
    }

    /// Forgets what was noted.
    pub fn begin(&mut self) {
        if let Self::Plain { noted, .. } = self {
            *noted = None;
        }
    }

    /// Copies `values` of the host, contiguous, to where the byte `first` is.
    pub fn copy(&mut self, first: usize, values: &Tensor) {
        match self {
            Self::Plain { bytes, .. } => values.copy_data_u8(&mut bytes[first..], values.numel()),
            Self::Locked { .. } => unreachable!("a GPU alone copies into page-locked memory"),
        }
    }

    /// Takes `values`, contiguous and on the GPU of `stream`, whose bytes begin at `first`. Plain memory takes all
    /// numbers at once, and they stay as they are until the room is completed. From page-locked memory's they may
    /// change by whatever the GPU is asked for afterwards.
    pub fn take(&mut self, first: usize, values: &Tensor, stream: &SideStream) {
        stream.follow();
        match self {
            Self::Plain { bytes, noted } => {
                let whole = values.numel() * values.kind().elt_size_in_bytes() == bytes.len();
                assert!(first == 0 && whole, "plain memory takes a GPU's numbers all at once");
                *noted = Some(values.shallow_clone());
            }
            Self::Locked { len, chunks } => {
                make(*len, chunks);
                let _guard = tch::no_grad_guard();
                let from = values.flatten(0, -1).view_dtype(Kind::Uint8);
                for (chunk, within) in pieces(first..first + from.numel()) {
                    let (start, bytes) = (chunk * CHUNK_BYTES + within.start - first, within.len() as i64);
                    let mut into = chunks[chunk].narrow(0, within.start as i64, bytes);
                    stream.copy(&mut into, &from.narrow(0, start as i64, bytes));
                }
                stream.precede();
            }
        }
    }

    /// Whether it takes numbers that pass by on the GPU.
    pub fn is_locked(&self) -> bool {
        matches!(self, Self::Locked { .. })
    }

    /// Whether something is noted.
    pub fn is_incomplete(&self) -> bool {
        matches!(self, Self::Plain { noted: Some(_), .. })
    }

    /// Copies what is noted, and returns when all that was taken is there. Any thread may call it.
    pub fn complete(&mut self, stream: &SideStream) {
        match self {
            Self::Plain { bytes, noted } => noted.take().iter().for_each(|values| download(stream, values, bytes)),
            Self::Locked { .. } => {
                let mut all = Moment::new();
                all.mark_in(stream);
                all.wait();
            }
        }
    }

    /// These bytes of a complete room; a copy where they do not lie in one piece.
    pub fn bytes(&self, range: Range<usize>) -> Cow<'_, [u8]> {
        match self {
            Self::Plain { bytes, .. } => bytes[range].into(),
            Self::Locked { chunks, .. } => {
                let piece = |(chunk, within): (usize, Range<usize>)| &content(&chunks[chunk])[within];
                let found: Vec<&[u8]> = pieces(range).map(piece).collect();
                if let [whole] = found[..] { whole.into() } else { found.concat().into() }
            }
        }
    }
}

/// Makes the chunks of `len` bytes that are not there yet.
fn make(len: usize, chunks: &mut Vec<Tensor>) {
    let made = chunks.len() * CHUNK_BYTES;
    let bytes = (made..len).step_by(CHUNK_BYTES).map(|start| CHUNK_BYTES.min(len - start));
    chunks.extend(bytes.map(|bytes| host_room(&[bytes as i64], Kind::Uint8)));
}

/// The chunks in which a range lies, and where it lies in each.
fn pieces(range: Range<usize>) -> impl Iterator<Item = (usize, Range<usize>)> {
    let first = range.start / CHUNK_BYTES;
    (first..range.end.div_ceil(CHUNK_BYTES).max(first)).map(move |chunk| {
        let start = chunk * CHUNK_BYTES;
        (chunk, range.start.max(start) - start..range.end.min(start + CHUNK_BYTES) - start)
    })
}

/// A chunk's bytes. No copy into it is under way.
fn content(chunk: &Tensor) -> &[u8] {
    // SAFETY: the tensor has as many bytes, in one piece on the host, and lives as long as what is returned.
    unsafe { std::slice::from_raw_parts(chunk.data_ptr().cast::<u8>(), chunk.numel()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_lies_in_the_chunks_that_it_touches() {
        let of = |range| pieces(range).collect::<Vec<_>>();
        assert_eq!(of(0..0), []);
        assert_eq!(of(3..CHUNK_BYTES), [(0, 3..CHUNK_BYTES)]);
        assert_eq!(of(CHUNK_BYTES - 1..CHUNK_BYTES + 2), [(0, CHUNK_BYTES - 1..CHUNK_BYTES), (1, 0..2)]);
    }

    #[test]
    fn chunks_are_one_memory() {
        let len = CHUNK_BYTES + 5;
        let mut room = Room::locked(len);
        room.touch();
        room.touch();
        let Room::Locked { chunks, .. } = &room else { unreachable!() };
        assert_eq!(chunks.iter().map(Tensor::numel).collect::<Vec<_>>(), [CHUNK_BYTES, 5]);
        for (chunk, value) in chunks.iter().zip([1, 2]) {
            let _ = chunk.shallow_clone().fill_(value);
        }
        assert!(matches!(room.bytes(CHUNK_BYTES..len), Cow::Borrowed([2, 2, 2, 2, 2])));
        assert_eq!(room.bytes(CHUNK_BYTES - 2..CHUNK_BYTES + 1).as_ref(), [1, 1, 2]);
    }
}
