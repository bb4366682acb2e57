//! The tokenizer of a model's folder, as far as the model depends on it: special ids, padding id, lower case.

use std::io::Read;
use std::path::{Path, PathBuf};

use serde_json::Value;
use tercet_configs::{EncoderConfig, ModelFolder, in_its_place, read_json_if_there, unreadable};
use tercet_sampler::{SpecialTokens, TextTokenizer, TokenizeError};

use crate::model::{ModelError, Purpose};

/// The special tokens, and the file that they come from. They are those of `tokenizer` if one is named, else of the
/// folder's tokenizer.json, else of its special_tokens.json, for which the directory is returned in place of the file.
pub(super) fn special_tokens(
    folder: &ModelFolder,
    tokenizer: Option<&Path>,
) -> Result<(PathBuf, SpecialTokens), ModelError> {
    let file = |path: &Path, reason: String| ModelError::File { path: path.to_owned(), reason };
    // A model's folder stands for the tokenizer.json in it.
    let named = tokenizer.map(|path| if path.is_dir() { path.join("tokenizer.json") } else { path.to_owned() });
    if let Some(path) = named.or_else(|| folder.file("tokenizer.json")) {
        let mut head = Vec::new();
        let read = std::fs::File::open(&path).and_then(|file| file.take(512).read_to_end(&mut head));
        read.map_err(|e| file(&path, unreadable(&path, &e)))?;
        if let Some(instead) = in_its_place(&head) {
            return Err(file(&path, instead.into()));
        }
        let tokenizer = TextTokenizer::load(&path).map_err(|error| match error {
            TokenizeError::Otherwise(stated) => stated.into(),
            error => file(&path, error.to_string()),
        })?;
        if folder.lower_case && !lower_cases(&path) {
            let reason = "do_lower_case is true in the model's sentence_bert_config.json, and no normalizer here puts texts \
                          in lower case: add {\"type\": \"Lowercase\"} to its normalizer, or set do_lower_case to false";
            return Err(file(&path, reason.into()));
        }
        return Ok((path, *tokenizer.special()));
    }
    let dir = &folder.transformer;
    let path = dir.join("special_tokens.json");
    if !path.is_file() {
        let slow = [dir, &folder.root].into_iter().find_map(|dir| {
            TextTokenizer::load(&dir.join("tokenizer.json")).err().filter(|e| matches!(e, TokenizeError::Slow { .. }))
        });
        let neither = "neither tokenizer.json nor special_tokens.json is here: put the model's tokenizer.json there";
        return Err(slow.map_or_else(|| file(dir, neither.into()), |slow| ModelError::Setting(slow.to_string())));
    }
    let special = SpecialTokens::load(&path).map_err(|error| ModelError::Setting(error.to_string()))?;
    Ok((dir.clone(), special))
}

/// Which tokens continue a word, where pre-training hides words; none where `tokenizer` is a directory without a
/// tokenizer.json.
pub(super) fn continuations_for(purpose: Purpose, tokenizer: &Path) -> Result<Vec<bool>, ModelError> {
    if purpose == Purpose::Retrieval || tokenizer.is_dir() {
        return Ok(Vec::new());
    }
    let tokenizer = TextTokenizer::load(tokenizer)
        .map_err(|e| ModelError::File { path: tokenizer.to_owned(), reason: e.to_string() })?;
    Ok(tokenizer.word_continuations())
}

/// RoBERTa's family counts positions from the padding id, which config.json and the tokenizer both state. BERT's does
/// not.
pub(super) fn check_padding(
    config: &EncoderConfig,
    special: &SpecialTokens,
    path: &Path,
    tokenizer: &Path,
) -> Result<(), ModelError> {
    if config.model_type == "bert" || config.pad_token_id == special.pad as usize {
        return Ok(());
    }
    let reason = format!(
        "pad_token_id is {}, from which positions are counted, and the padding token of {} has the id {}: correct \
         the one that is not what the model was trained with",
        config.pad_token_id,
        tokenizer.display(),
        special.pad
    );
    Err(ModelError::File { path: path.to_owned(), reason })
}

/// Whether the normalizer of the tokenizer.json at `path` puts texts in lower case.
fn lower_cases(path: &Path) -> bool {
    fn lowers(normalizer: &Value) -> bool {
        match normalizer["type"].as_str() {
            Some("Lowercase") => true,
            Some("BertNormalizer") => normalizer["lowercase"].as_bool().unwrap_or(false),
            Some("Sequence") => normalizer["normalizers"].as_array().is_some_and(|steps| steps.iter().any(lowers)),
            _ => false,
        }
    }
    read_json_if_there(path).ok().flatten().is_some_and(|json| lowers(&json["normalizer"]))
}
