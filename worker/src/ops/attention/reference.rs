//! Attention as it is defined, text by text: softmax(query·keyᵀ / √k), dropout, times value; and its derivative. It
//! holds all of a text's probabilities, so it is for tests and short texts.
//!
//! Legend: T tokens, d hidden size, h heads, k head size, n tokens of a text.

use tch::Tensor;

use super::settings::{Attention, scale};
use super::texts::TextSpan;

/// The result, [T, d], from queries, keys and values beside each other, [T, 3d]; 0 where there is no text.
pub fn forward(attention: &Attention, qkv: &Tensor, texts: &[TextSpan]) -> Tensor {
    let output = Tensor::zeros([qkv.size()[0], qkv.size()[1] / 3], (qkv.kind(), qkv.device()));
    for (text, &span) in texts.iter().enumerate() {
        let [query, key, value] = views(attention, qkv, span); // [h, n, k]
        let probabilities = probabilities(&query, &key);
        drop_in(attention, text, &probabilities);
        let [mut into] = views(attention, &output, span);
        into.copy_(&probabilities.bmm(&value));
    }
    output
}

/// The gradient of `qkv`, [T, 3d], from the result's, [T, d].
pub fn backward(attention: &Attention, qkv: &Tensor, texts: &[TextSpan], d_output: &Tensor) -> Tensor {
    let d_qkv = qkv.zeros_like();
    for (text, &span) in texts.iter().enumerate() {
        let [query, key, value] = views(attention, qkv, span); // [h, n, k]
        let [d_output] = views(attention, d_output, span); // [h, n, k]
        let probabilities = probabilities(&query, &key); // [h, n, n]
        let dropped = probabilities.copy();
        drop_in(attention, text, &dropped);
        let d_value = dropped.transpose(1, 2).bmm(&d_output);
        let d_probabilities = d_output.bmm(&value.transpose(1, 2)); // [h, n, n]
        drop_in(attention, text, &d_probabilities);
        let kind = probabilities.kind();
        let d_similarities =
            Tensor::internal_softmax_backward_data(&d_probabilities, &probabilities, -1, kind) * scale(&query);
        let gradients = [d_similarities.bmm(&key), d_similarities.transpose(1, 2).bmm(&query), d_value];
        for (mut into, gradient) in views::<3>(attention, &d_qkv, span).into_iter().zip(gradients) {
            into.copy_(&gradient);
        }
    }
    d_qkv
}

/// [h, n, n], before dropout.
fn probabilities(query: &Tensor, key: &Tensor) -> Tensor {
    (query * scale(query)).bmm(&key.transpose(1, 2)).softmax(-1, None)
}

/// Dropout in place, with the kernel's masks: every head of every text has its own.
fn drop_in(attention: &Attention, text: usize, probabilities: &Tensor) {
    for head in 0..attention.num_heads {
        let place = text as i64 * attention.num_heads + head;
        attention.dropout.at(place as u64).apply(&mut probabilities.get(head));
    }
}

/// Views of what lies beside each other in the rows of `x`, [h, n, k] of a text each.
fn views<const PARTS: usize>(attention: &Attention, x: &Tensor, span: TextSpan) -> [Tensor; PARTS] {
    let rows = x.narrow(0, span.first as i64, span.len as i64);
    let parts = rows.view([span.len as i64, PARTS as i64, attention.num_heads, -1]);
    std::array::from_fn(|part| parts.select(1, part as i64).transpose(0, 1))
}
