//! Attention of the tokens of each text to each other: similarities exist for a few rows of one text and head at a
//! time, in a core's cache, and are computed again in the backward pass (Dao et al., 2022, arXiv 2205.14135).
//!
//! Legend: T tokens, d hidden size, h heads, k head size, n the tokens of a text.

mod backward;
mod cls;
mod forward;
mod pair;
mod settings;
mod visible;

use pulp::Arch;
use tch::{Device, Kind, Tensor};

use super::{Element, Shared, elements, elements_mut, in_elements_of};
use crate::ops::attention::TextSpan;
use crate::ops::dropout::Dropout;
use crate::tensors::libtorch::parallel;
pub use cls::ClsAttention;
pub use settings::Attention;
pub use visible::VisibleAttention;

use backward::Backward;
use forward::Forward;
use pair::{Pair, Pairs, Room};

impl<'a> Attention<'a> {
    /// `bias`, `[3d]` in float32, is added to queries, keys and values.
    pub fn new(texts: &'a [TextSpan], num_heads: i64, bias: &'a Tensor, dropout: Dropout) -> Self {
        let (bias, num_heads) = (elements(bias), num_heads as usize);
        Self { texts, num_heads, head_len: bias.len() / 3 / num_heads, bias, dropout }
    }

    /// The result, [T, d], and the logarithm of each row's sum of exponentials, [T, h] in float32, from queries, keys
    /// and values beside each other, [T, 3d], before their bias.
    ///
    /// # Panics
    /// If tensors have other sizes.
    pub fn forward(&self, qkv: &Tensor) -> [Tensor; 2] {
        let size = qkv.size();
        let mut output = Tensor::empty([size[0], size[1] / 3], (qkv.kind(), Device::Cpu));
        let mut log_sums = Tensor::empty([size[0], self.num_heads as i64], (Kind::Float, Device::Cpu));
        in_elements_of!(qkv, E => {
            self.forward_in::<E>(elements(qkv), elements_mut(&mut output), elements_mut(&mut log_sums));
        });
        [output, log_sums]
    }

    /// The gradient of `qkv`, [T, 3d], from what the forward pass gave and its result's gradient, [T, d].
    ///
    /// # Panics
    /// If tensors have other sizes.
    pub fn backward(&self, qkv: &Tensor, [output, log_sums]: [&Tensor; 2], d_output: &Tensor) -> Tensor {
        let mut d_qkv = qkv.empty_like();
        in_elements_of!(qkv, E => {
            let saved = [output, d_output].map(elements::<E>);
            self.backward_in(elements(qkv), saved, elements(log_sums), elements_mut(&mut d_qkv));
        });
        d_qkv
    }

    fn width(&self) -> usize {
        self.num_heads * self.head_len
    }

    fn forward_in<E: Element>(&self, qkv: &[E], output: &mut [E], log_sums: &mut [f32]) {
        self.check(qkv.len(), output.len(), log_sums.len());
        let (output, log_sums) = (Shared::new(output), Shared::new(log_sums));
        self.for_each_pair(|pairs| Arch::new().dispatch(Forward { attention: self, pairs, qkv, output, log_sums }));
    }

    fn backward_in<E: Element>(&self, qkv: &[E], [output, d_output]: [&[E]; 2], log_sums: &[f32], d_qkv: &mut [E]) {
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

    fn for_each_pair(&self, work: impl Fn(Pairs) + Sync) {
        parallel_pairs(self.texts.len() * self.num_heads, work);
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

/// (text, head) pairs on all threads, dealt out one by one because the first texts are the longest.
fn parallel_pairs(num_pairs: usize, work: impl Fn(Pairs) + Sync) {
    let num_threads = (tch::get_num_threads().max(1) as usize).min(num_pairs);
    parallel(num_threads, 1, |threads| threads.for_each(|thread| work((thread..num_pairs).step_by(num_threads))));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_a_number_stays_none() {
        let texts = [TextSpan { first: 0, len: 3 }];
        let attention =
            Attention { texts: &texts, num_heads: 2, head_len: 4, bias: &[0.0; 24], dropout: Dropout::new(0, 0.0) };
        let mut qkv = vec![0.5f32; 3 * 24];
        qkv[24] = f32::NAN;
        let (mut output, mut log_sums) = (vec![0.0; 24], vec![0.0; 6]);
        attention.forward_in(&qkv, &mut output, &mut log_sums);
        assert!(output[8..12].iter().all(|x| x.is_nan()) && output[..8].iter().all(|x| x.is_finite()));
    }
}
