//! Keys and columns of rows: those that are used, and those that are nearly one of them ([`super::like`]).
//!
//! Other keys are ignored, so a value under a misspelt key, or under another trainer's key, would be lost silently.

use super::like::{Held, Likeness, may_be, meant, plain};

/// The keys that a row uses.
pub(super) const KEYS: [&str; 9] =
    ["query", "pos", "neg", "pos_scores", "neg_scores", "prompt", "type", "lang", "language"];

/// The keys that a text alone uses.
pub(super) const TEXT_KEYS: [&str; 3] = ["text", "lang", "language"];

/// Words of others for a text alone; they are only suggested if ours is missing.
const LIKE_TEXT: [&str; 16] = [
    "texts",
    "content",
    "contents",
    "document",
    "documents",
    "doc",
    "body",
    "passage",
    "sentence",
    "article",
    "rawcontent",
    "rawtext",
    "pagecontent",
    "plaintext",
    "maintext",
    "chunk",
];

/// The number of a row's keys that a message names.
const SHOWN_KEYS: usize = 12;

/// A key of a row.
#[derive(Debug, Clone)]
pub(super) struct Key {
    pub(super) name: String,
    /// Whether its value counts as missing.
    pub(super) is_null: bool,
}

/// A key that is ignored, and the one that was perhaps meant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NearKey {
    /// The key in the row.
    pub key: String,
    /// The key of ours that it resembles.
    pub meant: &'static str,
}

/// The message that `needed` is missing among the keys of a row (`what` is "keys" or "columns").
pub(super) fn missing(needed: &str, what: &str, keys: &[Key]) -> String {
    let is_ours = |key: &&Key| KEYS.contains(&key.name.as_str());
    let meant = keys.iter().filter(|key| !is_ours(key)).find(|key| meant(&key.name).is_some_and(|m| m.0 == needed));
    let is_text = |key: &Key| key.name == "text" && !key.is_null;
    let hint = match meant {
        Some(key) => format!("; perhaps {:?} is what is meant", key.name),
        None if needed == "query" && keys.iter().any(is_text) => {
            "; `tercet prepare --texts` takes texts alone".to_owned()
        }
        None => String::new(),
    };
    let form = if needed == "query" { "a string" } else { "a list of strings" };
    format!("\"{needed}\" is missing among the {what} {}{hint} (\"{needed}\" is {form})", shown(keys))
}

/// As [`missing`], for the one key that a text alone needs.
pub(super) fn missing_text(what: &str, keys: &[Key]) -> String {
    let is_meant = |key: &&Key| {
        let plain = plain(&key.name);
        plain == "text" || LIKE_TEXT.contains(&plain.as_str()) || strsim::osa_distance(&plain, "text") == 1
    };
    let is_row = |ours: &str| keys.iter().any(|key| key.name == ours);
    let hint = match keys.iter().find(|key| !key.is_null && is_meant(key)) {
        Some(key) => format!("; perhaps {:?} is what is meant", key.name),
        None if is_row("query") && is_row("pos") => {
            "; rows of a query and its passages are given without --texts".into()
        }
        None => String::new(),
    };
    format!("\"text\" is missing among the {what} {}{hint} (\"text\" is a string)", shown(keys))
}

/// The names of a row's keys, the first of them if there are many.
fn shown(keys: &[Key]) -> String {
    let mut names: Vec<String> = keys.iter().take(SHOWN_KEYS).map(|key| format!("{:?}", key.name)).collect();
    if keys.len() > SHOWN_KEYS {
        names.push("…".into());
    }
    names.join(", ")
}

/// The row's keys that are nearly ours, if the row lacks ours. `held` returns what each key holds, of which an empty
/// list counts as missing; it is called only if some keys are nearly ours.
///
/// # Errors
/// A key certainly stands for a missing one of ours, so negatives or scores would be lost.
pub(super) fn near(keys: &[Key], held: impl FnOnce() -> Vec<(String, Held)>) -> Result<Vec<NearKey>, String> {
    let others = keys.iter().filter(|key| !key.is_null && !KEYS.contains(&key.name.as_str()));
    let like: Vec<_> = others.filter_map(|key| Some((&key.name, meant(&key.name)?))).collect();
    if like.is_empty() {
        return Ok(Vec::new());
    }
    let held = held();
    let held_by = |name: &str| held.iter().find(|(key, _)| key == name).map_or(Held::Nothing, |(_, held)| *held);
    let is_named = |ours: &str| keys.iter().any(|key| key.name == ours);
    let mut near = Vec::new();
    for (key, (meant, likeness)) in like {
        if held_by(meant) != Held::Nothing || !may_be(meant, likeness, held_by(key)) {
            continue;
        }
        let loses = matches!(meant, "neg" | "pos_scores" | "neg_scores");
        if likeness == Likeness::Same && loses && !is_named(meant) {
            return Err(format!("{key:?} would be ignored, and \"{meant}\" is missing: rename it, or take it out"));
        }
        near.push(NearKey { key: key.clone(), meant });
    }
    Ok(near)
}

/// Whether what `name` holds matters: it is ours, or nearly.
pub(super) fn is_looked_at(name: &str) -> bool {
    KEYS.contains(&name) || meant(name).is_some()
}

#[cfg(test)]
mod tests {
    use super::super::like::OURS;
    use super::*;

    fn keys(names: &[&str]) -> Vec<Key> {
        names.iter().map(|name| Key { name: name.trim_end_matches('!').into(), is_null: name.ends_with('!') }).collect()
    }

    fn told(names: &[&str]) -> Result<Vec<NearKey>, String> {
        let held = |key: &Key| match key.name.contains("score") {
            _ if key.is_null => Held::Nothing,
            true => Held::Numbers,
            false => Held::Texts,
        };
        near(&keys(names), || keys(names).iter().map(|key| (key.name.clone(), held(key))).collect())
    }

    #[test]
    fn all_keys_but_the_names_of_a_language_may_be_meant() {
        assert_eq!(KEYS[..OURS.len()], OURS);
    }

    #[test]
    fn what_would_be_lost_is_refused_and_what_only_looks_like_it_is_told() {
        for lost in ["negs", "Neg", "negative", "negatives", "hard_negatives", "negative_passages", "negative_2", "NEG"]
        {
            let reason = told(&["query", "pos", lost]).unwrap_err();
            assert!(reason.contains(&format!("{lost:?} would be ignored, and \"neg\"")), "{reason}");
        }
        for (lost, meant) in
            [("pos_score", "pos_scores"), ("positive_scores", "pos_scores"), ("neg-scores", "neg_scores")]
        {
            let reason = told(&["query", "pos", "neg", lost]).unwrap_err();
            assert!(reason.contains(&format!("\"{meant}\" is missing")), "{reason}");
        }
        for (like, meant) in [("scores", "pos_scores"), ("net", "neg"), ("Type", "type"), ("instruction", "prompt")] {
            let found = told(&["query", "pos", like]).unwrap();
            assert_eq!(found, [NearKey { key: like.into(), meant }], "{like}");
        }
        for (like, meant) in [("teacher_scores", "pos_scores"), ("hn", "neg"), ("distractors", "neg")] {
            assert_eq!(told(&["query", "pos", like]).unwrap(), [NearKey { key: like.into(), meant }], "{like}");
        }
        for (like, meant) in [("ce_scores", "pos_scores"), ("reranker_scores", "pos_scores"), ("negitive", "neg")] {
            assert_eq!(told(&["query", "pos", like]).unwrap(), [NearKey { key: like.into(), meant }], "{like}");
        }
        // If a row has negatives under our key, its other key is something else.
        assert_eq!(told(&["query", "pos", "neg", "negatives"]).unwrap(), []);
        assert_eq!(told(&["query", "pos", "neg!", "negatives"]).unwrap().len(), 1);
        for other in ["id", "_id", "source", "title", "negs!", "positive", "lang_id", "metadata", "label"] {
            assert_eq!(told(&["query", "pos", other]).unwrap(), [], "{other}");
        }
    }

    #[test]
    fn what_is_missing_is_named_with_what_is_there() {
        for (names, needed, expected) in [
            (
                &["anchor", "positive", "negative"][..],
                "query",
                r#"among the keys "anchor", "positive", "negative"; perhaps "anchor""#,
            ),
            (
                &["query", "positive_passages"],
                "pos",
                r#"perhaps "positive_passages" is what is meant ("pos" is a list of strings)"#,
            ),
            (&["Query", "Pos"], "query", r#"perhaps "Query""#),
            (&["a", "b"], "query", r#""query" is missing among the keys "a", "b" ("query" is a string)"#),
            (&["text", "url"], "query", "`tercet prepare --texts` takes texts alone"),
        ] {
            let reason = missing(needed, "keys", &keys(names));
            assert!(reason.contains(expected), "{reason}");
        }
    }

    #[test]
    fn a_missing_text_is_found_under_other_words() {
        for key in ["content", "texts", "Text", "raw_content", "document", "txt", "text2", "textt"] {
            let reason = missing_text("keys", &keys(&["url", key]));
            let expected =
                format!("\"text\" is missing among the keys \"url\", {key:?}; perhaps {key:?} is what is meant");
            assert!(reason.starts_with(&expected), "{reason}");
        }
        assert!(missing_text("columns", &keys(&["query", "pos"])).contains("given without --texts"));
        let reason = missing_text("keys", &keys(&["url", "content!"]));
        assert_eq!(reason, r#""text" is missing among the keys "url", "content" ("text" is a string)"#);
    }
}
