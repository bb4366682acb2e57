//! Instruction prefixes: texts in the recipe, token ids in the plan.
//!
//! The store holds texts without prefixes, so that a recipe can change them. A prefix is tokenised by itself. That is
//! right if prefix, space and text together give the same tokens; with other tokenizers, a prefix is refused.

use tercet_configs::ModelSection;

use super::PlanError;
use crate::{Store, TextTokenizer};

/// Tokenises prefixes, and loads the model's tokenizer when the first prefix needs it.
pub(super) struct Prefixes<'a> {
    /// The store whose tokenizer must be the one that is loaded here, if one is.
    store: Option<&'a Store>,
    model: &'a ModelSection,
    tokenizer: Option<TextTokenizer>,
}

impl<'a> Prefixes<'a> {
    pub(super) fn new(store: &'a Store, model: &'a ModelSection) -> Self {
        Self { store: Some(store), model, tokenizer: None }
    }

    /// Uses a tokenizer that is already loaded.
    pub(super) fn with(tokenizer: TextTokenizer, model: &'a ModelSection) -> Self {
        Self { store: None, model, tokenizer: Some(tokenizer) }
    }

    /// The prefix's token ids, without special tokens.
    pub(super) fn tokens(&mut self, prefix: &str) -> Result<Vec<u32>, PlanError> {
        let prefix = prefix.trim_end();
        if prefix.is_empty() {
            return Ok(Vec::new());
        }
        let tokenizer = match self.tokenizer.take() {
            Some(tokenizer) => tokenizer,
            None => self.load()?,
        };
        if let Err(why) = tokenizer.joins_at_spaces() {
            let path = self.model.tokenizer_json().unwrap_or_default();
            return Err(PlanError::Prefix { prefix: prefix.to_owned(), path, why });
        }
        let tokens = tokenizer.encode_content(prefix)?;
        self.tokenizer = Some(tokenizer);
        Ok(tokens)
    }

    fn load(&self) -> Result<TextTokenizer, PlanError> {
        let path = self.model.tokenizer_json().ok_or(PlanError::PrefixTokenizer)?;
        let tokenizer = TextTokenizer::load(&path)?;
        if self.store.is_some_and(|store| tokenizer.hash() != store.manifest().tokenizer_hash) {
            return Err(PlanError::OtherTokenizer { path });
        }
        Ok(tokenizer)
    }
}
