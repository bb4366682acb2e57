//! Attention of each text's first token alone: a row of similarities for every text and head, so keys and values are
//! read where they lie, once.
//!
//! Legend: B texts, T tokens, d hidden size, h heads, k head size, n the tokens of a text.

use pulp::{Arch, Simd, WithSimd};
use tch::{Device, Kind, Tensor};

use super::backward::inner_product;
use super::forward::{exponentials, maximum};
use super::pair::Pairs;
use super::parallel_pairs;
use crate::ops::attention::TextSpan;
use crate::ops::cpu::product::LANES;
use crate::ops::cpu::{Element, Shared, elements, elements_mut, exp, in_elements_of};
use crate::ops::dropout::Dropout;

/// What all texts and heads have in common.
#[derive(Clone, Copy)]
pub struct ClsAttention<'a> {
    /// The texts, which are the T tokens.
    pub texts: &'a [TextSpan],
    /// h.
    pub num_heads: usize,
    /// Dropout of probabilities.
    pub dropout: Dropout,
}

impl ClsAttention<'_> {
    /// The result, [B, d], and the logarithm of each row's sum of exponentials, [B, h] in float32, from queries, [B,
    /// d], and keys and values beside each other, [T, 2d], all with their bias.
    ///
    /// # Panics
    /// If tensors have other sizes.
    pub fn forward(&self, query: &Tensor, key_value: &Tensor) -> [Tensor; 2] {
        let mut output = query.empty_like();
        let mut log_sums = Tensor::empty([query.size()[0], self.num_heads as i64], (Kind::Float, Device::Cpu));
        in_elements_of!(query, E => {
            let numbers = Numbers::<E>::new(self, query, key_value);
            let (output, log_sums) = (Shared::new(elements_mut(&mut output)), Shared::new(elements_mut(&mut log_sums)));
            self.for_each_pair(|pairs| Arch::new().dispatch(Forward { numbers, pairs, output, log_sums }));
        });
        [output, log_sums]
    }

    /// The gradients of queries, [B, d], and of keys and values, [T, 2d], from the forward pass's logarithms and its
    /// result's gradient, [B, d].
    ///
    /// # Panics
    /// If tensors have other sizes.
    pub fn backward(&self, [query, key_value]: [&Tensor; 2], log_sums: &Tensor, d_output: &Tensor) -> [Tensor; 2] {
        let (mut d_query, mut d_key_value) = (query.empty_like(), key_value.empty_like());
        in_elements_of!(query, E => {
            let numbers = Numbers::<E>::new(self, query, key_value);
            let (log_sums, d_output) = (elements(log_sums), elements::<E>(d_output));
            assert_eq!(d_output.len(), numbers.query.len(), "[B, d]");
            let (d_query, d_key_value) =
                (Shared::new(elements_mut(&mut d_query)), Shared::new(elements_mut(&mut d_key_value)));
            self.for_each_pair(|pairs| {
                Arch::new().dispatch(Backward { numbers, pairs, log_sums, d_output, d_query, d_key_value });
            });
        });
        [d_query, d_key_value]
    }

    fn for_each_pair(&self, work: impl Fn(Pairs) + Sync) {
        parallel_pairs(self.texts.len() * self.num_heads, work);
    }
}

/// The inputs.
#[derive(Clone, Copy)]
struct Numbers<'a, E> {
    of: &'a ClsAttention<'a>,
    query: &'a [E],
    key_value: &'a [E],
    /// k.
    head_len: usize,
}

impl<'a, E: Element> Numbers<'a, E> {
    fn new(of: &'a ClsAttention, query: &'a Tensor, key_value: &'a Tensor) -> Self {
        let (query, key_value) = (elements::<E>(query), elements::<E>(key_value));
        let num_tokens = of.texts.last().map_or(0, |text| text.first + text.len);
        assert_eq!(query.len() * num_tokens * 2, key_value.len() * of.texts.len(), "[B, d] and [T, 2d]");
        let pairs = of.texts.len() * of.num_heads;
        let head_len = query.len() / pairs.max(1);
        assert_eq!(query.len(), head_len * pairs, "[B, h·k]");
        Self { of, query, key_value, head_len }
    }

    /// Room for a row of similarities, in whole vectors.
    fn row(&self) -> Vec<f32> {
        let longest = self.of.texts.iter().map(|text| text.len).max().unwrap_or(0);
        vec![0.0; longest.next_multiple_of(LANES)]
    }

    #[inline(always)]
    fn scale(&self) -> f32 {
        (self.head_len as f32).powf(-0.5)
    }

    /// Where a pair's numbers of a row of [B, d] begin: its query's, its result's.
    #[inline(always)]
    fn own(&self, pair: usize) -> usize {
        pair * self.head_len
    }

    /// Where those of a token begin in [T, 2d]: its key's (`part` 0) or its value's (1).
    #[inline(always)]
    fn at(&self, pair: usize, token: usize, part: usize) -> usize {
        let (text, head) = (self.of.texts[pair / self.of.num_heads], pair % self.of.num_heads);
        ((text.first + token) * 2 + part) * self.of.num_heads * self.head_len + head * self.head_len
    }

    #[inline(always)]
    fn token(&self, pair: usize, token: usize, part: usize) -> &'a [E] {
        &self.key_value[self.at(pair, token, part)..][..self.head_len]
    }

    /// Writes the pair's query, divided by the root of the head size, and the row of similarities.
    #[inline(always)]
    fn similarities(&self, pair: usize, query: &mut [f32], row: &mut [f32]) {
        let scale = self.scale();
        for (to, from) in query.iter_mut().zip(&self.query[self.own(pair)..]) {
            *to = from.widen() * scale;
        }
        for (token, similarity) in row.iter_mut().enumerate() {
            *similarity = inner_product(query, self.token(pair, token, 0));
        }
    }
}

struct Forward<'a, E> {
    numbers: Numbers<'a, E>,
    pairs: Pairs,
    output: Shared<'a, E>,
    log_sums: Shared<'a, f32>,
}

impl<E: Element> WithSimd for Forward<'_, E> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        let Self { numbers, pairs, output, log_sums } = self;
        let of = numbers.of;
        let (mut query, mut sum, mut row) = (vec![0.0; numbers.head_len], vec![0.0; numbers.head_len], numbers.row());
        for pair in pairs {
            let n = of.texts[pair / of.num_heads].len;
            let (real, rest) = row[..n.next_multiple_of(LANES)].split_at_mut(n);
            numbers.similarities(pair, &mut query, real);
            rest.fill(f32::NEG_INFINITY);
            let row = &mut row[..n.next_multiple_of(LANES)];
            let max = maximum(row);
            let exponentials = exponentials(row, max);
            // SAFETY: the place is this pair's own.
            let log_sum = unsafe { log_sums.slice(pair, 1) };
            log_sum[0] = max + exponentials.ln();
            of.dropout.at(pair as u64).apply_row(&mut row[..n], 0);
            sum.fill(0.0);
            for (token, weight) in row[..n].iter().enumerate() {
                add_times(&mut sum, numbers.token(pair, token, 1), *weight);
            }
            // SAFETY: the place is this pair's own.
            let to = unsafe { output.slice(numbers.own(pair), numbers.head_len) };
            for (to, sum) in to.iter_mut().zip(&sum) {
                *to = E::narrow(sum / exponentials);
            }
        }
    }
}

struct Backward<'a, E> {
    numbers: Numbers<'a, E>,
    pairs: Pairs,
    log_sums: &'a [f32],
    d_output: &'a [E],
    d_query: Shared<'a, E>,
    d_key_value: Shared<'a, E>,
}

impl<E: Element> WithSimd for Backward<'_, E> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        let Self { numbers, pairs, log_sums, d_output, d_query, d_key_value } = self;
        let (of, head_len, scale) = (numbers.of, numbers.head_len, numbers.scale());
        let [mut query, mut d_row, mut sum] = [(); 3].map(|()| vec![0.0; head_len]);
        let (mut probabilities, mut d_similarities) = (numbers.row(), numbers.row());
        for pair in pairs {
            let n = of.texts[pair / of.num_heads].len;
            let (p, d) = (&mut probabilities[..n], &mut d_similarities[..n]);
            numbers.similarities(pair, &mut query, p);
            let own = numbers.own(pair)..numbers.own(pair) + head_len;
            d_row.iter_mut().zip(&d_output[own.clone()]).for_each(|(to, from)| *to = from.widen());
            for (token, (p, d)) in p.iter_mut().zip(d.iter_mut()).enumerate() {
                *p = exp(*p - log_sums[pair]);
                *d = inner_product(&d_row, numbers.token(pair, token, 1));
            }
            // The gradients of a row cancel in the key's bias, and do so to rounding only if the sums are the row's
            // own.
            let (dropout, total) = (of.dropout.at(pair as u64), p.iter().sum::<f32>());
            let mut mean = 0.0;
            dropout.each(
                0,
                p,
                #[inline(always)]
                |p, factor, token| {
                    *p /= total;
                    mean += *p * factor * d[token];
                },
            );
            dropout.differentiate_row(p, d, mean, 0);
            sum.fill(0.0);
            for (token, (p, d)) in p.iter().zip(d.iter()).enumerate() {
                add_times(&mut sum, numbers.token(pair, token, 0), *d);
                for (part, factor, of_part) in [(0, *d, &query), (1, *p, &d_row)] {
                    // SAFETY: the place is this pair's and token's own, since no two texts share a token.
                    let to = unsafe { d_key_value.slice(numbers.at(pair, token, part), head_len) };
                    to.iter_mut().zip(of_part).for_each(|(to, x)| *to = E::narrow(factor * x));
                }
            }
            // SAFETY: the place is this pair's own.
            let to = unsafe { d_query.slice(own.start, head_len) };
            to.iter_mut().zip(&sum).for_each(|(to, sum)| *to = E::narrow(sum * scale));
        }
    }
}

/// Adds `numbers` times `factor` to `sum`.
#[inline(always)]
fn add_times<E: Element>(sum: &mut [f32], numbers: &[E], factor: f32) {
    for (sum, x) in sum.iter_mut().zip(numbers) {
        *sum = x.widen().mul_add(factor, *sum);
    }
}
