//! Attention of one token of each text, its first, to its text.
//!
//! Dense representations by CLS pooling need nothing else of the last layer: the other tokens only give it keys and
//! values. The result and every gradient are the same as with attention of all tokens. libtorch's operations do it on
//! every device, because a text has one row of probabilities only.
//!
//! Legend: T tokens of the sub-batch, d hidden size, h heads, k head size, B and L texts and length of a group.

use tch::Tensor;

use super::cross::CrossAttention;
use super::settings::{Attention, scale};
use super::texts::Group;

/// One group's inputs and probabilities, with text and head in one dimension.
struct Pairs {
    /// [B·h, 1, k].
    query: Tensor,
    /// [B·h, L, k].
    key: Tensor,
    /// [B·h, L, k].
    value: Tensor,
    /// Before dropout, [B·h, 1, L].
    probabilities: Tensor,
}

impl Attention {
    /// What the first tokens attend to, [texts, d].
    pub fn forward_cls(&self, cls: &CrossAttention, groups: &[Group]) -> Tensor {
        let parts = self.groups(cls, groups).map(|(place, group, pairs)| {
            let dropped = self.dropped(&pairs.probabilities, place);
            dropped.bmm(&pairs.value).view([group.num_texts, -1])
        });
        Tensor::cat(&parts.collect::<Vec<_>>(), 0)
    }

    /// Gradients of queries, keys and values from the result's, [texts, d].
    pub fn backward_cls(&self, cls: &CrossAttention, groups: &[Group], d_output: &Tensor) -> CrossAttention {
        let d_key_value = cls.key_value.empty_like();
        let mut d_queries = Vec::with_capacity(groups.len());
        let mut first_text = 0;
        for (place, group, pairs) in self.groups(cls, groups) {
            let d_rows = d_output.narrow(0, first_text, group.num_texts);
            let d_rows = d_rows.reshape([group.num_texts * self.num_heads, 1, -1]); // [B·h, 1, k]
            first_text += group.num_texts;
            let d_value = self.dropped(&pairs.probabilities, place).transpose(1, 2).bmm(&d_rows); // [B·h, L, k]
            let mut d_probabilities = d_rows.bmm(&pairs.value.transpose(1, 2)); // [B·h, 1, L]
            self.dropout.at(place).apply(&mut d_probabilities);
            let kind = d_probabilities.kind();
            let d_similarities =
                Tensor::internal_softmax_backward_data(&d_probabilities, &pairs.probabilities, -1, kind)
                    * scale(&pairs.query);
            d_queries.push(d_similarities.bmm(&pairs.key).view([group.num_texts, -1]));
            let d_key = d_similarities.transpose(1, 2).bmm(&pairs.query); // [B·h, L, k]
            for (mut into, gradient) in self.key_and_value(&d_key_value, group).into_iter().zip([d_key, d_value]) {
                into.copy_(&gradient.view([group.num_texts, self.num_heads, group.len, -1]));
            }
        }
        CrossAttention { query: Tensor::cat(&d_queries, 0), key_value: d_key_value }
    }

    /// The groups in order, each with its number and its attention computed.
    fn groups<'a>(
        &'a self,
        cls: &'a CrossAttention,
        groups: &'a [Group],
    ) -> impl Iterator<Item = (u64, &'a Group, Pairs)> + 'a {
        let mut first_text = 0;
        groups.iter().enumerate().map(move |(place, group)| {
            let query = cls.query.narrow(0, first_text, group.num_texts);
            first_text += group.num_texts;
            (place as u64, group, self.attend(&query, &cls.key_value, group))
        })
    }

    fn attend(&self, query: &Tensor, key_value: &Tensor, group: &Group) -> Pairs {
        let query = query.reshape([group.num_texts * self.num_heads, 1, -1]);
        let [key, value] = self.key_and_value(key_value, group);
        let shape = [group.num_texts * self.num_heads, group.len, -1];
        let (key, value) = (key.reshape(shape), value.reshape(shape));
        let mut similarities = (&query * scale(&query)).bmm(&key.transpose(1, 2));
        if let Some(mask) = &group.attention_mask {
            let mask = mask.expand([group.num_texts, self.num_heads, 1, group.len], false);
            similarities += mask.reshape([-1, 1, group.len]);
        }
        Pairs { probabilities: similarities.softmax(-1, None), query, key, value }
    }

    /// Views of a group's keys and values, [B, h, L, k].
    fn key_and_value(&self, key_value: &Tensor, group: &Group) -> [Tensor; 2] {
        let rows = key_value.narrow(0, group.first, group.num_tokens());
        let parts = rows.view([group.num_texts, group.len, 2, self.num_heads, -1]);
        [0, 1].map(|i| parts.select(2, i).transpose(1, 2))
    }

    fn dropped(&self, probabilities: &Tensor, place: u64) -> Tensor {
        let mut dropped = probabilities.copy();
        self.dropout.at(place).apply(&mut dropped);
        dropped
    }
}
