//! Whether the tokens of two texts with a space between them are those of the first followed by those of the second.
//!
//! They are if words are cut at spaces, spaces are dropped or begin a word, and a text's first word begins in the same
//! way, as with BERT's and XLM-RoBERTa's tokenizers. They are not if a word after a space is another token than at a
//! text's beginning, as with GPT-2's and RoBERTa's. Only kinds of tokenizers for which it certainly holds pass.

use serde_json::Value;

/// Checks that a tokenizer with these parts is of such a kind.
///
/// # Errors
/// The part that may make a difference, for a message.
pub(super) fn joins_at_spaces(normalizes: &Value, pre_tokenizer: &Value) -> Result<(), String> {
    let mut collapses = false;
    normalizer(normalizes, &mut collapses)?;
    let steps = match pre_tokenizer {
        step if step["type"] == "Sequence" => step["pretokenizers"].as_array().map_or(&[][..], Vec::as_slice),
        step => std::slice::from_ref(step),
    };
    let name = |step: &Value| step["type"].as_str().unwrap_or("none").to_owned();
    let mut is_cut = false;
    for step in steps {
        match step["type"].as_str() {
            Some("BertPreTokenizer" | "Whitespace" | "WhitespaceSplit") => is_cut = true,
            // Blanks before a text belong to it; if they are kept, one more makes a difference.
            Some("Metaspace") if begins_every_word(step) && (is_cut || collapses) => is_cut = true,
            // These treat each word by itself.
            Some("ByteLevel" | "Digits" | "Punctuation" | "Split" | "CharDelimiterSplit") if is_cut => {}
            Some("Digits" | "Punctuation") => {}
            _ => {
                return Err(format!(
                    "its pre-tokenizer {} treats a text's first word differently from others",
                    name(step)
                ));
            }
        }
    }
    if is_cut { Ok(()) } else { Err("it does not cut texts into words at spaces".into()) }
}

fn begins_every_word(metaspace: &Value) -> bool {
    let is_always = match metaspace.get("prepend_scheme") {
        Some(scheme) => scheme == "always",
        None => metaspace["add_prefix_space"] != false,
    };
    is_always && metaspace.get("split").is_none_or(|split| split == true)
}

/// Checks that the result for a character depends on no other one across a space. Sets `collapses` if only single
/// spaces are left.
fn normalizer(step: &Value, collapses: &mut bool) -> Result<(), String> {
    let Some(kind) = step["type"].as_str() else { return Ok(()) };
    match kind {
        "Sequence" => {
            let steps = step["normalizers"].as_array();
            return steps.into_iter().flatten().try_for_each(|step| normalizer(step, collapses));
        }
        "BertNormalizer" | "NFC" | "NFD" | "NFKC" | "NFKD" | "Lowercase" | "StripAccents" | "Nmt" | "Precompiled"
        | "Strip" => {
            return Ok(());
        }
        "Replace" => {
            let (plain, regex) = (step["pattern"]["String"].as_str(), step["pattern"]["Regex"].as_str());
            if regex.is_some_and(|regex| [" {2,}", " +", "\\s+", "\\s{2,}"].contains(&regex)) {
                *collapses = true;
                return Ok(());
            }
            if plain.is_some_and(|plain| !plain.contains(char::is_whitespace)) {
                return Ok(());
            }
        }
        _ => {}
    }
    Err(format!("its normalizer {kind} may treat a text's beginning differently from a word's"))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn only_tokenizers_that_cut_at_spaces_alike_pass() {
        let meta =
            |scheme: &str| json!({"type": "Metaspace", "replacement": "▁", "prepend_scheme": scheme, "split": true});
        let bytes = |prefix: bool| json!({"type": "ByteLevel", "add_prefix_space": prefix, "use_regex": true});
        let split = || json!({"type": "WhitespaceSplit"});
        let all = |steps: Value| json!({"type": "Sequence", "pretokenizers": steps});
        let collapse = json!({"type": "Sequence", "normalizers": [
            {"type": "Precompiled"}, {"type": "Replace", "pattern": {"Regex": " {2,}"}, "content": " "}]});
        for (normalizer, pre_tokenizer, joins) in [
            (json!({"type": "BertNormalizer"}), json!({"type": "BertPreTokenizer"}), true),
            (json!({"type": "Precompiled"}), all(json!([split(), meta("always")])), true),
            (collapse.clone(), meta("always"), true),
            (Value::Null, split(), true),
            (Value::Null, all(json!([split(), bytes(false)])), true),
            (Value::Null, all(json!([{"type": "Digits"}, split()])), true),
            // Two adjacent spaces stay two words.
            (Value::Null, meta("always"), false),
            (collapse.clone(), meta("first"), false),
            (collapse, meta("never"), false),
            (Value::Null, all(json!([split(), meta("first")])), false),
            (Value::Null, bytes(false), false),
            (Value::Null, bytes(true), false),
            (Value::Null, Value::Null, false),
            (json!({"type": "Prepend", "prepend": "▁"}), split(), false),
            (json!({"type": "Replace", "pattern": {"String": " "}, "content": "▁"}), split(), false),
        ] {
            let found = joins_at_spaces(&normalizer, &pre_tokenizer);
            assert_eq!(found.is_ok(), joins, "{normalizer} {pre_tokenizer}");
        }
    }
}
