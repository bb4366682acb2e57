//! What a tokenizer.json states beside its vocabulary. Ids that it repeats are checked against the vocabulary.
//!
//! The `tokenizers` crate takes a post-processor's ids as written, and numbers added tokens itself. If a file was
//! combined from two, or its vocabulary was changed by hand, the ids stand for other tokens than the names beside them.

use serde::Deserialize;
use serde_json::Value;
use tokenizers::Tokenizer;

/// A tokenizer.json without its vocabulary, which may take most of twenty megabytes.
#[derive(Debug, Deserialize)]
pub(super) struct Stated {
    #[serde(default)]
    added_tokens: Value,
    #[serde(default)]
    pub(super) normalizer: Value,
    #[serde(default)]
    pub(super) pre_tokenizer: Value,
    #[serde(default)]
    post_processor: Value,
    #[serde(default)]
    pub(super) truncation: Value,
    #[serde(default)]
    pub(super) padding: Value,
    model: Model,
}

#[derive(Debug, Deserialize)]
struct Model {
    /// Old files of WordPiece lack it.
    #[serde(default, rename = "type")]
    kind: Value,
    /// WordPiece and BPE have it.
    #[serde(default)]
    unk_token: Value,
    /// Unigram has it.
    #[serde(default)]
    unk_id: Value,
}

impl Stated {
    /// Checks that the file's ids are those of its vocabulary.
    ///
    /// # Errors
    /// The reason, with the token and both ids.
    pub(super) fn check_ids(&self, tokenizer: &Tokenizer) -> Result<(), String> {
        for token in self.added_tokens.as_array().into_iter().flatten() {
            check(tokenizer, "added_tokens", &token["content"], &token["id"])?;
        }
        check_post_processor(&self.post_processor, tokenizer)
    }

    /// Whether the file has this as an added token, which is found in a text before all else.
    pub(super) fn adds(&self, token: &str) -> bool {
        self.added_tokens.as_array().into_iter().flatten().any(|added| added["content"] == token)
    }

    /// Whether the model is WordPiece, as BERT's is.
    pub(super) fn is_word_piece(&self) -> bool {
        self.model.kind.is_null() || self.model.kind == "WordPiece"
    }

    /// The model's unknown token, if it names one.
    pub(super) fn unknown_token(&self, tokenizer: &Tokenizer) -> Option<String> {
        let by_id = || tokenizer.id_to_token(u32::try_from(self.model.unk_id.as_u64()?).ok()?);
        self.model.unk_token.as_str().map(str::to_owned).or_else(by_id)
    }
}

fn check_post_processor(processor: &Value, tokenizer: &Tokenizer) -> Result<(), String> {
    let part = "post_processor";
    match processor["type"].as_str() {
        Some("Sequence") => {
            let parts = processor["processors"].as_array();
            parts.into_iter().flatten().try_for_each(|processor| check_post_processor(processor, tokenizer))
        }
        // ["</s>", 2]
        Some("BertProcessing" | "RobertaProcessing") => ["cls", "sep"]
            .iter()
            .try_for_each(|which| check(tokenizer, part, &processor[which][0], &processor[which][1])),
        Some("TemplateProcessing") => {
            let special = processor["special_tokens"].as_object().into_iter().flatten();
            for (_, special) in special {
                let (ids, tokens) = (special["ids"].as_array(), special["tokens"].as_array());
                let pairs = tokens.into_iter().flatten().zip(ids.into_iter().flatten());
                pairs.into_iter().try_for_each(|(token, id)| check(tokenizer, part, token, id))?;
            }
            let single = processor["single"].as_array().into_iter().flatten();
            let types = single.filter_map(|piece| piece.as_object()?.values().next()?["type_id"].as_u64());
            match types.into_iter().find(|&kind| kind != 0) {
                Some(kind) => Err(format!(
                    "its post_processor gives tokens of a single text the type {kind}, and only type 0 is supported: set \
                     type_id to 0 in \"single\", if that is what the model was trained with"
                )),
                None => Ok(()),
            }
        }
        _ => Ok(()),
    }
}

fn check(tokenizer: &Tokenizer, part: &str, token: &Value, id: &Value) -> Result<(), String> {
    // Values of another form were refused when the file was read.
    let (Some(token), Some(id)) = (token.as_str(), id.as_u64()) else { return Ok(()) };
    let known = tokenizer.token_to_id(token);
    if known.map(u64::from) == Some(id) {
        return Ok(());
    }
    let known = known.map_or_else(|| "does not have".into(), |known| format!("has as id {known}"));
    Err(format!(
        "its {part} names id {id} for {token:?}, which its vocabulary {known}: parts of two tokenizers, or changed by hand; \
         take the file that the model came with, or save it again with save_pretrained"
    ))
}
