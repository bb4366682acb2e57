//! Tells which texts are the same, by a 64-bit hash of each text.
//!
//! The hash is of the token ids in the store, before a text is framed, cut or shuffled for a batch. It is the same on
//! every machine. Two different texts share a hash with probability 2^-64: among the 200,000 texts of the largest
//! global batches in use, this happens about once in a billion steps and then costs one negative.

/// The identities of a batch's texts, by which a query's false negatives are found. Q queries, G passages each.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TextIds {
    /// Each query. `[Q]`
    pub queries: Vec<u64>,
    /// All positives of each query's row, whether or not they are in the batch. `[Q, ragged]`
    pub positives: Vec<Vec<u64>>,
    /// Each passage. `[Q·G]`
    pub passages: Vec<u64>,
}

/// The hash of a text: the first eight bytes of its token ids' BLAKE3.
pub fn text_id(token_ids: &[u32]) -> u64 {
    let bytes: Vec<u8> = token_ids.iter().flat_map(|id| id.to_le_bytes()).collect();
    let [a, b, c, d, e, f, g, h, ..] = *blake3::hash(&bytes).as_bytes();
    u64::from_le_bytes([a, b, c, d, e, f, g, h])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_differ_by_ids_order_and_length() {
        let texts: [&[u32]; 7] = [&[], &[0], &[1], &[0, 1], &[1, 0], &[256], &[0, 0]];
        for (i, a) in texts.iter().enumerate() {
            assert!(texts[i + 1..].iter().all(|b| text_id(a) != text_id(b)), "{a:?}");
        }
    }

    #[test]
    fn the_hash_is_pinned() {
        // If it changed, ranks of different builds would disagree on what is masked.
        assert_eq!(text_id(&[5, 6, 7]), 1_055_974_161_128_379_439);
    }
}
