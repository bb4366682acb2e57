//! Settings of a config.json that turn the family's encoder into another model.

use serde_json::{Map, Value};

/// Refuses, by its key, a setting that turns the family's encoder into another model.
///
/// # Errors
/// The key, its value, and what is supported.
pub(super) fn refuse_other_models(raw: &Map<String, Value>) -> Result<(), String> {
    let said = |key: &str| raw.get(key).filter(|value| !value.is_null());
    for (key, what) in [
        ("is_decoder", "its attention looks backwards only"),
        ("is_encoder_decoder", "it has a decoder"),
        ("add_cross_attention", "it attends to another model's states"),
    ] {
        match said(key) {
            None | Some(Value::Bool(false)) => {}
            Some(Value::Bool(true)) => return Err(format!("{key} is true, which is not supported: {what}")),
            Some(other) => return Err(format!("{key} is {other}: true or false is expected")),
        }
    }
    match raw.get("position_embedding_type") {
        None => {}
        Some(Value::String(kind)) if kind == "absolute" => {}
        Some(other) => return Err(format!("position_embedding_type {other} is not supported: \"absolute\" is")),
    }
    match raw.get("hidden_act") {
        // Both names mean the same function.
        None => {}
        Some(Value::String(name)) if name == "gelu" || name == "gelu_python" => {}
        Some(other) => return Err(format!("hidden_act {other} is not supported: \"gelu\" is")),
    }
    if let Some(method) = said("quantization_config") {
        let method = method.get("quant_method").and_then(Value::as_str).unwrap_or("unknown");
        return Err(format!(
            "quantization_config: the weights are quantised ({method}), which is not supported: use the model that \
             they were made from"
        ));
    }
    if let Some(pruned) = said("pruned_heads").filter(|pruned| pruned.as_object().is_none_or(|heads| !heads.is_empty()))
    {
        return Err(format!("pruned_heads is {pruned}: layers with fewer heads than others are not supported"));
    }
    let own_code = |class: &&str| said("auto_map").and_then(|map| map.get(*class)).is_some_and(|code| !code.is_null());
    if let Some(class) = ["AutoConfig", "AutoModel"].iter().find(|class| own_code(class)) {
        let code = &raw["auto_map"][*class];
        return Err(format!(
            "auto_map: the model has its own code for {class} ({code}), which is not run; if it computes what \
             model_type says, remove auto_map"
        ));
    }
    match (said("embedding_size"), said("hidden_size")) {
        (Some(words), Some(hidden)) if words != hidden => Err(format!(
            "embedding_size {words} is not hidden_size {hidden}: word embeddings of another width are not supported"
        )),
        _ => Ok(()),
    }
}
