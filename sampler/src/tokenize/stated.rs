//! Ids that a tokenizer.json states more than once: each is held against the vocabulary.
//!
//! The `tokenizers` crate takes a post-processor's ids as they are written, and numbers added tokens itself. Where a file
//! was put together of two, or its vocabulary was changed by hand, the ids are other tokens than the names beside them.

use serde_json::Value;
use tokenizers::Tokenizer;

/// Whether the file's ids are those of its vocabulary.
///
/// # Errors
/// The reason, with the token and both ids.
pub(super) fn check_ids(file: &Value, tokenizer: &Tokenizer) -> Result<(), String> {
    for token in file["added_tokens"].as_array().into_iter().flatten() {
        check(tokenizer, "added_tokens", &token["content"], &token["id"])?;
    }
    check_post_processor(&file["post_processor"], tokenizer)
}

/// The token that the model takes for what it does not know, where it names one.
pub(super) fn unknown_token(file: &Value) -> Option<&str> {
    let model = &file["model"];
    let by_id = || model["vocab"].get(usize::try_from(model["unk_id"].as_u64()?).ok()?)?.get(0)?.as_str();
    model["unk_token"].as_str().or_else(by_id)
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
            Ok(())
        }
        _ => Ok(()),
    }
}

fn check(tokenizer: &Tokenizer, part: &str, token: &Value, id: &Value) -> Result<(), String> {
    // What has no such form was refused when the file was read.
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
