//! A row's checksum: what is read is what was written, told row by row.
//!
//! A store of terabytes cannot be hashed before every run, and rows are drawn from all over it; so each row is checked
//! when it is read. The row's number is part of its checksum: an altered number in `by_length.arrow`, which would pass
//! one row for another, is found too.

use arrow_buffer::ToByteSlice;

/// The checksum of row `row`: 32 bits of BLAKE3 over its number, its texts and its scores.
///
/// One altered row in four thousand million goes unnoticed.
pub(super) fn row_check<'a>(
    row: u64,
    query: &'a [u32],
    passages: [impl Iterator<Item = &'a [u32]>; 2],
    scores: [Option<&[f32]>; 2],
) -> u32 {
    let mut hasher = blake3::Hasher::new();
    // Lengths stand beside contents, so that no two rows give the same bytes.
    let add = |hasher: &mut blake3::Hasher, text: &[u32]| {
        hasher.update(&(text.len() as u64).to_le_bytes());
        hasher.update(text.to_byte_slice());
    };
    add(&mut hasher, query);
    for texts in passages {
        let mut count: u64 = 0;
        for text in texts {
            add(&mut hasher, text);
            count += 1;
        }
        hasher.update(&count.to_le_bytes());
    }
    for scores in scores.into_iter().flatten() {
        hasher.update(scores.to_byte_slice());
    }
    hasher.update(&row.to_le_bytes());
    let [a, b, c, d, ..] = *hasher.finalize().as_bytes();
    u32::from_le_bytes([a, b, c, d])
}
