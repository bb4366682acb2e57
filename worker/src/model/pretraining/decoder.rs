//! RetroMAE's decoder: one layer that predicts every word of a text from the sentence vector and the words that it may
//! see.
//!
//! A row's query is the sentence vector plus the embedding of the row's place. The context is the text itself,
//! unmasked, with the sentence vector in place of the first token.
//!
//! Legend: R rows, T tokens of the sub-batch, d hidden size.

use tch::Tensor;
use tercet_configs::{DecoderQuery, EncoderConfig};

use super::batch::{DecoderRows, PretrainingBatch};
use super::body::Body;
use crate::model::encoder::{EMBEDDING_TABLES, layer_seed, layer_specs};
use crate::model::layer::{Layer, SavedCross};
use crate::model::parameters::{Parameters, Spec};
use crate::ops::embed;
use crate::ops::layer_norm::Normalised;
use crate::ops::sums::add_runs;

/// The prefix of its weights' names.
const NAME: &str = "c_head";

/// Names, shapes and initial values of the decoder's weights.
pub(super) fn specs(config: &EncoderConfig) -> Vec<Spec> {
    layer_specs(config, NAME)
}

/// The decoder; its weights lie in [`Parameters`].
pub(super) struct Decoder {
    layer: Layer,
    /// The number of the encoder's layers. Dropout here takes the seeds of the layers that would follow them.
    num_layers: usize,
    table: Tensor,
    token_types: Tensor,
}

/// What a forward pass leaves for the backward pass.
pub(super) struct SavedDecoder {
    layer: SavedCross,
    context_norm: Normalised,
    /// None where the query is not normalised ([`DecoderQuery::Positions`]).
    query_norm: Option<Normalised>,
}

impl Decoder {
    pub(super) fn new(config: &EncoderConfig, parameters: &Parameters) -> Self {
        Self {
            layer: Layer::new(config, parameters, NAME),
            num_layers: config.num_hidden_layers,
            table: parameters.leaf(EMBEDDING_TABLES[1]),
            token_types: parameters.leaf(EMBEDDING_TABLES[2]),
        }
    }

    /// [R, d] from the texts' sentence vectors, [texts, d].
    pub(super) fn forward(
        &self,
        Body { encoder, parameters }: Body,
        cls: &Tensor,
        (batch, rows): (&PretrainingBatch, &DecoderRows),
        query: DecoderQuery,
        seed: Option<u64>,
    ) -> (Tensor, SavedDecoder) {
        let [of_layer, of_context, of_query] = self.seeds(seed);
        let texts = &batch.texts;
        let (mut context, context_norm) = encoder.embed(parameters, &batch.own_ids, &texts.positions, of_context);
        let _ = context.index_copy_(0, &texts.cls.token, cls); // [T, d]

        // In the weights' own type, as every embedding.
        let vectors = cls.to_kind(parameters.flat.kind()).index_select(0, &rows.text); // [R, d]
        let mut sum = self.table.index_select(0, &encoder.places(&rows.position)).g_add_(&vectors);
        let (query, query_norm) = match query {
            DecoderQuery::Embedded => {
                let _ = sum.g_add_(&self.token_types.get(0));
                let (query, norm) = encoder.norm_embedded(parameters, sum, of_query);
                (query, Some(norm))
            }
            DecoderQuery::Positions => (sum.to_kind(parameters.compute_kind()), None),
        };
        let (output, layer) = self.layer.forward_cross(parameters, query, context, &rows.visible, of_layer);
        (output, SavedDecoder { layer, context_norm, query_norm })
    }

    /// The gradient of the sentence vectors, [texts, d], from the output's, [R, d]; adds those of all weights.
    pub(super) fn backward(
        &self,
        Body { encoder, parameters }: Body,
        saved: SavedDecoder,
        (batch, rows): (&PretrainingBatch, &DecoderRows),
        seed: Option<u64>,
        grad: Tensor,
    ) -> Tensor {
        let [of_layer, of_context, of_query] = self.seeds(seed);
        let SavedDecoder { layer, context_norm, query_norm } = saved;
        let [d_query, mut d_context] = self.layer.backward_cross(parameters, layer, &rows.visible, of_layer, grad);

        let cls_token = &batch.texts.cls.token;
        let mut d_cls = d_context.index_select(0, cls_token).to_kind(parameters.flat.kind()); // [texts, d]
        // The first tokens' own words are not in the context.
        let _ = d_context.index_fill_(0, cls_token, 0.0);
        let places = (&batch.own_ids, &batch.texts.positions);
        encoder.embed_backward(parameters, &context_norm, places, of_context, d_context);

        let d_sum = match query_norm {
            Some(norm) => {
                let d_sum = encoder.norm_embedded_backward(parameters, &norm, of_query, d_query);
                embed::add_type_gradient(parameters.grad(EMBEDDING_TABLES[2]), &d_sum);
                d_sum
            }
            None => d_query.to_kind(parameters.flat.kind()),
        };
        embed::add_position_gradient(parameters.grad(EMBEDDING_TABLES[1]), &encoder.places(&rows.position), &d_sum);
        add_runs(&mut d_cls, &d_sum, &rows.text, &rows.rows_per_text);
        d_cls.to_kind(parameters.compute_kind())
    }

    /// The seeds of the layer's dropout, the context's and the query's.
    fn seeds(&self, seed: Option<u64>) -> [Option<u64>; 3] {
        [0, 1, 2].map(|place| layer_seed(seed, self.num_layers + place))
    }
}
