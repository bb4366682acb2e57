//! The seed of a sub-batch's dropout.

/// The seed of dropout in a rank's sub-batch `i` of a step: the same in every pass over it, and another everywhere
/// else.
pub fn dropout_seed(seed: u64, step: u64, rank: usize, i: usize) -> Option<u64> {
    let parts = [seed, step, rank as u64, i as u64].map(u64::to_le_bytes);
    let hash = blake3::hash(parts.as_flattened());
    Some(u64::from_le_bytes(std::array::from_fn(|b| hash.as_bytes()[b])))
}
