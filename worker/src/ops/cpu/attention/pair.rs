//! One head of one text: where its numbers lie, and copies of them that products can read.
//!
//! Legend: T tokens, d hidden size, h heads, k head size, n the tokens of a text, N and K those and the head size
//! in whole vectors, R rows at a time.

use super::settings::Attention;
use crate::ops::attention::TextSpan;
use crate::ops::cpu::Element;
use crate::ops::cpu::product::LANES;
use crate::ops::dropout::Dropout;

/// The most similarities at a time, unless that allows fewer than [`MIN_ROWS`] rows.
const MAX_SIMILARITIES: usize = 1 << 16;
/// The fewest rows at a time: a multiple of the heights of a product's tiles.
const MIN_ROWS: usize = 24;
pub const MAX_ROWS: usize = 96;

/// The pairs that one thread works on.
pub type Pairs = std::iter::StepBy<std::ops::Range<usize>>;

/// One head of one text.
pub struct Pair {
    pub text: TextSpan,
    pub head: usize,
    /// k.
    pub head_len: usize,
    /// d.
    pub width: usize,
    pub dropout: Dropout,
}

impl Pair {
    /// N.
    #[inline(always)]
    pub fn tokens(&self) -> usize {
        self.text.len.next_multiple_of(LANES)
    }

    /// Where the head's numbers of token `i` begin in rows of `stride` numbers, in the `part`th block of the model's
    /// width.
    #[inline(always)]
    pub fn at(&self, i: usize, stride: usize, part: usize) -> usize {
        (self.text.first + i) * stride + part * self.width + self.head * self.head_len
    }

    #[inline(always)]
    pub fn row<'a, E>(&self, numbers: &'a [E], i: usize, stride: usize, part: usize) -> &'a [E] {
        &numbers[self.at(i, stride, part)..][..self.head_len]
    }

    /// Copies the head's part of all rows, times `factor`, into rows of `row_len` numbers. It lies in the `part`th
    /// block of the model's width in rows of `stride` numbers.
    #[inline(always)]
    pub fn gather<E: Element>(
        &self,
        from: &[E],
        [stride, part]: [usize; 2],
        factor: f32,
        to: &mut [f32],
        row_len: usize,
    ) {
        for (i, to) in to.chunks_exact_mut(row_len).take(self.text.len).enumerate() {
            to.iter_mut().zip(self.row(from, i, stride, part)).for_each(|(to, from)| *to = from.widen() * factor);
        }
    }

    /// Likewise queries, keys or values, the `part`th block of `qkv`, with their `bias`.
    #[inline(always)]
    fn gather_part<E: Element>(
        &self,
        qkv: &[E],
        bias: &[f32],
        part: usize,
        factor: f32,
        to: &mut [f32],
        row_len: usize,
    ) {
        let bias = &bias[part * self.width + self.head * self.head_len..][..self.head_len];
        for (i, to) in to.chunks_exact_mut(row_len).take(self.text.len).enumerate() {
            for ((to, from), bias) in to.iter_mut().zip(self.row(qkv, i, 3 * self.width, part)).zip(bias) {
                *to = (from.widen() + bias) * factor;
            }
        }
    }
}

/// Writes rows of `row_len` numbers, as many as `rows`, as columns, and zeros after them up to `columns_len`, whole
/// vectors.
#[inline(always)]
pub fn transpose(from: &[f32], row_len: usize, rows: usize, to: &mut [f32], columns_len: usize) {
    for first in (0..columns_len).step_by(LANES) {
        let num = LANES.min(rows.saturating_sub(first));
        for c in 0..row_len {
            let (numbers, rest) = to[c * columns_len + first..][..LANES].split_at_mut(num);
            numbers.iter_mut().enumerate().for_each(|(i, to)| *to = from[(first + i) * row_len + c]);
            rest.fill(0.0);
        }
    }
}

/// How much room a thread needs: N and K of the longest text.
#[derive(Clone, Copy)]
pub struct Room {
    tokens: usize,
    /// K.
    pub head: usize,
}

impl Room {
    /// For texts of up to `longest` tokens.
    pub fn new(longest: usize, head_len: usize) -> Self {
        Self { tokens: longest.next_multiple_of(LANES), head: head_len.next_multiple_of(LANES) }
    }

    /// [N, K], or its transpose.
    pub fn per_token(self) -> Vec<f32> {
        vec![0.0; self.tokens * self.head]
    }

    /// [R, K].
    pub fn per_row(self) -> Vec<f32> {
        vec![0.0; MAX_ROWS * self.head]
    }

    /// [R, N].
    pub fn similarities(self) -> Vec<f32> {
        // Fewer tokens may have more rows.
        vec![0.0; (MAX_ROWS * self.tokens).min(MAX_SIMILARITIES.max(MIN_ROWS * self.tokens))]
    }
}

/// R for a text of `tokens` (N).
pub fn rows_at_a_time(tokens: usize) -> usize {
    (MAX_SIMILARITIES / tokens.max(1) / MIN_ROWS * MIN_ROWS).clamp(MIN_ROWS, MAX_ROWS)
}

/// A pair's queries, divided by the root of the head size, keys and values, [n, K] each.
pub struct Operands {
    pub query: Vec<f32>,
    pub key: Vec<f32>,
    pub value: Vec<f32>,
    /// [K, N].
    pub key_columns: Vec<f32>,
    room: Room,
}

impl Operands {
    pub fn new(room: Room) -> Self {
        let [query, key, value, key_columns] = [(); 4].map(|()| room.per_token());
        Self { query, key, value, key_columns, room }
    }

    /// Copies `pair`'s from `qkv`, [T, 3d].
    #[inline(always)]
    pub fn load<E: Element>(&mut self, attention: &Attention, pair: &Pair, qkv: &[E]) {
        let parts = [(&mut self.query, attention.scale()), (&mut self.key, 1.0), (&mut self.value, 1.0)];
        for (part, (to, factor)) in parts.into_iter().enumerate() {
            pair.gather_part(qkv, attention.bias, part, factor, to, self.room.head);
        }
        transpose(&self.key, self.room.head, pair.text.len, &mut self.key_columns, pair.tokens());
    }
}
