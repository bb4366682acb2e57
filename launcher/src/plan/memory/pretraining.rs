//! What a step of pre-training holds: one sub-batch on its way there and back, and nothing of others.
//!
//! Legend: T tokens of the largest sub-batch, K its labels of the encoder, R of the decoder; d hidden size, V
//! vocabulary.

use tercet_configs::Device;
use tercet_configs::limits::{VISIBLE_TILE_ELEMENTS, logits_rows};

use super::rank_in_step::{Part, Phase, RankInStep, part};
use crate::plan::work::Encoded;

/// Tensors of a tile that the decoder's attention has at once: similarities, the mask, probabilities, those with
/// dropout, and their gradient.
const VISIBLE_TILES: f64 = 5.0;

/// Its phases, and what each of them holds.
pub(super) fn phases(rank: &RankInStep, decoder: bool) -> Vec<Phase> {
    let predicted = rank.load.largest.predicted;
    let saved = part("saved layers of one sub-batch", rank.graph(&rank.load.largest));
    let hidden = part("hidden states and their gradient", 2.0 * rank.hidden());
    let head = |labels: f64| [part("labels' rows", rank.label_rows(labels)), part("logits", rank.logits(labels))];
    let with = |parts: &[&[Part]]| [&[saved.clone(), hidden.clone()], parts.concat().as_slice()].concat();

    let mut phases = vec![("words of the encoder", with(&[&head(predicted.encoder_labels)]))];
    if decoder {
        let layer = [part("the decoder's saved layer", rank.decoder())];
        let attention = [part("tiles of the decoder's attention", rank.visible_tiles())];
        phases.push(("words of the decoder", with(&[&layer, &attention, &head(predicted.decoder_labels)])));
        let back = [part("activations of the decoder", rank.decoder_backward())];
        phases.push(("decoder backward", with(&[&layer, &attention, &back])));
    }
    let back = part("activations of one sub-batch", rank.transient_backward(&rank.load.largest));
    phases.push(("encoder backward", vec![saved, back]));
    phases.extend(rank.after_passes(&[]));
    phases
}

impl RankInStep<'_> {
    fn c(&self) -> f64 {
        self.shape.compute_bytes as f64
    }

    fn d(&self) -> f64 {
        self.shape.config.hidden_size as f64
    }

    /// [T, d].
    fn hidden(&self) -> f64 {
        self.c() * self.load.largest.tokens * self.d()
    }

    /// The labels' hidden states, those before the activation, after it, and after the norm, and their gradient.
    fn label_rows(&self, labels: f64) -> f64 {
        5.0 * self.c() * labels * self.d()
    }

    /// One tile of logits, with what is beside it.
    fn logits(&self, labels: f64) -> f64 {
        let vocab_size = self.shape.config.vocab_size;
        // Logits of bfloat16's products are in float32.
        let rows = labels.min(logits_rows(self.device == Device::Cuda, vocab_size, self.shape.element_bytes) as f64);
        let elements = rows * vocab_size as f64;
        // In bfloat16 their gradient goes on in that type, and a CPU rounds products before it adds them.
        let rounded = match self.device {
            Device::Cpu if self.c() < self.e() => self.c() * elements.max(vocab_size as f64 * self.d()),
            _ => 0.0,
        };
        // A GPU has the exponentials beside the logits.
        let beside = if self.device == Device::Cuda { self.e() * elements } else { rounded };
        self.e() * elements + beside
    }

    /// Rows: what asks, before and after its map; attended; the two sums before a norm and the first one's result; the
    /// feed-forward layer before its activation; the embedding of what asks in the weights' own type. Tokens: the
    /// context, keys and values; the embedding in the weights' own type.
    fn decoder(&self) -> f64 {
        let (rows, tokens) = (self.load.largest.predicted.decoder_labels, self.load.largest.tokens);
        let ffn = self.shape.config.intermediate_size as f64;
        rows * (self.c() * (6.0 * self.d() + ffn) + self.e() * self.d())
            + tokens * (3.0 * self.c() + self.e()) * self.d()
    }

    /// Gradients on their way back: of the feed-forward layer, or of what asks, keys, values and the context.
    fn decoder_backward(&self) -> f64 {
        let (rows, tokens) = (self.load.largest.predicted.decoder_labels, self.load.largest.tokens);
        // Its attention has tiles, which stand elsewhere.
        let asking = Encoded { tokens: rows, ..Encoded::default() };
        self.transient_backward(&asking).max(3.0 * self.c() * self.d() * (rows + tokens))
    }

    /// On a CPU float64 alone is computed in tiles; the kernel of the other types has a few rows in the cache.
    fn visible_tiles(&self) -> f64 {
        if self.device == Device::Cpu && self.c() < 8.0 {
            return 0.0;
        }
        let heads = self.shape.config.num_attention_heads as f64;
        let elements = heads * self.load.largest.predicted.decoder_pairs;
        VISIBLE_TILES * self.c() * elements.min(VISIBLE_TILE_ELEMENTS[self.device as usize] as f64)
    }
}
