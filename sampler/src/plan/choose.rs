//! Chooses what an epoch takes from a row: which positive, which negatives, and whether the positive is shuffled.
//!
//! The rules are the published trainer's (FlagEmbedding, `AbsDataset`); the random numbers come from a hash of (seed,
//! epoch, data set, row), so they are the same on every rank. That trainer shuffles texts of over 100 characters; the
//! store holds tokens, and 100 characters are about 32 of them.

use super::hash::Draws;
use crate::Shape;

/// A positive with more tokens than this may be shuffled.
const SHUFFLED_ABOVE: usize = 32;

/// What is taken from a row.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Choice {
    /// Index of the positive; none where rows are texts alone.
    pub positive: Option<usize>,
    /// Indices of the negatives, one fewer than the group size; they repeat if the row has too few.
    pub negatives: Vec<usize>,
    /// The order of the positive's three segments; `None` leaves it unchanged.
    pub segment_order: Option<[usize; 3]>,
}

/// The choice that `key` determines for a row of this shape. In groups of 0 there is nothing to choose.
///
/// # Errors
/// The row has nothing to choose from: the reason and the remedy.
pub(super) fn choose(key: u64, shape: Shape<'_>, group_size: usize, shuffle_ratio: f64) -> Result<Choice, String> {
    if group_size == 0 {
        return Ok(Choice::default());
    }
    if shape.pos.is_empty() {
        return Err("has no positive: prepare the store again".to_owned());
    }
    let (num_neg, wanted) = (shape.neg.len(), group_size - 1);
    if num_neg == 0 && wanted > 0 {
        return Err(format!("has no negatives, but group_size {group_size} asks for {wanted}"));
    }
    let mut draws = Draws::new(key);
    let positive = draws.below(shape.pos.len());
    let shuffled = draws.chance(shuffle_ratio) && shape.pos[positive] as usize > SHUFFLED_ABOVE;
    let order = draws.sample(vec![0, 1, 2], 3);
    let segment_order = shuffled.then(|| [order[0], order[1], order[2]]);
    let negatives = if wanted == 0 {
        Vec::new()
    } else {
        let repeats = wanted.div_ceil(num_neg);
        draws.sample((0..num_neg * repeats).map(|i| i % num_neg).collect(), wanted)
    };
    Ok(Choice { positive: Some(positive), negatives, segment_order })
}

/// Cuts `tokens` into three segments of nearly equal length and joins them in `order`.
pub(crate) fn reorder_segments(tokens: &[u32], order: [usize; 3]) -> Vec<u32> {
    let segment_len = tokens.len() / 3 + 1;
    let segment = |i: usize| {
        let cut = |at: usize| at.min(tokens.len());
        &tokens[cut(i * segment_len)..cut((i + 1) * segment_len)]
    };
    order.map(segment).concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shape(pos: u16, num_neg: usize) -> Shape<'static> {
        const NEG: [u16; 7] = [9; 7];
        let pos: &[u16] = if pos == 40 {
            &[40; 3]
        } else if pos == 32 {
            &[32; 3]
        } else {
            &[10; 3]
        };
        Shape { query: 5, pos, neg: &NEG[..num_neg] }
    }

    #[test]
    fn negatives_do_not_repeat_while_there_are_enough() {
        for key in 0..500 {
            let mut negatives = choose(key, shape(10, 7), 8, 0.0).unwrap().negatives;
            negatives.sort_unstable();
            assert_eq!(negatives, [0, 1, 2, 3, 4, 5, 6]);
        }
    }

    #[test]
    fn too_few_negatives_repeat_as_little_as_they_can() {
        for key in 0..500 {
            let negatives = choose(key, shape(10, 3), 8, 0.0).unwrap().negatives;
            assert_eq!(negatives.len(), 7);
            // Seven draws come from three copies of three negatives, so none can occur more than three times.
            assert!((0..3).all(|i| negatives.iter().filter(|&&n| n == i).count() <= 3), "{negatives:?}");
        }
    }

    #[test]
    fn a_row_without_negatives_says_what_to_do() {
        let message = choose(1, shape(10, 0), 8, 0.0).unwrap_err();
        assert!(message.contains("asks for 7"), "{message}");
        assert!(choose(1, shape(10, 0), 1, 0.0).unwrap().negatives.is_empty());
    }

    #[test]
    fn every_positive_and_every_order_comes_up() {
        let choices: Vec<Choice> = (0..2000).map(|key| choose(key, shape(40, 0), 1, 0.5).unwrap()).collect();
        for positive in 0..3 {
            assert!(choices.iter().filter(|c| c.positive == Some(positive)).count() > 550);
        }
        let shuffled: Vec<[usize; 3]> = choices.iter().filter_map(|c| c.segment_order).collect();
        assert!((900..1100).contains(&shuffled.len()), "{}", shuffled.len());
        let orders: std::collections::BTreeSet<_> = shuffled.into_iter().collect();
        assert_eq!(orders.len(), 6);
    }

    #[test]
    fn short_positives_are_not_shuffled() {
        assert!((0..100).all(|key| choose(key, shape(32, 0), 1, 1.0).unwrap().segment_order.is_none()));
    }

    #[test]
    fn segments_keep_every_token() {
        let tokens: Vec<u32> = (0..40).collect();
        let shuffled = reorder_segments(&tokens, [2, 0, 1]);
        assert_eq!(shuffled[..12], tokens[28..]);
        assert_eq!(shuffled[12..], tokens[..28]);
    }
}
