//! Attention as it is defined, text by text: softmax(query·keyᵀ / √k), dropout, times value; and its derivative.
//!
//! It serves where no kernel does. A call of libtorch for every text and operation makes it slow for short texts, and
//! it holds some heads' probabilities of a whole text, `most` at a time, or one head's.
//!
//! Legend: R rows that ask, T tokens that answer, d hidden size, h heads, k head size; of a text: r rows, n tokens, c
//! heads at a time.

use tch::Tensor;

use super::settings::{Asked, Attention, scale};
use crate::ops::dropout::Dropout;

/// What is attended to, [R, d].
pub fn forward(attention: &Attention, asked: &Asked, most: usize) -> Tensor {
    let output = asked.parts[0].empty_like();
    for part in parts(attention, asked, most) {
        let [query, key, value] = part.of(asked.parts.each_ref()); // [c, r, k], [c, n, k] twice
        let used = part.dropped(attention, probabilities(&query, &key));
        part.rows(&output).copy_(&used.bmm(&value));
    }
    output.flatten(1, 2)
}

/// The gradients of queries [R, h, k], keys and values [T, h, k], from the result's, [R, d].
pub fn backward(attention: &Attention, asked: &Asked, most: usize, d_output: &Tensor) -> [Tensor; 3] {
    let d_parts = asked.parts.each_ref().map(Tensor::empty_like);
    let d_output = d_output.view_as(&asked.parts[0]);
    for part in parts(attention, asked, most) {
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

fn parts(attention: &Attention, asked: &Asked, most: usize) -> Vec<Part> {
    let mut parts = Vec::new();
    for (text, (asks, answers)) in asked.asks.spans().iter().zip(asked.answers.spans()).enumerate() {
        let [rows, tokens] = [asks, answers].map(|span| [span.first as i64, span.len as i64]);
        let at_a_time = (most as i64 / (rows[1] * tokens[1]).max(1)).max(1);
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

    /// `numbers`, [c, r, n], after dropout in place. The masks are those of the CPU's kernel, in which every head of
    /// every text has its own; where libtorch draws them, one is drawn for all heads.
    fn dropped(&self, attention: &Attention, mut numbers: Tensor) -> Tensor {
        let first = self.text as i64 * attention.num_heads + self.first_head;
        let of_head = |head: i64| attention.dropout.at((first + head) as u64);
        if Dropout::is_by_place(numbers.device()) {
            (0..self.num_heads).for_each(|head| of_head(head).apply(&mut numbers.get(head)));
        } else {
            of_head(0).apply(&mut numbers);
        }
        numbers
    }
}

/// [c, r, n], before dropout.
fn probabilities(query: &Tensor, key: &Tensor) -> Tensor {
    (query * scale(query)).bmm(&key.transpose(1, 2)).softmax(-1, None)
}

#[cfg(test)]
mod tests {
    use tch::{Device, Kind};

    use super::*;
    use crate::ops::attention::{TextRows, spans, starts};
    use crate::ops::dropout::Dropout;

    #[test]
    fn a_head_at_a_time_gives_what_all_at_once_give() {
        let spans = spans([5, 1, 3]);
        let starts = Tensor::from_slice(&starts(&spans));
        let texts = TextRows::new(spans, starts);
        let wave = |step: f64| (Tensor::arange(9 * 3 * 4, (Kind::Double, Device::Cpu)) * step).sin().view([9, 3, 4]);
        let asked = Asked { parts: [0.7, 0.9, 1.3].map(wave), asks: &texts, answers: &texts };
        let attention = Attention { num_heads: 3, dropout: Dropout::new(3, 0.2) };
        let d_output = wave(0.4).view([9, 12]);
        let [one, all] = [1, 1 << 20].map(|most| {
            let d = backward(&attention, &asked, most, &d_output);
            (forward(&attention, &asked, most), d)
        });
        assert_eq!(one.0, all.0);
        assert!(one.1.iter().zip(&all.1).all(|(one, all)| one == all));
    }
}
