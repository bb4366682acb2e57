//! Texts → representations, for inference, and how a sub-batch's representations get to their places among all texts'.

use tch::Tensor;
use tercet_sampler::{SubBatchLimit, TextInput};

use crate::model::M3Model;
use crate::model::representation::{Heads, Representations, SubBatchRepresentations};
use crate::model::sub_batch::{SubBatch, SubBatches};

/// Encodes `texts` sub-batch by sub-batch; the result is in their order.
///
/// A text has the same representation alone as inside a batch, but for rounding, because texts never see each other.
pub fn encode_texts(model: &M3Model, texts: &[TextInput], heads: Heads, limit: SubBatchLimit) -> Representations {
    let _guard = tch::no_grad_guard();
    let mut all = Representations::zeros(texts, model.dims(), heads, model.options());
    for sub_batch in SubBatches::new(texts, limit, model.framing(), heads).iter() {
        let (own, _) = model.represent(&sub_batch, heads, None, false);
        all.scatter(&sub_batch, &own);
    }
    all
}

impl Representations {
    /// Copies a sub-batch's representations to their places.
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
