//! Attention of the tokens of each text to each other: similarities exist for a few rows of one text and head at a time,
//! in a core's cache, and are computed again in the backward pass (Dao et al., 2022, arXiv 2205.14135).
//!
//! Legend: T tokens, d hidden size, h heads, k head size, n the real tokens of a text.

mod backward;
mod forward;
mod pair;

use pulp::Arch;

use super::dropout::Dropout;
use crate::ops::cpu::{Element, Shared};
use crate::tensors::libtorch::parallel;
use backward::Backward;
use forward::Forward;
use pair::{Pair, Pairs, Room};

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

    /// The gradient of `qkv` from the result and its gradient; real tokens' numbers only are read and written.
    ///
    /// # Panics
    /// If the slices have other lengths.
    pub fn backward<E: Element>(&self, qkv: &[E], [output, d_output]: [&[E]; 2], log_sums: &[f32], d_qkv: &mut [E]) {
        self.check(qkv.len(), output.len(), log_sums.len());
        self.check(d_qkv.len(), d_output.len(), log_sums.len());
        let (attention, d_qkv) = (self, Shared::new(d_qkv));
        self.for_each_pair(|pairs| {
            Arch::new().dispatch(Backward { attention, pairs, qkv, output, log_sums, d_output, d_qkv });
        });
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

    fn room(&self) -> Room {
        Room::new(self.texts.iter().map(|text| text.len).max().unwrap_or(0), self.head_len)
    }

    fn scale(&self) -> f32 {
        (self.head_len as f32).powf(-0.5)
    }
}

#[cfg(test)]
mod tests {
    use tch::{Device, Kind, Tensor};

    use super::*;
    use crate::ops::cpu::{BFloat16, elements, elements_mut};
    use crate::tensors::libtorch;

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
        let saved = [&output, d_output].map(elements);
        attention.backward::<E>(elements(qkv), saved, &log_sums, elements_mut(&mut d_qkv));
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
