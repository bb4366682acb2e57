//! BM25 as Lucene computes it (Robertson et al., 1994; Kamphuis et al., 2020, has the variants).
//!
//! Σ over the query's tokens of qtf · idf · tf / (tf + k1 (1 − b + b · len/mean)): without the factor k1 + 1, which
//! changes no order. Lucene keeps a document's length in one byte; the mean is of exact lengths all the same.

use serde::{Deserialize, Serialize};

/// What a document's length is taken for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum DocLengths {
    /// Its number of tokens.
    #[default]
    Exact,
    /// What Lucene's byte holds of that: up to 40 all of it, then four significant bits, rounded down.
    Lucene,
}

/// The formula's parameters and the corpus's figures.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Bm25 {
    /// How soon a token that occurs again counts little.
    pub k1: f64,
    /// How much long documents are held to be long, 0 to 1.
    pub b: f64,
    /// Lengths.
    pub lengths: DocLengths,
    /// Documents of the corpus.
    pub num_docs: u64,
    /// Their tokens, or words.
    pub num_tokens: u64,
}

impl Bm25 {
    /// The weight of a token that `frequency` documents have.
    pub fn idf(&self, frequency: u64) -> f64 {
        let (all, having) = (self.num_docs as f64, frequency as f64);
        ((all - having + 0.5) / (having + 0.5)).ln_1p()
    }

    /// What stands beside tf below the fraction's line, for a document of `len` tokens.
    pub fn norm(&self, len: u32) -> f32 {
        let len = match self.lengths {
            DocLengths::Exact => len,
            DocLengths::Lucene => of_byte(to_byte(len)),
        };
        let mean = self.num_tokens as f64 / (self.num_docs.max(1)) as f64;
        let relative = if mean > 0.0 { f64::from(len) / mean } else { 0.0 };
        (self.k1 * (1.0 - self.b + self.b * relative)) as f32
    }
}

/// Numbers that a byte holds as they are; what is above them is counted from here in four significant bits.
const PLAIN: u32 = 24;

fn to_byte(len: u32) -> u32 {
    match len.checked_sub(PLAIN) {
        None => len,
        Some(above) if above < 8 => PLAIN + above,
        Some(above) => {
            let shift = (u32::BITS - above.leading_zeros()) - 4;
            PLAIN + ((shift + 1) << 3 | (above >> shift & 7))
        }
    }
}

fn of_byte(byte: u32) -> u32 {
    match byte.checked_sub(PLAIN) {
        None => byte,
        Some(code) if code < 8 => PLAIN + code,
        Some(code) => PLAIN + ((code & 7 | 8) << ((code >> 3) - 1)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_are_rounded_as_lucene_rounds_them() {
        for len in 0..=40 {
            assert_eq!(of_byte(to_byte(len)), len);
        }
        assert_eq!([1000, 8000].map(|len| of_byte(to_byte(len))), [984, 7704]);
        let rounded: Vec<u32> = (0..100_000).map(|len| of_byte(to_byte(len))).collect();
        assert!(rounded.is_sorted() && (0..100_000).zip(&rounded).all(|(len, own)| *own <= len && to_byte(len) < 256));
        assert!((0..100_000u32).zip(&rounded).all(|(len, own)| len - own <= len / 8));
    }

    #[test]
    fn the_formula_is_the_published_one() {
        let bm25 = Bm25 { k1: 0.9, b: 0.4, lengths: DocLengths::Exact, num_docs: 10, num_tokens: 200 };
        assert!((bm25.idf(3) - (1.0f64 + 7.5 / 3.5).ln()).abs() < 1e-12);
        assert!(bm25.idf(10) > 0.0);
        assert!((f64::from(bm25.norm(30)) - 0.9 * (0.6 + 0.4 * 30.0 / 20.0)).abs() < 1e-6);
        assert_eq!(Bm25 { num_tokens: 0, ..bm25 }.norm(0), 0.9 * 0.6);
    }
}
