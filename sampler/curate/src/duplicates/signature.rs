//! MinHash (Broder, 1997) with bands (Leskovec, Rajaraman and Ullman, chapter 3): texts that share a share s of their
//! sequences of units have a key in common with probability 1 − (1 − s^rows)^bands.
//!
//! A sequence is a 32-bit hash of `ngram` units that follow each other; a text of fewer units is one sequence. Hash
//! functions are integer arithmetic, so a text has the same keys on every machine, whichever vector instructions it
//! has.

use pulp::{Arch, Simd, WithSimd};

use super::mixing::{hash, mix};

/// Functions that are computed at a time: a vector of AVX-512, two of AVX2.
const LANES: usize = 16;
/// The base of the polynomial that is a sequence's hash; odd.
const BASE: u64 = 0xa24b_aed4_963e_e407;

/// Functions and bands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bands {
    /// Units of a sequence.
    pub ngram: usize,
    /// Keys of a text.
    pub bands: usize,
    /// Functions that a key is made of.
    pub rows: usize,
}

/// Makes keys of texts.
#[derive(Debug)]
pub struct Signer {
    shape: Bands,
    /// For each function, what it takes the exclusive or with and what it multiplies by; a multiple of [`LANES`].
    functions: Vec<[[u32; LANES]; 2]>,
    /// What a unit that leaves a sequence counted for.
    leaving: u64,
    arch: Arch,
    sequences: Vec<u32>,
    least: Vec<[u32; LANES]>,
}

impl Signer {
    /// For keys of this shape.
    pub fn new(shape: Bands) -> Self {
        let blocks = (shape.bands * shape.rows).div_ceil(LANES);
        let constants = |block: usize, which: u64| {
            std::array::from_fn(|lane| hash(which, [(block * LANES + lane) as u64]) as u32 | which as u32)
        };
        Self {
            shape,
            // The second is odd, so that the function is a bijection.
            functions: (0..blocks).map(|block| [constants(block, 0), constants(block, 1)]).collect(),
            leaving: (1..shape.ngram).fold(1, |power: u64, _| power.wrapping_mul(BASE)),
            arch: Arch::new(),
            sequences: Vec::new(),
            least: vec![[0; LANES]; blocks],
        }
    }

    /// Adds the keys of a text with these units, one a band, to `keys`.
    pub fn keys(&mut self, units: &[u64], keys: &mut Vec<u64>) {
        let rows = self.shape.rows;
        let bands = self.signature(units).chunks_exact(rows);
        keys.extend(bands.map(|band| hash(0, band.iter().map(|&least| u64::from(least)))));
    }

    /// The least value of each function over the sequences of a text with these units: of two texts as many are equal
    /// as sequences are common to them, but for chance.
    pub fn signature(&mut self, units: &[u64]) -> &[u32] {
        let Self { shape, functions, leaving, arch, sequences, least } = self;
        sequences.clear();
        let mut window = 0u64;
        for (i, unit) in units.iter().enumerate() {
            if i >= shape.ngram {
                window = window.wrapping_sub(units[i - shape.ngram].wrapping_mul(*leaving));
            }
            window = window.wrapping_mul(BASE).wrapping_add(*unit);
            if i + 1 >= shape.ngram {
                sequences.push((mix(window) >> 32) as u32);
            }
        }
        if sequences.is_empty() {
            sequences.push((mix(window) >> 32) as u32);
        }
        arch.dispatch(Minima { sequences, functions, least });
        &least.as_flattened()[..shape.bands * shape.rows]
    }
}

/// The least value of each function over `sequences`.
struct Minima<'a> {
    sequences: &'a [u32],
    functions: &'a [[[u32; LANES]; 2]],
    least: &'a mut [[u32; LANES]],
}

impl WithSimd for Minima<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        let Self { sequences, functions, least } = self;
        for (least, [xors, factors]) in least.iter_mut().zip(functions) {
            let mut lanes = [u32::MAX; LANES];
            for &sequence in sequences {
                for lane in 0..LANES {
                    lanes[lane] = lanes[lane].min(permuted(sequence, xors[lane], factors[lane]));
                }
            }
            *least = lanes;
        }
    }
}

/// A bijection of 32-bit numbers.
#[inline(always)]
fn permuted(x: u32, xor: u32, factor: u32) -> u32 {
    let x = (x ^ xor).wrapping_mul(factor);
    let x = (x ^ (x >> 15)).wrapping_mul(0x846c_a68b);
    x ^ (x >> 16)
}
