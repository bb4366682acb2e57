//! AdamW's update of weights and moments (Loshchilov and Hutter, 2019, arXiv 1711.05101), as torch.optim.AdamW computes
//! it.
//!
//! An element's update depends on that element alone, wherever in a tensor it lies.

mod update;

use tch::Tensor;
use tercet_configs::limits::UPDATE_CHUNK;

pub use update::Update;

use super::{Engine, cpu, cuda};

/// Elements that libtorch's operations, which hold some tensors of as many, update at a time.
const CHUNK: i64 = UPDATE_CHUNK as i64;

impl Update {
    /// Updates weights, and the running means of gradients and of their squares, `[n]` each, in place. `copy`, if there
    /// is one, becomes the weights in bfloat16.
    pub fn apply(
        &self,
        weights: &mut Tensor,
        gradient: &Tensor,
        [mean, square]: [&mut Tensor; 2],
        copy: Option<&mut Tensor>,
    ) {
        match Engine::of(weights) {
            Engine::Cuda => {
                let gpu = cuda::Gpu::of(weights);
                return cuda::adamw::apply(&gpu, self, weights, gradient, [mean, square], copy);
            }
            Engine::Cpu => cpu::adamw::apply(self, weights, gradient, [mean, square]),
            Engine::Libtorch => {
                for start in (0..weights.size()[0]).step_by(CHUNK as usize) {
                    let len = CHUNK.min(weights.size()[0] - start);
                    let [mut weights, mut mean, mut square] =
                        [&*weights, &*mean, &*square].map(|all| all.narrow(0, start, len));
                    self.apply_by_libtorch(&mut weights, &gradient.narrow(0, start, len), [&mut mean, &mut square]);
                }
            }
        }
        if let Some(copy) = copy {
            copy.copy_(weights);
        }
    }

    fn apply_by_libtorch(&self, weights: &mut Tensor, gradient: &Tensor, [mean, square]: [&mut Tensor; 2]) {
        let [b1, b2] = self.betas;
        let clipped = (self.clip != 1.0).then(|| gradient * self.clip);
        let gradient = clipped.as_ref().unwrap_or(gradient);
        let _ = weights.g_mul_scalar_(self.kept);
        let _ = mean.lerp_(gradient, 1.0 - b1);
        let _ = square.g_mul_scalar_(b2).g_add_(&(gradient * gradient * (1.0 - b2)));
        let denominator = square.sqrt() / self.root + self.epsilon;
        let _ = weights.g_sub_(&(&*mean / denominator * self.rate));
    }
}
