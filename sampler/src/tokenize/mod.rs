//! Texts → token ids, with the model's own tokenizer.json.
//!
//! Encoders of the XLM-RoBERTa and BERT families put one token before a text and one after it. Everything here keeps
//! those apart from the *content* between them, so that a text can be cut, shuffled or joined and framed afterwards.
//!
//! The ids are always those of the `tokenizers` crate. Tokenizers of the XLM-RoBERTa family take a faster way to them.

mod memo;
mod normalize;
mod pipeline;
mod unigram;

use std::fmt;
use std::path::Path;

use rayon::prelude::*;
use tokenizers::Tokenizer;

use crate::error::TokenizeError;
use crate::special::SpecialTokens;
pub(crate) use memo::Memo;
use pipeline::Pipeline;

/// A tokenizer.json, with its own truncation and padding switched off. Can be shared between threads.
pub struct TextTokenizer {
    tokenizer: Tokenizer,
    /// The faster way, where there is one.
    pipeline: Option<Pipeline>,
    special: SpecialTokens,
    hash: String,
}

impl TextTokenizer {
    /// Loads a Hugging Face tokenizer.json.
    ///
    /// # Errors
    /// The file cannot be read or is no tokenizer; it does not put exactly one token before and one after a text; it
    /// has no padding or no unknown token.
    pub fn load(tokenizer_json: &Path) -> Result<Self, TokenizeError> {
        let invalid = |reason: String| TokenizeError::Invalid { path: tokenizer_json.to_owned(), reason };
        let bytes = std::fs::read(tokenizer_json)
            .map_err(|source| TokenizeError::Read { path: tokenizer_json.to_owned(), source })?;
        let mut tokenizer = Tokenizer::from_bytes(&bytes).map_err(|e| invalid(format!("not a tokenizer.json: {e}")))?;
        tokenizer.with_padding(None);
        tokenizer.with_truncation(None).map_err(|e| invalid(e.to_string()))?;
        let special = special_tokens(&tokenizer).map_err(invalid)?;
        let pipeline = Pipeline::of(&bytes);
        Ok(Self { tokenizer, pipeline, special, hash: blake3::hash(&bytes).to_hex().to_string() })
    }

    /// The text's token ids, without special tokens and not cut.
    ///
    /// # Errors
    /// The tokenizer's model has no token for a part of the text, not even an unknown one.
    pub fn encode_content(&self, text: &str) -> Result<Vec<u32>, TokenizeError> {
        if let Some(tokens) = self.pipeline.as_ref().and_then(|pipeline| pipeline.encode(text)) {
            return Ok(tokens);
        }
        let encoding =
            self.tokenizer.encode_fast(text, false).map_err(|e| TokenizeError::Encode { reason: e.to_string() })?;
        Ok(encoding.get_ids().to_vec())
    }

    /// [`encode_content`](Self::encode_content), or what `memo` has of it.
    pub(crate) fn encode_remembered(&self, text: &str, memo: &Memo) -> Result<Vec<u32>, TokenizeError> {
        memo.get_or_try(text, |text| self.encode_content(text))
    }

    /// [`encode_content`](Self::encode_content) of each text, on all cores.
    ///
    /// # Errors
    /// As [`encode_content`](Self::encode_content), for one of the texts.
    pub fn encode_contents<T: AsRef<str> + Sync>(&self, texts: &[T]) -> Result<Vec<Vec<u32>>, TokenizeError> {
        texts.par_iter().map(|text| self.encode_content(text.as_ref())).collect()
    }

    /// Whether the fast way is taken, for texts without special tokens in them.
    pub fn is_fast(&self) -> bool {
        self.pipeline.is_some()
    }

    /// The special tokens, for [framing](SpecialTokens::frame) and padding.
    pub fn special(&self) -> &SpecialTokens {
        &self.special
    }

    /// [`SpecialTokens::frame`] with this tokenizer's special tokens.
    pub fn frame(&self, content: &[u32], max_len: usize) -> Vec<u32> {
        self.special.frame(content, max_len)
    }

    /// Tokens of the vocabulary, added ones included.
    pub fn vocab_size(&self) -> usize {
        self.tokenizer.get_vocab_size(true)
    }

    /// BLAKE3 of the file, in hex.
    pub fn hash(&self) -> &str {
        &self.hash
    }
}

impl fmt::Debug for TextTokenizer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TextTokenizer")
            .field("special", &self.special)
            .field("hash", &self.hash)
            .finish_non_exhaustive()
    }
}

/// What the post-processor puts round a text, and the padding and unknown tokens by their usual names.
fn special_tokens(tokenizer: &Tokenizer) -> Result<SpecialTokens, String> {
    let ids = |with_special| {
        let encoding = tokenizer.encode_fast("a", with_special).map_err(|e| e.to_string())?;
        Ok::<_, String>(encoding.get_ids().to_vec())
    };
    let content = ids(false)?;
    let framed = ids(true)?;
    let (cls, eos) = match framed.as_slice() {
        [cls, inside @ .., eos] if inside == content => (*cls, *eos),
        _ => {
            return Err(format!(
                "its post-processor makes {framed:?} of the tokens {content:?}: \
                 one special token before and one after them are expected"
            ));
        }
    };
    let by_name = |what: &str, names: [&str; 2]| {
        names
            .iter()
            .find_map(|name| tokenizer.token_to_id(name))
            .ok_or_else(|| format!("has no {what} token: neither {} nor {}", names[0], names[1]))
    };
    Ok(SpecialTokens {
        cls,
        eos,
        pad: by_name("padding", ["<pad>", "[PAD]"])?,
        unk: by_name("unknown", ["<unk>", "[UNK]"])?,
    })
}
