//! AdamW's update (Loshchilov and Hutter, 2019, arXiv 1711.05101) in one pass over weights, gradient and moments: it waits for
//! memory and for nothing else.

use pulp::Arch;

use super::Shared;
use crate::tensors::libtorch::parallel;

/// Numbers that a thread takes at a time.
const BLOCK: usize = 1 << 14;

/// What one update does to every number.
#[derive(Debug, Clone, Copy)]
pub struct Update {
    /// What weight decay multiplies the weight with.
    pub kept: f32,
    /// Shares of the new gradient in the running means of gradients and of their squares: 1 − β₁ and 1 − β₂.
    pub fresh: [f32; 2],
    /// The step: the learning rate over the first moment's bias correction.
    pub rate: f32,
    /// The inverse root of the second moment's bias correction.
    pub scale: f32,
    /// Keeps the quotient finite.
    pub epsilon: f32,
}

impl Update {
    /// Updates weights and moments.
    ///
    /// # Panics
    /// If the slices have different lengths.
    pub fn apply(self, weights: &mut [f32], gradient: &[f32], [means, squares]: [&mut [f32]; 2]) {
        let len = gradient.len();
        assert!(weights.len() == len && means.len() == len && squares.len() == len);
        let [weights, means, squares] = [weights, means, squares].map(Shared::new);
        parallel(len.div_ceil(BLOCK), 1, |blocks| {
            let (first, last) = (blocks.start * BLOCK, (blocks.end * BLOCK).min(len));
            // SAFETY: a block's numbers are its own.
            let [weights, means, squares] =
                [weights, means, squares].map(|numbers| unsafe { numbers.slice(first, last - first) });
            let gradient = &gradient[first..last];
            Arch::new().dispatch(
                #[inline(always)]
                || {
                    for (((w, m), s), &g) in weights.iter_mut().zip(means).zip(squares).zip(gradient) {
                        *m = self.fresh[0].mul_add(g - *m, *m);
                        *s = self.fresh[1].mul_add(g * g - *s, *s);
                        *w = (*w).mul_add(self.kept, -self.rate * *m / s.sqrt().mul_add(self.scale, self.epsilon));
                    }
                },
            )
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_update_goes_by_the_gradients_sign() {
        let update = Update { kept: 0.9, fresh: [0.1, 0.001], rate: 0.5 / 0.1, scale: 1e3f32.sqrt(), epsilon: 1e-8 };
        let len = 3 * BLOCK + 5;
        let gradient: Vec<f32> = (0..len).map(|i| [0.5, -2.0, 0.0][i % 3]).collect();
        let (mut weights, mut means, mut squares) = (vec![1.0; len], vec![0.0; len], vec![0.0; len]);
        update.apply(&mut weights, &gradient, [&mut means, &mut squares]);
        for (i, weight) in weights.into_iter().enumerate() {
            let expected = 0.9 - [0.5, -0.5, 0.0][i % 3];
            assert!((weight - expected).abs() < 1e-5, "{weight} for {expected}");
        }
        assert!((means[len - 1] - -0.2).abs() < 1e-6 && (squares[len - 1] - 0.004).abs() < 1e-7);
    }
}
