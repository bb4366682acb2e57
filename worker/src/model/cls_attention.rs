//! Attention of one token of each text, its first, to its text.
//!
//! Who wants dense representations by CLS pooling wants nothing else of the last layer: other tokens give their keys and
//! values to it, and that is all. The result is the same, and so is every gradient.
//!
//! Legend: T tokens of the sub-batch, d hidden size, h heads, k head size, B and L texts and length of a group.

use tch::Tensor;

use super::attention::{Attention, scale};
use crate::model::sub_batch::{Group, SubBatch};

/// Queries of the chosen tokens and all tokens' keys and values, or their gradients.
pub struct Chosen {
    /// [texts, d].
    pub query: Tensor,
    /// Beside each other, [T, 2d].
    pub key_value: Tensor,
}

/// One group's, with text and head in one dimension.
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
    /// What the chosen tokens attend to, [texts, d].
    pub fn forward_chosen(&self, chosen: &Chosen, texts: &SubBatch) -> Tensor {
        let parts = self.groups(chosen, texts).map(|(place, group, pairs)| {
            let dropped = self.dropped(&pairs.probabilities, place);
            dropped.bmm(&pairs.value).view([group.num_texts, -1])
        });
        Tensor::cat(&parts.collect::<Vec<_>>(), 0)
    }

    /// Gradients of queries, keys and values from the result's, [texts, d].
    pub fn backward_chosen(&self, chosen: &Chosen, texts: &SubBatch, d_output: &Tensor) -> Chosen {
        let d_key_value = chosen.key_value.empty_like();
        let mut d_queries = Vec::with_capacity(texts.groups.len());
        let mut first_text = 0;
        for (place, group, pairs) in self.groups(chosen, texts) {
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
        Chosen { query: Tensor::cat(&d_queries, 0), key_value: d_key_value }
    }

    /// The groups, in order, each with its number.
    fn groups<'a>(
        &'a self,
        chosen: &'a Chosen,
        texts: &'a SubBatch,
    ) -> impl Iterator<Item = (u64, &'a Group, Pairs)> + 'a {
        let mut first_text = 0;
        texts.groups.iter().enumerate().map(move |(place, group)| {
            let query = chosen.query.narrow(0, first_text, group.num_texts);
            first_text += group.num_texts;
            (place as u64, group, self.attend(&query, &chosen.key_value, group))
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
            let _ = similarities.masked_fill_(&mask.reshape([-1, 1, group.len]).logical_not(), f64::NEG_INFINITY);
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

#[cfg(test)]
mod tests {
    use tch::{Device, Kind};
    use tercet_sampler::{GPU_PADDING, SpecialTokens, SubBatchLimit, TextInput};

    use super::*;
    use crate::model::representation::Heads;
    use crate::model::sub_batch::{Framing, SubBatches};
    use crate::ops::cpu::dropout::Dropout;

    #[test]
    fn chosen_tokens_get_what_they_get_among_all() {
        let lens = [40, 40, 39, 5, 2];
        let special = SpecialTokens { cls: 0, eos: 2, pad: 1, unk: 3 };
        let texts: Vec<TextInput> = lens.iter().map(|&len| TextInput::new((0..len).collect(), &special)).collect();
        let framing = Framing { pad: 1, device: Device::Cpu };
        let limit = SubBatchLimit { tokens: 1000, texts: 0 };
        let texts = SubBatches::padded(&texts, limit, GPU_PADDING, framing, Heads::DENSE).build(0);
        assert!(texts.groups.iter().any(|group| group.attention_mask.is_some()), "something is padded");
        let (attention, tokens) =
            (Attention { num_heads: 2, dropout: Dropout::new(0, 0.0) }, texts.num_padded_tokens() as i64);
        let wave = |len: i64, step: f64| (Tensor::arange(len, (Kind::Double, Device::Cpu)) * step).sin();
        let qkv = wave(tokens * 24, 0.7).view([tokens, 24]);
        let rows = &texts.cls.token;
        let chosen =
            Chosen { query: qkv.narrow(1, 0, 8).index_select(0, rows), key_value: qkv.narrow(1, 8, 16).contiguous() };
        // In float64, which has no kernel: a bias is none's.
        let all = attention.forward(&qkv, &qkv, &texts, true);
        let close = |a: &Tensor, b: &Tensor| a.allclose(b, 1e-12, 1e-12, false);
        assert!(close(&attention.forward_chosen(&chosen, &texts), &all.output().index_select(0, rows)));

        let d_output = wave(texts.num_texts() * 8, 0.3).view([-1, 8]);
        let d_all = Tensor::zeros([tokens, 8], (Kind::Double, Device::Cpu)).index_add(0, rows, &d_output);
        let d_qkv = attention.backward(&qkv, &qkv, &texts, all, &d_all);
        let d = attention.backward_chosen(&chosen, &texts, &d_output);
        assert!(close(&d.query, &d_qkv.narrow(1, 0, 8).index_select(0, rows)));
        assert!(close(&d.key_value, &d_qkv.narrow(1, 8, 16)));
    }
}
