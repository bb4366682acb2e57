//! Hashes of numbers: the same on every machine and in every version, as keys on disk are made of them.
//!
//! The mixing is SplitMix64's (Steele, Lea and Flood, 2014). It is not cryptographic: who plants texts whose keys
//! coincide loses those texts.

/// 2^64 / golden ratio, SplitMix64's increment.
const INCREMENT: u64 = 0x9e37_79b9_7f4a_7c15;

/// A bijection of 64-bit numbers; every bit of `x` flips about half of the bits of the result.
#[inline(always)]
pub fn mix(x: u64) -> u64 {
    let x = x.wrapping_add(INCREMENT);
    let x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}

/// A hash of `parts`, whose order matters.
#[inline]
pub fn hash(seed: u64, parts: impl IntoIterator<Item = u64>) -> u64 {
    parts.into_iter().fold(mix(seed), |state, part| mix(state ^ part))
}

/// A hash of `parts` of 128 bits.
#[inline]
pub fn hash_wide(parts: impl IntoIterator<Item = u64>) -> [u64; 2] {
    // Each half goes its own way, as their multipliers differ; the one adds and the other takes the exclusive or.
    parts.into_iter().fold([mix(1), mix(2)], |[a, b], part| {
        let mixed = mix(part);
        [mix(a ^ part), (b.wrapping_add(mixed)).rotate_left(29).wrapping_mul(0xd6e8_feb8_6659_fd93)]
    })
}
