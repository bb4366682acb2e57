//! Attention as it is defined, text by text: softmax(query·keyᵀ / √k), dropout, times value; and its derivative.
//!
//! It serves where no kernel does. A call of libtorch for every text and operation makes it slow for short texts, and
//! it holds some heads' probabilities of a whole text, as many heads as [`MOST_PROBABILITIES`] allows.
//!
//! Legend: R rows that ask, T tokens that answer, d hidden size, h heads, k head size; of a text: r rows, n tokens, c
//! heads at a time.

use tch::Tensor;
use tercet_configs::limits::MOST_PROBABILITIES;

use super::settings::{Asked, Attention, scale};

/// What is attended to, [R, d].
pub fn forward(attention: &Attention, asked: &Asked) -> Tensor {
    let output = asked.parts[0].empty_like();
    for part in parts(attention, asked) {
        let [query, key, value] = part.of(asked.parts.each_ref()); // [c, r, k], [c, n, k] twice
        let used = part.dropped(attention, probabilities(&query, &key));
        part.rows(&output).copy_(&used.bmm(&value));
    }
    output.flatten(1, 2)
}

/// The gradients of queries [R, h, k], keys and values [T, h, k], from the result's, [R, d].
pub fn backward(attention: &Attention, asked: &Asked, d_output: &Tensor) -> [Tensor; 3] {
    let d_parts = asked.parts.each_ref().map(Tensor::empty_like);
    let d_output = d_output.view_as(&asked.parts[0]);
    for part in parts(attention, asked) {
        let [query, key, value] = part.of(asked.parts.each_ref());
        let d_rows = part.rows(&d_output); // [c, r, k]
        let probabilities = probabilities(&query, &key); // [c, r, n]
        let used = if attention.dropout.is_on() { probabilities.copy() } else { probabilities.shallow_clone() };
        let used = part.dropped(attention, used);
        let d_value = used.transpose(1, 2).bmm(&d_rows);
        drop(used);
        let d_probabilities = part.dropped(attention, d_rows.bmm(&value.transpose(1, 2))); // [c, r, n]
        let kind = probabilities.kind();
        let mut d_similarities = Tensor::internal_softmax_backward_data(&d_probabilities, &probabilities, -1, kind);
        let _ = d_similarities.g_mul_scalar_(scale(&query));
        let gradients = [d_similarities.bmm(&key), d_similarities.transpose(1, 2).bmm(&query), d_value];
        for (mut into, gradient) in part.of(d_parts.each_ref()).into_iter().zip(gradients) {
            into.copy_(&gradient);
        }
    }
    d_parts
}

/// Some heads of one text.
struct Part {
    text: usize,
    first_head: i64,
    num_heads: i64,
    /// First and number of its rows, and of its tokens.
    rows: [i64; 2],
    tokens: [i64; 2],
}

fn parts(attention: &Attention, asked: &Asked) -> Vec<Part> {
    let mut parts = Vec::new();
    for (text, (asks, answers)) in asked.asks.spans.iter().zip(&asked.answers.spans).enumerate() {
        let [rows, tokens] = [asks, answers].map(|span| [span.first as i64, span.len as i64]);
        let at_a_time = (MOST_PROBABILITIES as i64 / (rows[1] * tokens[1]).max(1)).max(1);
        for first_head in (0..attention.num_heads).step_by(at_a_time as usize) {
            let num_heads = at_a_time.min(attention.num_heads - first_head);
            parts.push(Part { text, first_head, num_heads, rows, tokens });
        }
    }
    parts
}

impl Part {
    /// Views of its part of [R, h, k], [c, r, k].
    fn rows(&self, all: &Tensor) -> Tensor {
        self.view(all, self.rows)
    }

    fn of(&self, [query, key, value]: [&Tensor; 3]) -> [Tensor; 3] {
        [self.rows(query), self.view(key, self.tokens), self.view(value, self.tokens)]
    }

    fn view(&self, all: &Tensor, [first, len]: [i64; 2]) -> Tensor {
        all.narrow(0, first, len).narrow(1, self.first_head, self.num_heads).transpose(0, 1)
    }

    /// `numbers`, [c, r, n], after dropout in place, with the kernel's masks: every head of every text has its own.
    fn dropped(&self, attention: &Attention, numbers: Tensor) -> Tensor {
        for head in 0..self.num_heads {
            let place = self.text as i64 * attention.num_heads + self.first_head + head;
            attention.dropout.at(place as u64).apply(&mut numbers.get(head));
        }
        numbers
    }
}

/// [c, r, n], before dropout.
fn probabilities(query: &Tensor, key: &Tensor) -> Tensor {
    (query * scale(query)).bmm(&key.transpose(1, 2)).softmax(-1, None)
}
