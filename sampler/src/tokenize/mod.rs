//! Turns texts into token ids with the model's own tokenizer.json.
//!
//! Encoders of the XLM-RoBERTa and BERT families put one token before a text and one after it. This module keeps these
//! apart from the *content* between them, so that a text can be cut, shuffled or joined first and framed afterwards.
//!
//! The ids are always those of the `tokenizers` crate. Tokenizers of the XLM-RoBERTa family reach them in a faster way.

mod beside;
mod joined;
mod memo;
mod normalize;
mod pipeline;
mod stated;
mod unigram;

use std::fmt;
use std::path::Path;

use rayon::prelude::*;
use tokenizers::{ModelWrapper, Tokenizer};

use crate::error::TokenizeError;
use crate::guarded::guarded;
use crate::lines::evident;
use crate::special::SpecialTokens;
use beside::{check_added, check_beside};
pub(crate) use memo::Memo;
use pipeline::Pipeline;
use stated::Stated;

/// A tokenizer.json with its own truncation and padding switched off. Threads can share it.
pub struct TextTokenizer {
    tokenizer: Tokenizer,
    /// The faster way, if there is one.
    pipeline: Option<Pipeline>,
    special: SpecialTokens,
    /// Whether tokens of texts can be joined, or why not.
    joins_at_spaces: Result<(), String>,
    hash: String,
}

/// The number of a text's characters that are tokenised first to see whether it has tokens.
const MAX_LEADING_CHARACTERS: usize = 64;

/// Files from which only Python makes a tokenizer.
const SLOW: [&str; 5] = ["sentencepiece.bpe.model", "spiece.model", "tokenizer.model", "vocab.txt", "vocab.json"];

impl TextTokenizer {
    /// Loads a Hugging Face tokenizer.json, or the one of a model's directory.
    ///
    /// # Errors
    /// The file cannot be read, or is no tokenizer but perhaps a vocabulary. It does not put exactly one token before
    /// and one after a text. It has no padding or no unknown token. It states an id that differs from its vocabulary's.
    /// A tokenizer_config.json beside it says otherwise.
    pub fn load(tokenizer_json: &Path) -> Result<Self, TokenizeError> {
        let path = if tokenizer_json.is_dir() { &tokenizer_json.join("tokenizer.json") } else { tokenizer_json };
        let invalid = |reason: String| TokenizeError::Invalid { path: path.to_owned(), reason };
        let bytes = std::fs::read(path).map_err(|source| match slow_tokenizer_beside(path) {
            Some(slow) => TokenizeError::Slow { path: path.to_owned(), slow },
            None => TokenizeError::Read { path: path.to_owned(), source },
        })?;
        // Editors on Windows put a mark before a file, which a checkpoint's copy lacks.
        let json = bytes.strip_prefix("\u{feff}".as_bytes()).unwrap_or(&bytes);
        let not_one =
            |e: &dyn fmt::Display| invalid(evident(&bytes).unwrap_or_else(|| format!("not a tokenizer.json: {e}")));
        let read = guarded(|| Tokenizer::from_bytes(json).map_err(|e| e.to_string()));
        let mut tokenizer = read.map_err(|e| match is_slow(path) && evident(&bytes).is_none() {
            true => TokenizeError::Vocabulary { path: path.to_owned() },
            false => not_one(&e),
        })?;
        let file: Stated = serde_json::from_slice(json).map_err(|e| not_one(&e))?;
        file.check_ids(&tokenizer).map_err(invalid)?;
        check_beside(path, &file).and_then(|()| check_added(path, &file)).map_err(TokenizeError::Otherwise)?;
        tokenizer.with_padding(None);
        tokenizer.with_truncation(None).map_err(|e| invalid(e.to_string()))?;
        let unknown = file.unknown_token(&tokenizer);
        // The post-processor is looked into when a text meets it.
        let special = guarded(|| special_tokens(&tokenizer, unknown.as_deref())).map_err(invalid)?;
        let pipeline = Pipeline::of(json);
        let joins_at_spaces = joined::joins_at_spaces(&file.normalizer, &file.pre_tokenizer);
        Ok(Self { tokenizer, pipeline, special, joins_at_spaces, hash: blake3::hash(json).to_hex().to_string() })
    }

    /// The text's token ids, without special tokens and not cut.
    ///
    /// # Errors
    /// The tokenizer's model has no token for a part of the text, not even the unknown one.
    pub fn encode_content(&self, text: &str) -> Result<Vec<u32>, TokenizeError> {
        if let Some(tokens) = self.pipeline.as_ref().and_then(|pipeline| pipeline.encode(text)) {
            return Ok(tokens);
        }
        let encoded = guarded(|| self.tokenizer.encode_fast(text, false).map_err(|e| e.to_string()));
        let encoding = encoded.map_err(|reason| TokenizeError::Encode { reason })?;
        Ok(encoding.get_ids().to_vec())
    }

    /// Whether the token of each id continues a word, as WordPiece marks it ("##"); empty for a tokenizer that marks no
    /// such tokens.
    pub fn word_continuations(&self) -> Vec<bool> {
        let ModelWrapper::WordPiece(model) = self.tokenizer.get_model() else { return Vec::new() };
        let prefix = &model.continuing_subword_prefix;
        let vocabulary = self.tokenizer.get_vocab(false);
        let mut continues = vec![false; vocabulary.values().max().map_or(0, |&id| id as usize + 1)];
        let of_words = vocabulary.iter().filter(|(token, _)| !prefix.is_empty() && token.starts_with(prefix));
        of_words.for_each(|(_, &id)| continues[id as usize] = true);
        continues
    }

    /// [`encode_content`](Self::encode_content), or its remembered result in `memo`.
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

    /// The indices of `texts` without any token: blank ones, and those of characters that the tokenizer drops, which
    /// say as little. It works on all cores and is cheap even if texts are long.
    ///
    /// # Errors
    /// As [`encode_content`](Self::encode_content), for one of the texts.
    pub fn tokenless<T: AsRef<str> + Sync>(&self, texts: &[T]) -> Result<Vec<usize>, TokenizeError> {
        let is_nothing = |text: &str| {
            let leading = text.char_indices().nth(MAX_LEADING_CHARACTERS).map_or(text, |(end, _)| &text[..end]);
            Ok(self.encode_content(leading)?.is_empty()
                && (leading.len() == text.len() || self.encode_content(text)?.is_empty()))
        };
        let found = texts.par_iter().enumerate().map(|(i, text)| Ok(is_nothing(text.as_ref())?.then_some(i)));
        Ok(found.collect::<Result<Vec<_>, _>>()?.into_iter().flatten().collect())
    }

    /// Whether the tokens of two texts with a space between them are those of the first followed by those of the
    /// second.
    ///
    /// # Errors
    /// The part of the tokenizer that makes a difference, or may make one.
    pub fn joins_at_spaces(&self) -> Result<(), String> {
        self.joins_at_spaces.clone()
    }

    /// Whether the fast way is used, for texts without special tokens in them.
    pub fn is_fast(&self) -> bool {
        self.pipeline.is_some()
    }

    /// The special tokens, for [framing](SpecialTokens::framed) and padding.
    pub fn special(&self) -> &SpecialTokens {
        &self.special
    }

    /// BLAKE3 of the file, in hex, but for a byte order mark.
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

/// If `path` does not exist, a file beside it from which only Python makes a tokenizer.
fn slow_tokenizer_beside(path: &Path) -> Option<&'static str> {
    SLOW.into_iter().find(|name| !path.exists() && path.with_file_name(name).exists())
}

/// Whether `path` has the name of such a file.
fn is_slow(path: &Path) -> bool {
    let named = |name: &str| path.file_name().is_some_and(|file| file == name);
    SLOW.into_iter().any(named) || path.extension().is_some_and(|ending| ending == "model")
}

/// The message that a token id has no row in a model's table of `table_rows` embeddings, with the likely causes.
/// `tokenizer_json` is the model's; it names the token.
pub fn not_in_table(id: u32, table_rows: usize, tokenizer_json: Option<&Path>) -> String {
    let tokenizer = tokenizer_json.and_then(|path| Some((path, Tokenizer::from_file(path).ok()?)));
    let what = match &tokenizer {
        None => format!("token id {id}"),
        Some((path, tokenizer)) => match tokenizer.id_to_token(id) {
            Some(token) => format!("token {token:?} (id {id} of {})", path.display()),
            None => {
                let size = tokenizer.get_vocab_size(true);
                format!("token id {id}, which {} does not have among its {size} tokens,", path.display())
            }
        },
    };
    format!(
        "{what} does not fit the model's vocabulary of {table_rows}: tokens were added to the tokenizer and the table of \
         embeddings was not made larger (resize_token_embeddings), or the texts were tokenised with another model's \
         tokenizer"
    )
}

/// The tokens that the post-processor puts around a text, the padding and the mask token by their usual names, and the
/// unknown token by its stated or usual name.
fn special_tokens(tokenizer: &Tokenizer, unknown: Option<&str>) -> Result<SpecialTokens, String> {
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
    let named = |names: [&str; 2]| names.iter().find_map(|name| tokenizer.token_to_id(name));
    let by_name = |what: &str, names: [&str; 2]| {
        named(names).ok_or_else(|| format!("has no {what} token: neither {} nor {}", names[0], names[1]))
    };
    Ok(SpecialTokens {
        cls,
        eos,
        pad: by_name("padding", ["<pad>", "[PAD]"])?,
        unk: match unknown.and_then(|token| tokenizer.token_to_id(token)) {
            Some(id) => id,
            None => by_name("unknown", ["<unk>", "[UNK]"])?,
        },
        mask: named(["<mask>", "[MASK]"]),
    })
}
