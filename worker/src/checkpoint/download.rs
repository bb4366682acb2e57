//! From a GPU to plain memory of the host, while the GPU computes.
//!
//! The copy goes through page-locked memory, which alone a GPU writes at the full rate of its bus, in a stream beside
//! that of its work. Two chunks are under way: while one arrives, the host empties the other. One thread would copy
//! within the host's memory at half the rate of the bus, so two do.

use std::collections::VecDeque;
use std::thread;

use tch::{Kind, Tensor};

use crate::tensors::libtorch::device::{Moment, SideStream};
use crate::tensors::libtorch::host_room;

/// A chunk's bytes: large enough that a copy's start does not matter, and a power of two, to which libtorch rounds.
pub const CHUNK_BYTES: usize = 64 << 20;

/// Chunks under way.
const CHUNKS: usize = 2;

/// Threads that empty a chunk.
const COPYING: usize = 2;

/// Copies the bytes of `from`, contiguous and on the GPU of `stream`, into `into`, which has room for as many. Nobody
/// changes `from` meanwhile. libtorch's threads do nothing for it, so any thread may call it.
pub fn download(stream: &SideStream, from: &Tensor, into: &mut [u8]) {
    let _guard = tch::no_grad_guard();
    let bytes = from.flatten(0, -1).view_dtype(Kind::Uint8);
    let mut free: Vec<(Tensor, Moment)> = Vec::new();
    let mut under_way: VecDeque<(Tensor, Moment, &mut [u8])> = VecDeque::new();
    let mut start = 0;
    for piece in into.chunks_mut(CHUNK_BYTES) {
        if under_way.len() == CHUNKS {
            free.extend(under_way.pop_front().map(arrived));
        }
        let (room, mut moment) =
            free.pop().unwrap_or_else(|| (host_room(&[piece.len() as i64], Kind::Uint8), Moment::new()));
        let len = piece.len() as i64;
        stream.copy(&mut room.narrow(0, 0, len), &bytes.narrow(0, start, len));
        moment.mark_in(stream);
        start += len;
        under_way.push_back((room, moment, piece));
    }
    under_way.into_iter().for_each(|chunk| _ = arrived(chunk));
}

/// Waits for a chunk and empties it into its place.
fn arrived((room, moment, piece): (Tensor, Moment, &mut [u8])) -> (Tensor, Moment) {
    moment.wait();
    // SAFETY: the room has at least as many bytes, in one piece, and the copy into it is over.
    let chunk = unsafe { std::slice::from_raw_parts(room.data_ptr().cast::<u8>(), piece.len()) };
    let part = piece.len().div_ceil(COPYING);
    thread::scope(|scope| {
        for (from, into) in chunk.chunks(part).zip(piece.chunks_mut(part)) {
            scope.spawn(|| into.copy_from_slice(from));
        }
    });
    (room, moment)
}
