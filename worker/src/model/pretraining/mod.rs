//! What stands on the encoder in pre-training: the head that predicts words, and RetroMAE's decoder (Xiao et al., 2022,
//! arXiv 2205.12035).
//!
//! A sub-batch goes through once, forward and backward, because nothing couples its texts with others'. Encoder and
//! decoder share one head, whose matrix is the table of word embeddings.

mod batch;
mod body;
mod decoder;
mod masked_lm;

use tch::Tensor;
use tercet_configs::{DecoderQuery, EncoderConfig};

pub(super) use body::Body;

pub use batch::{DecoderRow, DecoderRows, HiddenPlaces, HiddenWords, PretrainingBatch, PretrainingTexts};

use super::parameters::{Parameters, Spec};
use crate::machine::phase::{Phase, during};
use crate::ops::sums::add_rows;
use decoder::Decoder;
use masked_lm::MaskedLm;

/// The prefixes of the head's and the decoder's weights, each with the file beside the encoder's that holds them.
pub(super) const PRETRAINING_FILES: [(&str, &str); 2] =
    [("lm_head.", "mlm_head.safetensors"), ("c_head.", "decoder.safetensors")];

/// Whether a weight of this name belongs to pre-training alone.
pub(super) fn is_of_pretraining(weight: &str) -> bool {
    PRETRAINING_FILES.iter().any(|(prefix, _)| weight.starts_with(prefix))
}

/// Names, shapes and initial values of the weights.
pub(super) fn specs(config: &EncoderConfig, with_decoder: bool) -> Vec<Spec> {
    let mut specs = masked_lm::specs(config);
    if with_decoder {
        specs.extend(decoder::specs(config));
    }
    specs
}

/// The head, and the decoder where one is trained; their weights lie in [`Parameters`].
pub struct Pretraining {
    head: MaskedLm,
    decoder: Option<Decoder>,
}

/// The factors of the encoder's and the decoder's losses: one over the number of all ranks' labels.
#[derive(Debug, Clone, Copy)]
pub struct Scales {
    /// The encoder's.
    pub encoder: f64,
    /// The decoder's.
    pub decoder: f64,
}

/// The results of one sub-batch, on its device. A side's sums are the sum of −log probability over its labels and the
/// number of labels predicted first, float64 `[2]`.
pub struct Told {
    /// The encoder's sums; none where nothing was to predict.
    pub encoder: Option<Tensor>,
    /// The decoder's sums, likewise.
    pub decoder: Option<Tensor>,
    /// The texts' sentence vectors, [texts, d].
    pub cls: Tensor,
}

impl Pretraining {
    pub(super) fn new(config: &EncoderConfig, parameters: &Parameters) -> Self {
        let with_decoder = parameters.contains("c_head.output.dense.weight");
        Self {
            head: MaskedLm::new(config, parameters),
            decoder: with_decoder.then(|| Decoder::new(config, parameters)),
        }
    }

    /// Whether there is a decoder.
    pub(super) fn has_decoder(&self) -> bool {
        self.decoder.is_some()
    }
}

impl Pretraining {
    /// Runs one sub-batch through encoder, decoder and head, forward and backward, and adds the gradients of the two
    /// losses, each times its scale, to the flat gradient. `seed` seeds dropout; without one nothing is dropped. Calls
    /// `ready(first)` once this sub-batch adds nothing more to the gradients of matrices from offset `first` on.
    pub(super) fn learn(
        &self,
        body: Body,
        batch: &PretrainingBatch,
        (query, scales): (DecoderQuery, Scales),
        seed: Option<u64>,
        ready: &mut dyn FnMut(i64),
    ) -> Told {
        let _guard = tch::no_grad_guard();
        let Body { encoder, parameters } = body;
        let forward = || encoder.forward(parameters, &batch.texts, false, seed, true);
        let (hidden, saved) = during(Phase::Forward, forward);
        let Some(saved) = saved else { unreachable!("a graph was asked for") };
        let mut d_hidden = hidden.zeros_like();

        let of_encoder = during(Phase::Heads, || {
            (batch.encoder_place.numel() > 0).then(|| {
                let rows = hidden.index_select(0, &batch.encoder_place);
                let (sums, d_rows) = self.head.learn(parameters, &rows, &batch.encoder_label, scales.encoder);
                let _ = d_hidden.index_copy_(0, &batch.encoder_place, &d_rows);
                sums
            })
        });
        let cls = hidden.index_select(0, &batch.texts.cls.token); // [texts, d]
        let with_rows = self.decoder.as_ref().zip(batch.decoder.as_ref());
        let of_decoder = with_rows.map(|(decoder, rows)| {
            during(Phase::Decoder, || {
                let (output, saved) = decoder.forward(body, &cls, (batch, rows), query, seed);
                let learn = || self.head.learn(parameters, &output, &rows.label, scales.decoder);
                let (sums, d_output) = during(Phase::Heads, learn);
                drop(output);
                let d_cls = decoder.backward(body, saved, (batch, rows), seed, d_output);
                add_rows(&mut d_hidden, &batch.texts.cls.token, &d_cls);
                sums
            })
        });
        drop(hidden);
        let backward = || encoder.backward(parameters, saved, &batch.texts, seed, d_hidden, ready);
        during(Phase::Backward, backward);
        Told { encoder: of_encoder, decoder: of_decoder, cls }
    }

    /// The decoder's sums as in [`Told`], without gradient, from the sentence vectors `cls`, [texts, d]. None if there
    /// is no decoder, or it has nothing to predict.
    pub(super) fn decode(
        &self,
        body: Body,
        cls: &Tensor,
        batch: &PretrainingBatch,
        query: DecoderQuery,
        seed: Option<u64>,
    ) -> Option<Tensor> {
        let _guard = tch::no_grad_guard();
        let (decoder, rows) = (self.decoder.as_ref()?, batch.decoder.as_ref()?);
        let (output, _) = decoder.forward(body, cls, (batch, rows), query, seed);
        Some(self.head.predict(body.parameters, &output, &rows.label))
    }
}
