//! `[pretrain]`: what RetroMAE hides from the encoder and from the decoder.

use serde::{Deserialize, Serialize};

/// `[pretrain]`: RetroMAE (Xiao et al., 2022, arXiv 2205.12035), where `loss.preset` is "retromae", or its encoder's
/// part alone, "mlm". Every random choice is a hash of seed, step, row and place. The defaults are the method as the
/// paper describes it; docs/know/pretraining.md says what the published code does otherwise and which keys give that.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct PretrainSection {
    /// The share of a text's tokens that the encoder has to predict, above 0 and below 1. 80 % of these become the mask
    /// token, 10 % a random word, and 10 % stay as they are.
    pub encoder_mask: f64,
    /// The share of a text's places that each mask set hides from rows of the decoder, above 0 and below 1.
    pub decoder_mask: f64,
    /// Mask sets of a text at most; each row of the decoder takes one of them and hides itself as well.
    pub mask_sets: usize,
    /// Places that a text's mask has at most, of the encoder and in each mask set; 0: no limit. The published code has
    /// 512, which leaves 6 % of 8,192 tokens.
    pub max_masked: usize,
    /// No mask set hides the text's first place, which stands for the sentence vector. The published code hides it from
    /// about half of the rows of XLM-RoBERTa.
    pub cls_visible: bool,
    /// Special tokens and unknown words may be drawn for a mask, too. As published for XLM-RoBERTa: the encoder does
    /// not predict them, so that fewer tokens are masked than asked for.
    pub mask_specials: bool,
    /// Tokens that continue a word, as BERT's tokenizers mark them ("##"), are hidden with its beginning, as published.
    /// Tokenizers that mark none, like XLM-RoBERTa's, have their tokens drawn one by one.
    pub whole_words: bool,
    /// What a row of the decoder asks with.
    pub decoder_query: DecoderQuery,
    /// Where the encoder's random words come from.
    pub random_words: RandomWords,
    /// Steps between two looks at what the sentence vector carries: the decoder's loss once more, with another text's
    /// vector, without gradient. 0 never looks.
    pub gap_every: u64,
}

/// What a row of the decoder asks with: the sentence vector at its place.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DecoderQuery {
    /// The vector goes through the embeddings' token type, positions, norm and dropout (FlagEmbedding).
    #[default]
    Embedded,
    /// The vector plus the position, as it is (the original repository).
    Positions,
}

/// Where the encoder's random words come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RandomWords {
    /// The vocabulary without special tokens.
    #[default]
    Text,
    /// The whole vocabulary, as published.
    All,
}

impl PretrainSection {
    /// How many of `places` are hidden where `share` of them are asked for: one at least, if there is any. Half a place
    /// goes to the even number, as Python rounds.
    pub fn num_hidden(&self, share: f64, places: usize) -> usize {
        let most = if self.max_masked == 0 { usize::MAX } else { self.max_masked };
        ((share * places as f64).round_ties_even() as usize).max(1).min(most).min(places)
    }
}

impl Default for PretrainSection {
    fn default() -> Self {
        Self {
            encoder_mask: 0.3,
            decoder_mask: 0.5,
            mask_sets: 128,
            max_masked: 0,
            cls_visible: true,
            mask_specials: false,
            whole_words: true,
            decoder_query: DecoderQuery::default(),
            random_words: RandomWords::default(),
            gap_every: 100,
        }
    }
}
