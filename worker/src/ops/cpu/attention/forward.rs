//! The forward pass of attention.

use pulp::{Simd, WithSimd};

use super::pair::{MAX_ROWS, Operands, Pairs, rows_at_a_time};
use super::settings::Attention;
use crate::ops::cpu::product::{LANES, Left, Shape, multiply};
use crate::ops::cpu::{Element, Shared, exp};

/// See [`Attention::forward`].
pub struct Forward<'a, E> {
    pub attention: &'a Attention<'a>,
    pub pairs: Pairs,
    pub qkv: &'a [E],
    pub output: Shared<'a, E>,
    pub log_sums: Shared<'a, f32>,
}

impl<E: Element> WithSimd for Forward<'_, E> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Self { attention, pairs, qkv, output, log_sums } = self;
        let room = attention.room();
        let head = room.head;
        let (mut operands, mut all, mut sums) = (Operands::new(room), room.similarities(), room.per_row());
        for pair in pairs.map(|number| attention.pair(number)) {
            let (n, tokens) = (pair.text.len, pair.tokens());
            operands.load(attention, &pair, qkv);
            let rows = rows_at_a_time(tokens);
            for first in (0..n).step_by(rows) {
                let rows = rows.min(n - first);
                let similar =
                    Shape { rows, depth: pair.head_len, columns: tokens, b_len: tokens, c_len: tokens, add: false };
                let left = Left { numbers: &operands.query[first * head..], row_stride: head, depth_stride: 1 };
                multiply(simd, similar, left, &operands.key_columns, &mut all);
                let mut factors = [0.0; MAX_ROWS];
                for (i, row) in all.chunks_exact_mut(tokens).take(rows).enumerate() {
                    row[n..].fill(f32::NEG_INFINITY);
                    let max = maximum(row);
                    let sum = exponentials(row, max);
                    factors[i] = 1.0 / sum;
                    // SAFETY: the place is this pair's and row's own.
                    let log_sum =
                        unsafe { log_sums.slice((pair.text.first + first + i) * attention.num_heads + pair.head, 1) };
                    log_sum[0] = max + sum.ln();
                    pair.dropout.apply_row(row, (first + i) * n);
                }
                let weighted = Shape { rows, depth: n, columns: head, b_len: head, c_len: head, add: false };
                let left = Left { numbers: &all, row_stride: tokens, depth_stride: 1 };
                multiply(simd, weighted, left, &operands.value, &mut sums);
                for (i, sum) in sums.chunks_exact(head).take(rows).enumerate() {
                    // SAFETY: the place is this pair's and row's own.
                    let to = unsafe { output.slice(pair.at(first + i, pair.width, 0), pair.head_len) };
                    for (to, sum) in to.iter_mut().zip(sum) {
                        *to = E::narrow(sum * factors[i]);
                    }
                }
            }
        }
    }
}

/// The largest number of a row of whole vectors.
#[inline(always)]
pub fn maximum(row: &[f32]) -> f32 {
    let mut lanes = [f32::NEG_INFINITY; LANES];
    for numbers in row.chunks_exact(LANES) {
        for (lane, x) in lanes.iter_mut().zip(numbers) {
            *lane = if *x > *lane { *x } else { *lane };
        }
    }
    lanes.into_iter().fold(f32::NEG_INFINITY, f32::max)
}

/// Replaces every x of a row of whole vectors by e^(x − max); returns their sum.
#[inline(always)]
pub fn exponentials(row: &mut [f32], max: f32) -> f32 {
    let mut lanes = [0.0; LANES];
    for numbers in row.chunks_exact_mut(LANES) {
        for (lane, x) in lanes.iter_mut().zip(numbers) {
            *x = exp(*x - max);
            *lane += *x;
        }
    }
    lanes.into_iter().sum()
}
