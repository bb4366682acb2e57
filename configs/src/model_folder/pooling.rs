//! Reads the config.json of a pooling's folder, in the forms of sentence-transformers' releases.

use std::path::Path;

use serde_json::Value;

use crate::json_file::ModelFolderError;
use crate::pooling::Pooling;

/// The keys of a pooling's config.json before there was `pooling_mode`, and their meanings.
const POOLING_FLAGS: [(&str, &str); 6] = [
    ("pooling_mode_cls_token", "cls"),
    ("pooling_mode_max_tokens", "max"),
    ("pooling_mode_mean_tokens", "mean"),
    ("pooling_mode_mean_sqrt_len_tokens", "mean_sqrt_len_tokens"),
    ("pooling_mode_weightedmean_tokens", "weightedmean"),
    ("pooling_mode_lasttoken", "lasttoken"),
];

/// What a folder says about the dense head.
#[derive(Debug)]
pub(super) enum StoredPooling {
    Unsaid,
    Said(Pooling),
    /// A pooling that Tercet does not compute.
    Other(ModelFolderError),
}

/// The pooling in a pooling's config.json. In sentence-transformers the mean is on unless its key says otherwise.
pub(super) fn stored_pooling(path: &Path, json: &Value) -> Result<StoredPooling, ModelFolderError> {
    let fail = |reason: String| ModelFolderError::new(path, reason);
    let flag = |key: &str, default: bool| match json.get(key) {
        None => Ok(default),
        Some(Value::Bool(set)) => Ok(*set),
        Some(other) => Err(fail(format!("{key} is {other}: true or false is expected"))),
    };
    let mut modes: Vec<String> = Vec::new();
    match json.get("pooling_mode") {
        Some(Value::String(mode)) => modes.push(mode.clone()),
        Some(Value::Array(several)) if several.iter().all(Value::is_string) => {
            modes.extend(several.iter().filter_map(Value::as_str).map(str::to_owned));
        }
        Some(other) => return Err(fail(format!("pooling_mode is {other}: a mode's name is expected"))),
        None => {
            for (key, mode) in POOLING_FLAGS {
                if flag(key, mode == "mean")? {
                    modes.push(mode.into());
                }
            }
        }
    }
    if !json.is_object() {
        return Err(fail("is not a JSON object".into()));
    }
    if !flag("include_prompt", true)? {
        return Ok(StoredPooling::Other(fail(
            "include_prompt is false, so that prompts are left out of the pooling".into(),
        )));
    }
    Ok(match modes.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
        ["cls"] => StoredPooling::Said(Pooling::Cls),
        ["mean"] | [] => StoredPooling::Said(Pooling::Mean),
        [other] => StoredPooling::Other(fail(format!("the pooling mode is {other:?}"))),
        several => {
            StoredPooling::Other(fail(format!("the pooling modes are {}, one after another", several.join(", "))))
        }
    })
}
