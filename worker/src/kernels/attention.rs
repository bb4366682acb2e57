//! Attention of the tokens of each text to each other: similarities exist for a few rows of one text and head at a time,
//! in a core's cache, and are computed again in the backward pass (Dao et al., 2022, arXiv 2205.14135).
//!
//! Legend: T tokens, d hidden size, h heads, k head size, n the real tokens of a text, N and K those and the head size in
//! whole vectors, R rows at a time.

use pulp::{Arch, Simd, WithSimd};

use super::product::{LANES, Left, Shape, multiply};
use super::{Element, Shared, exp};
use crate::libtorch::parallel;
use crate::model::dropout::Dropout;

/// Similarities of the rows at a time at most, if those are not too few then.
const MAX_SIMILARITIES: usize = 1 << 16;
/// Rows at a time: a multiple of the heights of a product's tiles.
const MIN_ROWS: usize = 24;
const MAX_ROWS: usize = 96;

/// Where one text's real tokens lie.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rows {
    /// The first one's place among the T tokens.
    pub first: usize,
    /// n.
    pub len: usize,
}

/// How to attend.
#[derive(Clone, Copy)]
pub struct Attention<'a> {
    /// The texts; tokens that are no text's take no part.
    pub texts: &'a [Rows],
    /// h.
    pub num_heads: usize,
    /// k.
    pub head_len: usize,
    /// Is added to queries, keys and values, `[3d]`.
    pub bias: &'a [f32],
    /// Of probabilities.
    pub dropout: Dropout,
}

impl Attention<'_> {
    fn width(&self) -> usize {
        self.num_heads * self.head_len
    }

    /// The result, [T, d], and the logarithm of each row's sum of exponentials, [T, h], from queries, keys and values beside
    /// each other, [T, 3d], before their bias.
    ///
    /// # Panics
    /// If the slices have other lengths.
    pub fn forward<E: Element>(&self, qkv: &[E], output: &mut [E], log_sums: &mut [f32]) {
        self.check(qkv.len(), output.len(), log_sums.len());
        let (output, log_sums) = (Shared::new(output), Shared::new(log_sums));
        self.for_each_pair(|pairs| Arch::new().dispatch(Forward { attention: self, pairs, qkv, output, log_sums }));
    }

    /// The gradient of `qkv` from the result's; real tokens' numbers only are read and written.
    ///
    /// # Panics
    /// If the slices have other lengths.
    pub fn backward<E: Element>(&self, qkv: &[E], output: &[E], log_sums: &[f32], d_output: &[E], d_qkv: &mut [E]) {
        self.check(qkv.len(), output.len(), log_sums.len());
        self.check(d_qkv.len(), d_output.len(), log_sums.len());
        let d_qkv = Shared::new(d_qkv);
        let (attention, saved) = (self, Saved { output, log_sums, d_output });
        self.for_each_pair(|pairs| Arch::new().dispatch(Backward { attention, pairs, qkv, saved, d_qkv }));
    }

    fn check(&self, qkv: usize, output: usize, log_sums: usize) {
        assert_eq!(qkv, 3 * output, "[T, 3d] and [T, d]");
        assert_eq!(self.bias.len(), 3 * self.width(), "[3d]");
        assert_eq!(output, log_sums * self.head_len, "[T, d] and [T, h]");
    }

    /// (text, head) pairs on all threads, dealt out one by one because the first texts are the longest.
    fn for_each_pair(&self, work: impl Fn(Pairs) + Sync) {
        let num_pairs = self.texts.len() * self.num_heads;
        let num_threads = (tch::get_num_threads().max(1) as usize).min(num_pairs);
        parallel(num_threads, 1, |threads| threads.for_each(|thread| work((thread..num_pairs).step_by(num_threads))));
    }

    fn pair(&self, number: usize) -> Pair {
        let (text, head) = (self.texts[number / self.num_heads], number % self.num_heads);
        let dropout = self.dropout.at(number as u64);
        Pair { text, head, head_len: self.head_len, width: self.width(), dropout }
    }

    fn scratch(&self) -> Scratch {
        let longest = self.texts.iter().map(|text| text.len).max().unwrap_or(0);
        Scratch { tokens: longest.next_multiple_of(LANES), head: self.head_len.next_multiple_of(LANES) }
    }

    fn scale(&self) -> f32 {
        (self.head_len as f32).powf(-0.5)
    }
}

/// The pairs that one thread works on.
type Pairs = std::iter::StepBy<std::ops::Range<usize>>;

/// One head of one text.
struct Pair {
    text: Rows,
    head: usize,
    head_len: usize,
    width: usize,
    dropout: Dropout,
}

impl Pair {
    /// Where the head's numbers of token `i` begin in rows of `stride` numbers, in the `part`th block of the model's width.
    #[inline(always)]
    fn at(&self, i: usize, stride: usize, part: usize) -> usize {
        (self.text.first + i) * stride + part * self.width + self.head * self.head_len
    }

    #[inline(always)]
    fn row<'a, E>(&self, numbers: &'a [E], i: usize, stride: usize, part: usize) -> &'a [E] {
        &numbers[self.at(i, stride, part)..][..self.head_len]
    }

    /// Copies the head's part of all tokens' gradients, [T, d], into rows of `row_len` numbers.
    #[inline(always)]
    fn gather<E: Element>(&self, from: &[E], to: &mut [f32], row_len: usize) {
        for (i, to) in to.chunks_exact_mut(row_len).take(self.text.len).enumerate() {
            to.iter_mut().zip(self.row(from, i, self.width, 0)).for_each(|(to, from)| *to = from.widen());
        }
    }

    /// Likewise queries, keys or values, the `part`th block of `qkv`, with their `bias` and times `factor`.
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

/// Writes rows of `row_len` numbers, as many as `rows`, as columns of `columns_len` numbers.
#[inline(always)]
fn transpose(from: &[f32], row_len: usize, rows: usize, to: &mut [f32], columns_len: usize) {
    for first in (0..rows).step_by(LANES) {
        let last = rows.min(first + LANES);
        for c in 0..row_len {
            let to = &mut to[c * columns_len + first..][..last - first];
            for (i, to) in to.iter_mut().enumerate() {
                *to = from[(first + i) * row_len + c];
            }
        }
        // What follows the last row is read by products, but its results are not.
        for c in 0..row_len {
            let end = (first + LANES).min(columns_len);
            to[c * columns_len + last..c * columns_len + end].fill(0.0);
        }
    }
}

/// Lengths of a thread's working memory: N and K of the longest text.
struct Scratch {
    tokens: usize,
    head: usize,
}

impl Scratch {
    fn per_token(&self) -> Vec<f32> {
        vec![0.0; self.tokens * self.head]
    }

    /// R for a text of `tokens` (N).
    fn rows(&self, tokens: usize) -> usize {
        (MAX_SIMILARITIES / tokens.max(1) / MIN_ROWS * MIN_ROWS).clamp(MIN_ROWS, MAX_ROWS)
    }

    fn similarities(&self) -> Vec<f32> {
        // Fewer tokens may have more rows.
        vec![0.0; (MAX_ROWS * self.tokens).min(MAX_SIMILARITIES.max(MIN_ROWS * self.tokens))]
    }
}

struct Forward<'a, E> {
    attention: &'a Attention<'a>,
    pairs: Pairs,
    qkv: &'a [E],
    output: Shared<'a, E>,
    log_sums: Shared<'a, f32>,
}

impl<E: Element> WithSimd for Forward<'_, E> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Self { attention, pairs, qkv, output, log_sums } = self;
        let scratch = attention.scratch();
        let head = scratch.head;
        let (mut query, mut key, mut value) = (scratch.per_token(), scratch.per_token(), scratch.per_token());
        let (mut key_columns, mut all) = (scratch.per_token(), scratch.similarities());
        let mut sums = vec![0.0; MAX_ROWS * head];
        for pair in pairs.map(|number| attention.pair(number)) {
            let n = pair.text.len;
            let tokens = n.next_multiple_of(LANES);
            pair.gather_part(qkv, attention.bias, 0, attention.scale(), &mut query, head);
            pair.gather_part(qkv, attention.bias, 1, 1.0, &mut key, head);
            pair.gather_part(qkv, attention.bias, 2, 1.0, &mut value, head);
            transpose(&key, head, n, &mut key_columns, tokens);
            let rows = scratch.rows(tokens);
            for first in (0..n).step_by(rows) {
                let rows = rows.min(n - first);
                let similar =
                    Shape { rows, depth: pair.head_len, columns: tokens, b_len: tokens, c_len: tokens, add: false };
                let left = Left { numbers: &query[first * head..], row_stride: head, depth_stride: 1 };
                multiply(simd, similar, left, &key_columns, &mut all);
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
                multiply(simd, weighted, left, &value, &mut sums);
                for (i, sum) in sums.chunks_exact(head).take(rows).enumerate() {
                    // SAFETY: the place is this pair's and row's own.
                    let to = unsafe { output.slice(pair.at(first + i, pair.width, 0), pair.head_len) };
                    to.iter_mut().zip(sum).for_each(|(to, sum)| *to = E::narrow(sum * factors[i]));
                }
            }
        }
    }
}

/// What the forward pass has left, and the result's gradient.
#[derive(Clone, Copy)]
struct Saved<'a, E> {
    output: &'a [E],
    log_sums: &'a [f32],
    d_output: &'a [E],
}

struct Backward<'a, E> {
    attention: &'a Attention<'a>,
    pairs: Pairs,
    qkv: &'a [E],
    saved: Saved<'a, E>,
    d_qkv: Shared<'a, E>,
}

impl<E: Element> WithSimd for Backward<'_, E> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Self { attention, pairs, qkv, saved, d_qkv } = self;
        let (scratch, stride, scale) = (attention.scratch(), 3 * attention.width(), attention.scale());
        let head = scratch.head;
        let (mut query, mut key, mut value) = (scratch.per_token(), scratch.per_token(), scratch.per_token());
        let (mut key_columns, mut value_columns) = (scratch.per_token(), scratch.per_token());
        let (mut d_output, mut d_key, mut d_value) = (scratch.per_token(), scratch.per_token(), scratch.per_token());
        let mut d_query = vec![0.0; MAX_ROWS * head];
        let (mut probabilities, mut d_similarities) = (scratch.similarities(), scratch.similarities());
        for pair in pairs.map(|number| attention.pair(number)) {
            let n = pair.text.len;
            let tokens = n.next_multiple_of(LANES);
            pair.gather_part(qkv, attention.bias, 0, scale, &mut query, head);
            pair.gather_part(qkv, attention.bias, 1, 1.0, &mut key, head);
            pair.gather_part(qkv, attention.bias, 2, 1.0, &mut value, head);
            pair.gather(saved.d_output, &mut d_output, head);
            transpose(&key, head, n, &mut key_columns, tokens);
            transpose(&value, head, n, &mut value_columns, tokens);
            let rows = scratch.rows(tokens);
            for first in (0..n).step_by(rows) {
                let rows = rows.min(n - first);
                let own = |numbers| Left { numbers, row_stride: head, depth_stride: 1 };
                let similar =
                    Shape { rows, depth: pair.head_len, columns: tokens, b_len: tokens, c_len: tokens, add: false };
                multiply(simd, similar, own(&query[first * head..]), &key_columns, &mut probabilities);
                multiply(simd, similar, own(&d_output[first * head..]), &value_columns, &mut d_similarities);
                let both = probabilities.chunks_exact_mut(tokens).zip(d_similarities.chunks_exact_mut(tokens));
                for (i, (p, d)) in both.take(rows).enumerate() {
                    let token = first + i;
                    let log_sum = saved.log_sums[(pair.text.first + token) * attention.num_heads + pair.head];
                    let mean = inner_product(
                        &d_output[token * head..][..pair.head_len],
                        pair.row(saved.output, token, pair.width, 0),
                    );
                    p.iter_mut().for_each(|p| *p = exp(*p - log_sum));
                    pair.dropout.differentiate_row(p, d, mean, token * n);
                }
                let by_row = Shape { rows, depth: n, columns: head, b_len: head, c_len: head, add: false };
                let left = Left { numbers: &d_similarities, row_stride: tokens, depth_stride: 1 };
                multiply(simd, by_row, left, &key, &mut d_query);
                for (i, d) in d_query.chunks_exact(head).take(rows).enumerate() {
                    // SAFETY: the place is this pair's and row's own.
                    let to = unsafe { d_qkv.slice(pair.at(first + i, stride, 0), pair.head_len) };
                    to.iter_mut().zip(d).for_each(|(to, d)| *to = E::narrow(d * scale));
                }
                let add = first > 0;
                let by_column = Shape { rows: n, depth: rows, columns: head, b_len: head, c_len: head, add };
                let columns = |numbers| Left { numbers, row_stride: 1, depth_stride: tokens };
                multiply(simd, by_column, columns(&probabilities), &d_output[first * head..], &mut d_value);
                multiply(simd, by_column, columns(&d_similarities), &query[first * head..], &mut d_key);
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

/// Of a row of whole vectors.
#[inline(always)]
fn maximum(row: &[f32]) -> f32 {
    let mut lanes = [f32::NEG_INFINITY; LANES];
    for numbers in row.chunks_exact(LANES) {
        lanes.iter_mut().zip(numbers).for_each(|(lane, x)| *lane = if *x > *lane { *x } else { *lane });
    }
    lanes.into_iter().fold(f32::NEG_INFINITY, f32::max)
}

/// Replaces every x of a row of whole vectors by e^(x − max); returns their sum.
#[inline(always)]
fn exponentials(row: &mut [f32], max: f32) -> f32 {
    let mut lanes = [0.0; LANES];
    for numbers in row.chunks_exact_mut(LANES) {
        for (lane, x) in lanes.iter_mut().zip(numbers) {
            *x = exp(*x - max);
            *lane += *x;
        }
    }
    lanes.into_iter().sum()
}

#[inline(always)]
fn inner_product<E: Element>(a: &[f32], b: &[E]) -> f32 {
    let mut lanes = [0.0; LANES];
    for (a, b) in a.chunks(LANES).zip(b.chunks(LANES)) {
        for (lane, (a, b)) in lanes.iter_mut().zip(a.iter().zip(b)) {
            *lane = a.mul_add(b.widen(), *lane);
        }
    }
    lanes.into_iter().sum()
}

#[cfg(test)]
mod tests {
    use tch::{Device, Kind, Tensor};

    use super::*;
    use crate::kernels::{BFloat16, elements, elements_mut};
    use crate::libtorch;

    const HEADS: usize = 2;

    /// What autograd makes of it in float64, every number of a similarity's own: result and gradient of `qkv`.
    fn by_autograd(attention: &Attention, qkv: &Tensor, d_output: &Tensor) -> [Tensor; 2] {
        let options = (Kind::Double, Device::Cpu);
        let bias = Tensor::from_slice(attention.bias).to_kind(Kind::Double);
        let qkv = (qkv.to_kind(Kind::Double) + bias).set_requires_grad(true);
        let k = attention.head_len as i64;
        let width = HEADS as i64 * k;
        let mut outputs = Vec::new();
        for (number, text) in attention.texts.iter().enumerate() {
            let rows = qkv.narrow(0, text.first as i64, text.len as i64);
            let heads = (0..HEADS).map(|head| {
                let part = |part: i64| rows.narrow(1, part * width + head as i64 * k, k);
                let p = (part(0).matmul(&part(1).tr()) * (k as f64).powf(-0.5)).softmax(-1, None);
                let mut kept = vec![1.0f32; text.len * text.len];
                let dropout = attention.dropout.at((number * HEADS + head) as u64);
                for (i, row) in kept.chunks_exact_mut(text.len).enumerate() {
                    dropout.apply_row(row, i * text.len);
                }
                let kept = Tensor::from_slice(&kept).to_kind(options.0).view([text.len as i64, -1]);
                (p * kept).matmul(&part(2))
            });
            outputs.push(Tensor::cat(&heads.collect::<Vec<_>>(), 1));
        }
        let output = Tensor::cat(&outputs, 0);
        libtorch::backward(&[(&output, &d_output.to_kind(Kind::Double))]);
        [output.detach(), qkv.grad()]
    }

    fn by_kernel<E: Element>(attention: &Attention, qkv: &Tensor, d_output: &Tensor) -> [Tensor; 2] {
        let mut output = d_output.zeros_like();
        let mut d_qkv = qkv.zeros_like();
        let mut log_sums = vec![0.0; output.size()[0] as usize * HEADS];
        attention.forward::<E>(elements(qkv), elements_mut(&mut output), &mut log_sums);
        let saved = elements(&output);
        attention.backward::<E>(elements(qkv), saved, &log_sums, elements(d_output), elements_mut(&mut d_qkv));
        [output, d_qkv]
    }

    #[test]
    fn the_kernel_is_attention_and_its_derivative() {
        // One token, whole vectors, one more, several blocks of rows with a short last one, heads of no whole vector.
        let lens = [1, 16, 17, 3, 250];
        for (head_len, probability) in [(4, 0.0), (32, 0.0), (40, 0.1), (64, 0.1)] {
            let mut first = 0;
            let texts = lens.map(|len| {
                first += len;
                Rows { first: first - len, len }
            });
            let bias: Vec<f32> = (0..3 * HEADS * head_len).map(|i| 0.3 * (i as f32).sin()).collect();
            let dropout = Dropout::new(3, probability);
            let attention = Attention { texts: &texts, num_heads: HEADS, head_len, bias: &bias, dropout };
            let wave = |columns: i64, step: f64| {
                let numbers = Tensor::arange(first as i64 * columns, (Kind::Double, Device::Cpu)) * step;
                (numbers.sin() * 2.0).view([first as i64, columns])
            };
            let width = (HEADS * head_len) as i64;
            for (kind, tolerance) in [(Kind::Float, 2e-6), (Kind::BFloat16, 2e-2)] {
                let (qkv, d_output) = (wave(3 * width, 0.71).to_kind(kind), wave(width, 0.37).to_kind(kind));
                let found = match kind {
                    Kind::Float => by_kernel::<f32>(&attention, &qkv, &d_output),
                    _ => by_kernel::<BFloat16>(&attention, &qkv, &d_output),
                };
                for (found, exact) in found.iter().zip(by_autograd(&attention, &qkv, &d_output)) {
                    let error = (found.to_kind(Kind::Double) - &exact).abs().max().double_value(&[]);
                    let scale = exact.abs().max().double_value(&[]);
                    assert!(error <= tolerance * scale, "{kind:?}, head of {head_len}: off by {error} of {scale}");
                }
            }
        }
    }

    #[test]
    fn what_is_not_a_number_stays_none() {
        let texts = [Rows { first: 0, len: 3 }];
        let dropout = Dropout::new(0, 0.0);
        let attention = Attention { texts: &texts, num_heads: HEADS, head_len: 4, bias: &[0.0; 24], dropout };
        let mut qkv = vec![0.5f32; 3 * 24];
        qkv[24] = f32::NAN;
        let (mut output, mut log_sums) = (vec![0.0; 24], vec![0.0; 6]);
        attention.forward(&qkv, &mut output, &mut log_sums);
        assert!(output[8..12].iter().all(|x| x.is_nan()) && output[..8].iter().all(|x| x.is_finite()));
    }
}
