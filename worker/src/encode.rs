//! Texts → representations, without gradients: what inference needs, and the training step's first pass.

use tch::Tensor;
use tercet_sampler::SubBatchLimit;

use crate::model::M3Model;
use crate::representation::{Gradients, Heads, Representations, SubBatchRepresentations, TextInput};
use crate::sub_batch::{SubBatch, cut};

/// Encodes `texts` sub-batch by sub-batch; the result is in their order.
///
/// A text alone gives what it gives inside a batch: padding is masked everywhere.
pub fn encode_texts(model: &M3Model, texts: &[TextInput], heads: Heads, limit: SubBatchLimit) -> Representations {
    let _guard = tch::no_grad_guard();
    let special = model.special_ids();
    let mut all = Representations::zeros(texts, &special, model.dims(), heads, model.options());
    for sub_batch in cut(texts, limit, &special, i64::from(model.special.pad), model.options().1) {
        let (own, _) = model.represent(&sub_batch, heads, false);
        all.scatter(&sub_batch, &own);
    }
    all
}

impl Representations {
    /// Copies a sub-batch's part to where it belongs.
    pub fn scatter(&mut self, at: &SubBatch, own: &SubBatchRepresentations) {
        let put = |target: &mut Tensor, index: &Tensor, values: &Tensor| {
            let _ = target.index_copy_(0, index, &values.detach());
        };
        put(&mut self.dense, &at.texts, &own.dense);
        if let (Some(lexical), Some(weights)) = (&mut self.lexical, &own.lexical) {
            put(&mut lexical.weights, &at.lexical_target, weights);
        }
        if let (Some(multi_vector), Some(vectors)) = (&mut self.multi_vector, &own.multi_vector) {
            put(&mut multi_vector.vectors, &at.vector_target, vectors);
        }
    }
}

impl Gradients {
    /// ⟨gradient, representation⟩ of a sub-batch: the scalar whose gradient is the vector-Jacobian product, `self` being
    /// the gradients of all texts.
    pub fn surrogate(&self, at: &SubBatch, own: &SubBatchRepresentations) -> Tensor {
        let dot = |gradient: &Tensor, index: &Tensor, values: &Tensor| {
            (gradient.index_select(0, index) * values).sum(values.kind())
        };
        let mut sum = dot(&self.dense, &at.texts, &own.dense);
        if let (Some(lexical), Some(weights)) = (&self.lexical, &own.lexical) {
            sum += dot(lexical, &at.lexical_target, weights);
        }
        if let (Some(multi_vector), Some(vectors)) = (&self.multi_vector, &own.multi_vector) {
            sum += dot(multi_vector, &at.vector_target, vectors);
        }
        sum
    }
}
