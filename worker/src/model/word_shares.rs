//! Where the head that predicts words begins, if no file has it.

use tch::Tensor;

use super::M3Model;
use super::pretraining::MASKED_LM_BIAS;

impl M3Model {
    /// Whether the head that predicts words has no bias of a file.
    pub fn predicts_words_afresh(&self) -> bool {
        self.fresh.iter().any(|name| name == MASKED_LM_BIAS)
    }

    /// Makes the head that predicts words expect each as often as it occurs in the texts: the bias is the logarithm of
    /// its share, `counts` being how often each id occurs, and one more. A bias of 0 would have to learn that in
    /// thousands of steps, and until then what all texts have in common would crowd the hidden states, sentence vectors
    /// among them.
    pub fn expect_words(&mut self, counts: &[f64]) {
        let total = counts.iter().sum::<f64>() + counts.len() as f64;
        let shares: Vec<f64> = counts.iter().map(|count| ((count + 1.0) / total).ln()).collect();
        let mut bias = self.parameters.leaf(MASKED_LM_BIAS);
        tch::no_grad(|| bias.copy_(&Tensor::from_slice(&shares)));
        self.parameters.refresh();
    }
}
