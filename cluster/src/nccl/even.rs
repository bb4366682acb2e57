//! Parts of any lengths as parts of one length, which is all that NCCL's collectives on parts know.
//!
//! Parts of several lengths could each be an operation with a root, one for every rank: a chain through all ranks for
//! every part, and on a hundred ranks ten thousand of them a step. So they are copied to memory of the backend instead,
//! where each has a place as long as the longest; the places are reduced or gathered by one call, and what has changed
//! is copied back. What lies between a part's end and its place's end is moved with it, and nobody reads it.
//!
//! The copies are work of the backend's stream, as the call between them is. So the memory is free again for the next
//! operation as soon as that is started.

use std::cell::RefCell;
use std::ops::Range;

use super::driver::{Device, DeviceMemory, Stream};
use super::run::Run;

/// Where parts are of one length each begins at a multiple of this many elements, so that the GPU moves whole words of
/// its memory.
pub const ALIGNED_ELEMENTS: usize = 128;

/// Copies in the backend's stream before and after a call; none where a call works on the buffers themselves.
#[derive(Default)]
pub(super) struct Copies {
    before: Vec<Copy>,
    after: Vec<Copy>,
}

/// From the first run to the second, which is as long.
type Copy = (Run, Run);

impl Copies {
    /// Starts what comes before the call.
    pub fn before(&self, stream: &Stream) -> Result<(), String> {
        start(&self.before, stream)
    }

    /// Starts what comes after it.
    pub fn after(&self, stream: &Stream) -> Result<(), String> {
        start(&self.after, stream)
    }
}

fn start(copies: &[Copy], stream: &Stream) -> Result<(), String> {
    let with_elements = copies.iter().filter(|(from, _)| from.len > 0);
    // SAFETY: one run is the backend's own, which stays as long as the stream; the other is the operation's, whose
    // caller keeps it until all of this is over.
    with_elements
        .into_iter()
        .try_for_each(|(from, into)| unsafe { stream.copy(from.address, into.address, from.size_bytes()) })
}

/// The backend's own memory. It grows to what the largest operation takes.
#[derive(Default)]
pub(super) struct Room {
    /// The last is the largest. The others stay, because operations may be under way in them.
    memory: RefCell<Vec<DeviceMemory>>,
}

impl Room {
    /// An address with at least `bytes` behind it.
    fn of(&self, device: &Device, bytes: usize) -> Result<*mut u8, String> {
        let mut memory = self.memory.borrow_mut();
        if memory.last().is_none_or(|last| last.bytes() < bytes) {
            memory.push(device.allocate(bytes.next_power_of_two())?);
        }
        Ok(memory.last().map_or(std::ptr::null_mut(), DeviceMemory::address))
    }
}

/// Parts of one length, one for each rank.
pub(super) struct Even {
    /// All of them, one behind the other.
    pub whole: Run,
    /// This rank's.
    pub own: Run,
    /// What gets the values there and back.
    pub copies: Copies,
}

impl Even {
    /// For an operation that changes this rank's part of `buffer` from those of all ranks.
    ///
    /// # Errors
    /// The GPU has no room for the parts' places.
    pub fn for_own(
        (room, device): (&Room, &Device),
        buffer: Run,
        parts: &[Range<usize>],
        rank: usize,
    ) -> Result<Self, String> {
        let part = |range: &Range<usize>| buffer.part(range.start, range.len());
        if equal_len(parts).is_some() {
            return Ok(Self { whole: buffer, own: part(&parts[rank]), copies: Copies::default() });
        }
        let places = Places::new((room, device), buffer, parts)?;
        let there = parts.iter().enumerate().map(|(owner, range)| (part(range), places.start_of(owner, range)));
        let back = (places.start_of(rank, &parts[rank]), part(&parts[rank]));
        let copies = Copies { before: there.collect(), after: vec![back] };
        Ok(Self { whole: places.whole, own: places.of(rank), copies })
    }

    /// For an operation that fills all parts of `buffer`, with this rank's `own` values in its part.
    ///
    /// # Errors
    /// As [`Even::for_own`].
    pub fn for_all(
        (room, device): (&Room, &Device),
        (own, buffer): (Run, Run),
        parts: &[Range<usize>],
        rank: usize,
    ) -> Result<Self, String> {
        if equal_len(parts).is_some() {
            return Ok(Self { whole: buffer, own, copies: Copies::default() });
        }
        let places = Places::new((room, device), buffer, parts)?;
        let there = (own, places.start_of(rank, &parts[rank]));
        let part = |range: &Range<usize>| buffer.part(range.start, range.len());
        let back = parts.iter().enumerate().map(|(owner, range)| (places.start_of(owner, range), part(range)));
        let copies = Copies { before: vec![there], after: back.collect() };
        Ok(Self { whole: places.whole, own: places.of(rank), copies })
    }
}

/// Places of one length in the backend's memory, one for each part.
struct Places {
    whole: Run,
    len: usize,
}

impl Places {
    fn new((room, device): (&Room, &Device), buffer: Run, parts: &[Range<usize>]) -> Result<Self, String> {
        let len = place_len(parts);
        let whole = Run { len: len * parts.len(), ..buffer };
        Ok(Self { whole: Run { address: room.of(device, whole.size_bytes())?, ..whole }, len })
    }

    fn of(&self, owner: usize) -> Run {
        self.whole.part(owner * self.len, self.len)
    }

    /// As much of a place as its part has elements.
    fn start_of(&self, owner: usize, part: &Range<usize>) -> Run {
        self.whole.part(owner * self.len, part.len())
    }
}

fn place_len(parts: &[Range<usize>]) -> usize {
    parts.iter().map(ExactSizeIterator::len).max().unwrap_or_default().next_multiple_of(ALIGNED_ELEMENTS)
}

/// The length of the parts, if all have the same.
fn equal_len(parts: &[Range<usize>]) -> Option<usize> {
    let len = parts.first().map_or(0, ExactSizeIterator::len);
    parts.iter().all(|part| part.len() == len).then_some(len)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_as_long_as_the_longest_part_and_begin_at_whole_words() {
        assert_eq!(equal_len(&[0..2, 2..4]), Some(2));
        assert_eq!(equal_len(&[0..2, 2..3]), None);
        assert_eq!(place_len(&[0..2, 2..2, 2..5]), ALIGNED_ELEMENTS);
        assert_eq!(place_len(&[0..1, 1..2 + ALIGNED_ELEMENTS]), 2 * ALIGNED_ELEMENTS);
    }
}
