//! Two lists made one.

use std::collections::BTreeMap;

use crate::hits::{Hit, Ids, TopHits};

/// The best `depth` of the documents of both lists by the weighted sum of their scores. A document that a list lacks
/// has the score 0 there.
pub fn fuse(lists: [&[Hit]; 2], weights: [f32; 2], depth: usize, ids: &(impl Ids + ?Sized)) -> Vec<Hit> {
    let mut scores = BTreeMap::<u32, [f32; 2]>::new();
    for (i, list) in lists.into_iter().enumerate() {
        list.iter().for_each(|hit| scores.entry(hit.doc).or_default()[i] = hit.score);
    }
    let mut top = TopHits::new(depth);
    for (doc, [first, second]) in scores {
        top.push(Hit::new(doc, weights[0] * first + weights[1] * second), ids);
    }
    top.into_ranking(ids)
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Numbered;

    impl Ids for Numbered {
        fn id(&self, doc: u32) -> &[u8] {
            [b"a", b"b", b"c", b"d"][doc as usize]
        }
    }

    #[test]
    fn what_a_list_lacks_counts_as_nothing() {
        let (dense, lexical) = ([Hit::new(0, 0.5), Hit::new(1, 0.25)], [Hit::new(1, 2.0), Hit::new(2, 1.0)]);
        let fused = fuse([&dense, &lexical], [1.0, 0.5], 10, &Numbered);
        assert_eq!(fused, [Hit::new(1, 1.25), Hit::new(2, 0.5), Hit::new(0, 0.5)]);
        assert_eq!(fuse([&dense, &lexical], [1.0, 0.5], 1, &Numbered), [Hit::new(1, 1.25)]);
        assert!(fuse([&[], &[]], [1.0, 1.0], 5, &Numbered).is_empty());
    }
}
