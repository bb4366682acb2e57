//! What pre-training has to predict of a text, by its length alone.
//!
//! Lengths do not tell everything. Words that the tokenizer does not know are no labels of the encoder, and count here
//! as words; whole words of several tokens may leave the last places of a mask empty, and here none is. Where special
//! tokens may be drawn for a mask, too, the number of labels is the mean over what may be drawn.

use std::iter::Sum;
use std::ops::{Add, Mul};

use tercet_configs::{PretrainSection, Purpose, Recipe};
use tercet_sampler::SpecialTokens;

/// What pre-training has to predict of one text, or of several; 0 of everything with another objective.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Predicted {
    /// Words that the encoder has to predict.
    pub encoder_labels: f64,
    /// Words that the decoder has to predict, which are its rows.
    pub decoder_labels: f64,
    /// Σ rows × tokens over the texts: what the decoder's attention costs.
    pub decoder_pairs: f64,
}

impl Predicted {
    /// The words that are predicted of a text of `len` tokens, special ones included.
    pub fn of(recipe: &Recipe, len: usize) -> Self {
        let Some(masks) = recipe.masks() else { return Self::default() };
        let words = len.saturating_sub(SpecialTokens::NUM_FRAMING);
        let has_decoder = Purpose::of(recipe.loss.preset) == Purpose::Pretraining { decoder: true };
        let rows = if has_decoder { words as f64 } else { 0.0 };
        Self {
            encoder_labels: encoder_labels(masks, words, len),
            decoder_labels: rows,
            decoder_pairs: rows * len as f64,
        }
    }

    /// All labels, each of which is projected to the vocabulary.
    pub fn labels(&self) -> f64 {
        self.encoder_labels + self.decoder_labels
    }
}

/// The words that the encoder predicts of a text of `words` words and `len` tokens.
fn encoder_labels(masks: &PretrainSection, words: usize, len: usize) -> f64 {
    if masks.mask_specials {
        masks.num_hidden(masks.encoder_mask, len) as f64 * words as f64 / len.max(1) as f64
    } else {
        masks.num_hidden(masks.encoder_mask, words) as f64
    }
}

impl Add for Predicted {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self {
            encoder_labels: self.encoder_labels + other.encoder_labels,
            decoder_labels: self.decoder_labels + other.decoder_labels,
            decoder_pairs: self.decoder_pairs + other.decoder_pairs,
        }
    }
}

impl Mul<f64> for Predicted {
    type Output = Self;

    fn mul(self, times: f64) -> Self {
        Self {
            encoder_labels: self.encoder_labels * times,
            decoder_labels: self.decoder_labels * times,
            decoder_pairs: self.decoder_pairs * times,
        }
    }
}

impl Sum for Predicted {
    fn sum<I: Iterator<Item = Self>>(all: I) -> Self {
        all.fold(Self::default(), Self::add)
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    fn of(len: usize, settings: &[&str]) -> (f64, f64, f64) {
        let settings: Vec<String> = settings.iter().map(|setting| (*setting).to_owned()).collect();
        let recipe = Recipe::parse("name = \"t\"", Path::new("t.toml"), &settings).unwrap();
        let Predicted { encoder_labels, decoder_labels, decoder_pairs } = Predicted::of(&recipe, len);
        (encoder_labels, decoder_labels, decoder_pairs)
    }

    #[test]
    fn labels_follow_from_lengths_and_masks() {
        assert_eq!(of(12, &["loss.preset=retromae"]), (3.0, 10.0, 120.0));
        assert_eq!(of(12, &["loss.preset=mlm"]), (3.0, 0.0, 0.0));
        assert_eq!(of(12, &[]), (0.0, 0.0, 0.0));
        // One word is predicted at least, if there is one; half of 13 words goes to the even number.
        assert_eq!(of(3, &["loss.preset=retromae"]), (1.0, 1.0, 3.0));
        assert_eq!(of(2, &["loss.preset=retromae"]), (0.0, 0.0, 0.0));
        assert_eq!(of(15, &["loss.preset=mlm", "pretrain.encoder_mask=0.5"]).0, 6.0);
    }

    #[test]
    fn a_cap_bounds_them_and_special_tokens_take_their_share() {
        let capped = ["loss.preset=retromae", "pretrain.max_masked=512"];
        assert_eq!(of(8192, &capped), (512.0, 8190.0, 8190.0 * 8192.0));
        // 4 of 12 tokens are drawn, and of these 10 in 12 are words.
        assert_eq!(of(12, &["loss.preset=mlm", "pretrain.mask_specials=true"]).0, 4.0 * 10.0 / 12.0);
    }
}
