//! AdamW's update (Loshchilov and Hutter, 2019, arXiv 1711.05101) in one pass over weights, gradient and moments, which
//! only memory's bandwidth limits.

use pulp::Arch;
use tch::Tensor;

use super::{Shared, elements, elements_mut};
use crate::ops::adamw::Update;
use crate::tensors::libtorch::parallel;

/// Elements that a thread takes at a time.
const BLOCK: usize = 1 << 14;

/// An update's constants in float32.
#[derive(Debug, Clone, Copy)]
struct Constants {
    /// What the gradient is multiplied by.
    clip: f32,
    /// The factor that weight decay multiplies weights by.
    kept: f32,
    /// Shares of the new gradient in the running means of gradients and of their squares: 1 − β₁ and 1 − β₂.
    fresh: [f32; 2],
    /// The step: the learning rate over the first moment's bias correction.
    rate: f32,
    /// The inverse root of the second moment's bias correction.
    scale: f32,
    /// Keeps the quotient finite.
    epsilon: f32,
}

/// Updates weights and moments, `[n]` in float32 each.
///
/// # Panics
/// If they have different lengths.
pub fn apply(update: &Update, weights: &mut Tensor, gradient: &Tensor, moments: [&mut Tensor; 2]) {
    let constants = Constants {
        clip: update.clip as f32,
        kept: update.kept as f32,
        fresh: update.betas.map(|beta| (1.0 - beta) as f32),
        rate: update.rate as f32,
        scale: (1.0 / update.root) as f32,
        epsilon: update.epsilon as f32,
    };
    constants.apply(elements_mut(weights), elements(gradient), moments.map(elements_mut));
}

impl Constants {
    fn apply(self, weights: &mut [f32], gradient: &[f32], [means, squares]: [&mut [f32]; 2]) {
        let len = gradient.len();
        assert!(weights.len() == len && means.len() == len && squares.len() == len);
        let [weights, means, squares] = [weights, means, squares].map(Shared::new);
        parallel(len.div_ceil(BLOCK), 1, |blocks| {
            let (first, last) = (blocks.start * BLOCK, (blocks.end * BLOCK).min(len));
            // SAFETY: blocks do not overlap, and one call works on each.
            let [weights, means, squares] =
                [weights, means, squares].map(|numbers| unsafe { numbers.slice(first, last - first) });
            let gradient = &gradient[first..last];
            Arch::new().dispatch(
                #[inline(always)]
                || {
                    for (((w, m), s), &g) in weights.iter_mut().zip(means).zip(squares).zip(gradient) {
                        let g = g * self.clip;
                        *m = self.fresh[0].mul_add(g - *m, *m);
                        *s = self.fresh[1].mul_add(g * g - *s, *s);
                        *w = (*w).mul_add(self.kept, -self.rate * *m / s.sqrt().mul_add(self.scale, self.epsilon));
                    }
                },
            )
        });
    }
}
