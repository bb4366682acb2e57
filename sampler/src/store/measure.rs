//! What the orders of a data set need to know of a row, as records of [runs](super::runs).

use super::check::row_check;
use super::shapes::OwnedShape;
use super::token_row::TokenRow;
use crate::special::SpecialTokens;

/// Bytes of the hash that tells duplicates. By chance two of 10^9 rows share 16 of them once in 10^20 data sets.
const PAIR_HASH_BYTES: usize = 16;

/// A row, measured.
pub(super) struct Measured {
    /// By shape, then row number; then the row's checksum and language.
    pub(super) order_record: Vec<u8>,
    /// By (query, positives), then row number.
    pub(super) pair_record: [u8; PAIR_HASH_BYTES + 8],
    /// Tokens of the longest text, special tokens included.
    pub(super) longest: usize,
    pub(super) num_tokens: u64,
    pub(super) largest_token: u32,
}

impl Measured {
    /// Measures row number `number`, whose texts are cut already.
    pub(super) fn of(row: &TokenRow, number: u64, language: &str) -> Self {
        let texts = || [&row.query].into_iter().chain(&row.pos).chain(&row.neg);
        let longest = texts().map(Vec::len).max().unwrap_or(0) + SpecialTokens::NUM_FRAMING;
        let passages = [&row.pos, &row.neg].map(|texts| texts.iter().map(Vec::as_slice));
        let check = row_check(number, &row.query, passages, [row.pos_scores.as_deref(), row.neg_scores.as_deref()]);
        Self {
            order_record: order_record(row, longest, number, check, language),
            pair_record: pair_record(row, number),
            longest,
            num_tokens: texts().map(|text| text.len() as u64).sum(),
            largest_token: texts().flatten().copied().max().unwrap_or(0),
        }
    }
}

/// An [`OrderRecord`], written: the key of [`Shape::order_key`](super::shapes::Shape::order_key) so that bytes compare
/// as it does. Lengths are stored plus one, because 0 ends the positives: a list comes before those that it begins.
fn order_record(row: &TokenRow, longest: usize, number: u64, check: u32, language: &str) -> Vec<u8> {
    let mut record = Vec::with_capacity(32 + 4 * (row.pos.len() + row.neg.len()) + language.len());
    record.extend((longest as u32).to_be_bytes());
    record.extend((row.neg.len() as u32).to_be_bytes());
    record.extend((row.query.len() as u32).to_be_bytes());
    row.pos.iter().for_each(|text| record.extend((text.len() as u32 + 1).to_be_bytes()));
    record.extend(0_u32.to_be_bytes());
    row.neg.iter().for_each(|text| record.extend((text.len() as u32 + 1).to_be_bytes()));
    record.extend(number.to_be_bytes());
    record.extend(check.to_be_bytes());
    record.extend(language.as_bytes());
    record
}

/// A record of the order by length, read.
pub(super) struct OrderRecord<'a> {
    pub(super) shape: OwnedShape,
    pub(super) row: u64,
    pub(super) check: u32,
    pub(super) language: &'a str,
}

impl<'a> OrderRecord<'a> {
    /// None if the record is not one.
    pub(super) fn read(record: &'a [u8]) -> Option<Self> {
        fn number(rest: &mut &[u8]) -> Option<u32> {
            let (bytes, after) = rest.split_first_chunk()?;
            *rest = after;
            Some(u32::from_be_bytes(*bytes))
        }
        let mut rest = record.get(4..)?;
        let num_neg = number(&mut rest)?;
        let len_of = |stored: u32| u16::try_from(stored.checked_sub(1)?).ok();
        let mut shape = OwnedShape { query: u16::try_from(number(&mut rest)?).ok()?, ..Default::default() };
        loop {
            match number(&mut rest)? {
                0 => break,
                stored => shape.pos.push(len_of(stored)?),
            }
        }
        for _ in 0..num_neg {
            shape.neg.push(len_of(number(&mut rest)?)?);
        }
        let (row, after) = rest.split_first_chunk()?;
        rest = after;
        let check = number(&mut rest)?;
        Some(Self { shape, row: u64::from_be_bytes(*row), check, language: std::str::from_utf8(rest).ok()? })
    }
}

fn pair_record(row: &TokenRow, number: u64) -> [u8; PAIR_HASH_BYTES + 8] {
    let mut hasher = blake3::Hasher::new();
    for text in [&row.query].into_iter().chain(&row.pos) {
        // The length first, so that texts cannot be cut elsewhere and give the same bytes.
        hasher.update(&(text.len() as u64).to_le_bytes());
        hasher.update(arrow_buffer::ToByteSlice::to_byte_slice(text.as_slice()));
    }
    let mut record = [0; PAIR_HASH_BYTES + 8];
    record[..PAIR_HASH_BYTES].copy_from_slice(&hasher.finalize().as_bytes()[..PAIR_HASH_BYTES]);
    record[PAIR_HASH_BYTES..].copy_from_slice(&number.to_be_bytes());
    record
}

/// A record of pairs, read: the hash of (query, positives), and the row.
pub(super) fn read_pair(record: &[u8]) -> Option<(&[u8; PAIR_HASH_BYTES], u64)> {
    let (hash, row) = record.split_first_chunk()?;
    Some((hash, u64::from_be_bytes(row.try_into().ok()?)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(query: usize, pos: &[usize], neg: &[usize]) -> TokenRow {
        let texts = |lens: &[usize]| lens.iter().map(|&len| vec![5; len]).collect();
        TokenRow { query: vec![5; query], pos: texts(pos), neg: texts(neg), ..Default::default() }
    }

    #[test]
    fn bytes_compare_as_shapes_do() {
        let rows = [
            row(1, &[300], &[]),
            row(2, &[300], &[]),
            row(300, &[1], &[1, 2]),
            row(300, &[1], &[2, 1]),
            row(300, &[1, 1], &[1, 2]),
            row(300, &[0, 1], &[1, 2]),
            row(300, &[], &[]),
            row(0, &[255], &[256]),
            row(0, &[256], &[255]),
            row(65535, &[65535], &[65535]),
        ];
        for (i, a) in rows.iter().enumerate() {
            for (j, b) in rows.iter().enumerate() {
                let [a, b] = [(a, i), (b, j)].map(|(row, i)| Measured::of(row, i as u64, "en").order_record);
                let [shape_a, shape_b] = [&a, &b].map(|record| OrderRecord::read(record).unwrap().shape);
                let by_shape = shape_a.as_shape().order_key().cmp(&shape_b.as_shape().order_key());
                assert_eq!(a.cmp(&b), by_shape.then(i.cmp(&j)), "{shape_a:?} {shape_b:?}");
            }
        }
    }

    #[test]
    fn a_record_is_read_as_it_was_written() {
        let measured = Measured::of(&row(3, &[7, 0], &[12]), 1 << 40, "zh-Hant");
        let OrderRecord { shape, row, language, .. } = OrderRecord::read(&measured.order_record).unwrap();
        assert_eq!(shape, OwnedShape { query: 3, pos: vec![7, 0], neg: vec![12] });
        assert_eq!((row, language, measured.longest, measured.num_tokens), (1 << 40, "zh-Hant", 14, 22));
        for end in 0..measured.order_record.len() - language.len() {
            assert!(OrderRecord::read(&measured.order_record[..end]).is_none(), "{end}");
        }
    }
}
