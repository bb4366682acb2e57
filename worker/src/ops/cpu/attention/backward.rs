//! The gradient of queries, keys and values, with the probabilities computed again.

use pulp::{Simd, WithSimd};

use super::pair::{Operands, Pairs, rows_at_a_time, transpose};
use super::settings::Attention;
use crate::ops::cpu::product::{LANES, Left, Shape, multiply};
use crate::ops::cpu::{Element, Shared, exp};

/// See [`Attention::backward`].
pub struct Backward<'a, E> {
    pub attention: &'a Attention<'a>,
    pub pairs: Pairs,
    pub qkv: &'a [E],
    pub output: &'a [E],
    pub log_sums: &'a [f32],
    pub d_output: &'a [E],
    pub d_qkv: Shared<'a, E>,
}

impl<E: Element> WithSimd for Backward<'_, E> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Self { attention, pairs, qkv, output, log_sums, d_output, d_qkv } = self;
        let (room, stride, scale) = (attention.room(), 3 * attention.width(), attention.scale());
        let head = room.head;
        let (mut operands, mut value_columns, mut d_rows) = (Operands::new(room), room.per_token(), room.per_token());
        let (mut d_query, mut d_key, mut d_value) = (room.per_row(), room.per_token(), room.per_token());
        let (mut probabilities, mut d_similarities) = (room.similarities(), room.similarities());
        for pair in pairs.map(|number| attention.pair(number)) {
            let (n, tokens) = (pair.text.len, pair.tokens());
            operands.load(attention, &pair, qkv);
            pair.gather(d_output, [pair.width, 0], 1.0, &mut d_rows, head);
            transpose(&operands.value, head, n, &mut value_columns, tokens);
            let rows = rows_at_a_time(tokens);
            for first in (0..n).step_by(rows) {
                let rows = rows.min(n - first);
                let own = |numbers| Left { numbers, row_stride: head, depth_stride: 1 };
                let similar =
                    Shape { rows, depth: pair.head_len, columns: tokens, b_len: tokens, c_len: tokens, add: false };
                multiply(
                    simd,
                    similar,
                    own(&operands.query[first * head..]),
                    &operands.key_columns,
                    &mut probabilities,
                );
                multiply(simd, similar, own(&d_rows[first * head..]), &value_columns, &mut d_similarities);
                let both = probabilities.chunks_exact_mut(tokens).zip(d_similarities.chunks_exact_mut(tokens));
                for (i, (p, d)) in both.take(rows).enumerate() {
                    let token = first + i;
                    let log_sum = log_sums[(pair.text.first + token) * attention.num_heads + pair.head];
                    let mean =
                        inner_product(&d_rows[token * head..][..pair.head_len], pair.row(output, token, pair.width, 0));
                    p.iter_mut().for_each(|p| *p = exp(*p - log_sum));
                    pair.dropout.differentiate_row(p, d, mean, token * n);
                }
                let by_row = Shape { rows, depth: n, columns: head, b_len: head, c_len: head, add: false };
                let left = Left { numbers: &d_similarities, row_stride: tokens, depth_stride: 1 };
                multiply(simd, by_row, left, &operands.key, &mut d_query);
                for (i, d) in d_query.chunks_exact(head).take(rows).enumerate() {
                    // SAFETY: the place is this pair's and row's own.
                    let to = unsafe { d_qkv.slice(pair.at(first + i, stride, 0), pair.head_len) };
                    to.iter_mut().zip(d).for_each(|(to, d)| *to = E::narrow(d * scale));
                }
                let add = first > 0;
                let by_column = Shape { rows: n, depth: rows, columns: head, b_len: head, c_len: head, add };
                let columns = |numbers| Left { numbers, row_stride: 1, depth_stride: tokens };
                multiply(simd, by_column, columns(&probabilities), &d_rows[first * head..], &mut d_value);
                multiply(simd, by_column, columns(&d_similarities), &operands.query[first * head..], &mut d_key);
            }
            for (part, gradient) in [(1, &d_key), (2, &d_value)] {
                for (i, d) in gradient.chunks_exact(head).take(n).enumerate() {
                    // SAFETY: the place is this pair's and row's own.
                    let to = unsafe { d_qkv.slice(pair.at(i, stride, part), pair.head_len) };
                    to.iter_mut().zip(d).for_each(|(to, d)| *to = E::narrow(*d));
                }
            }
        }
    }
}

#[inline(always)]
pub fn inner_product<E: Element>(a: &[f32], b: &[E]) -> f32 {
    let mut lanes = [0.0; LANES];
    for (a, b) in a.chunks(LANES).zip(b.chunks(LANES)) {
        for (lane, (a, b)) in lanes.iter_mut().zip(a.iter().zip(b)) {
            *lane = a.mul_add(b.widen(), *lane);
        }
    }
    lanes.into_iter().sum()
}
