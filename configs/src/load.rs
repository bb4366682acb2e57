//! Loads a file and `--set` overrides as a checked recipe.

use std::collections::BTreeMap;
use std::path::Path;

use serde::de::DeserializeOwned;

use crate::check::check;
use crate::error::RecipeError;
use crate::recipe::Recipe;
use crate::text::read_text;

impl Recipe {
    /// Reads `path`, applies `overrides` (`loss.temperature=0.05`, later ones win) and checks the result.
    ///
    /// An override's value is TOML. A value that is not valid TOML is taken as a string, so `loss.preset=dense` needs
    /// no quotes.
    ///
    /// # Errors
    /// [`RecipeError`] says where and what the mistake is; for a misspelt key it also says what was probably meant.
    pub fn load(path: &Path, overrides: &[String]) -> Result<Self, RecipeError> {
        let text = read_text(path).map_err(|source| RecipeError::Read { path: path.to_owned(), source })?;
        Self::parse(&text, path, overrides)
    }

    /// As [`Recipe::load`], but from the text of a recipe; `path` only names it in errors.
    ///
    /// # Errors
    /// As [`Recipe::load`], without [`RecipeError::Read`].
    pub fn parse(text: &str, path: &Path, overrides: &[String]) -> Result<Self, RecipeError> {
        // The file is parsed first, because its errors can show the line.
        let mut recipe: Recipe =
            from_toml(text).map_err(|message| RecipeError::Syntax { path: path.to_owned(), message })?;
        for setting in overrides {
            recipe = recipe.with_override(setting)?;
        }
        check(&recipe, path)?;
        recipe.loss.resolve_weights();
        Ok(recipe)
    }

    /// The recipe, with all defaults filled in, as TOML that loads as the same run.
    pub fn to_toml(&self) -> String {
        // Serialising plain structs of numbers, strings and enums cannot fail.
        toml::to_string_pretty(self).expect("a recipe is always TOML")
    }

    /// BLAKE3 of [`Recipe::to_toml`]. Two ranks, or a run and its checkpoint, have the same recipe if it is equal.
    pub fn hash(&self) -> String {
        blake3::hash(self.to_toml().as_bytes()).to_hex().to_string()
    }

    /// The keys whose values differ from `other`'s and change what is computed. The other keys may differ between a run
    /// and its continuation: where its files go, how often it reports or saves, what it is judged by, what it does
    /// about faults and dead ranks, and how it is cut up for a machine.
    pub fn differing_keys(&self, other: &Self) -> Vec<String> {
        const FREE: [&str; 16] = [
            "name",
            "deterministic",
            "cpu_matmul",
            "device",
            "backend",
            "backend_deadline_secs",
            "run_dir",
            "sub_batch_tokens",
            "sub_batch_texts",
            "kept_graph_tokens",
            "memory_budget",
            "checkpoint",
            "eval",
            "faults",
            "restart",
            "log",
        ];
        /// Paths of these keys may differ if they lead to the same file.
        const OF_A_MODEL: [&str; 3] = ["model.path", "model.config", "model.tokenizer"];
        let is_free =
            |key: &str| key == "optimizer.shard_state" || FREE.contains(&key.split('.').next().unwrap_or(key));
        // Serialising plain structs cannot fail, as in `to_toml`.
        let flat = |recipe: &Self| flatten(&toml::Table::try_from(recipe).expect("a recipe is always TOML"));
        let (own, others) = (flat(self), flat(other));
        let mut keys: Vec<String> = own.keys().chain(others.keys()).cloned().collect();
        keys.sort();
        keys.dedup();
        keys.retain(|key| {
            let (own, other) = (own.get(key), others.get(key));
            own != other && !is_free(key) && !(OF_A_MODEL.contains(&key.as_str()) && are_one_place(own, other))
        });
        keys
    }

    fn with_override(&self, setting: &str) -> Result<Self, RecipeError> {
        let fail = |message: String| RecipeError::Override { setting: setting.to_owned(), message };
        let (key, value) =
            setting.split_once('=').ok_or_else(|| fail("expected key=value, e.g. loss.temperature=0.05".into()))?;
        let value = parse_value(value.trim());
        let mut root = toml::Table::try_from(self).map_err(|e| fail(e.to_string()))?;
        let mut table = &mut root;
        let mut parts = key.trim().split('.').peekable();
        while let Some(part) = parts.next() {
            if parts.peek().is_none() {
                table.insert(part.to_owned(), value.clone());
                break;
            }
            table = table
                .entry(part)
                .or_insert_with(|| toml::Value::Table(toml::Table::new()))
                .as_table_mut()
                .ok_or_else(|| fail(format!("{part} is a value, not a section")))?;
        }
        root.try_into().map_err(|e: toml::de::Error| fail(with_suggestion(e.to_string().trim_end(), e.message())))
    }
}

/// Reads TOML.
///
/// # Errors
/// What is wrong, with its line; for a misspelt key also the one that was probably meant.
pub fn from_toml<T: DeserializeOwned>(text: &str) -> Result<T, String> {
    toml::from_str(text).map_err(|e| with_suggestion(e.to_string().trim_end(), e.message()))
}

/// Whether both are paths to the same existing file or folder.
fn are_one_place(one: Option<&toml::Value>, other: Option<&toml::Value>) -> bool {
    let place = |value: Option<&toml::Value>| std::fs::canonicalize(value?.as_str()?).ok();
    place(one).is_some_and(|one| place(other) == Some(one))
}

/// Every value in `table`, by `section.key`.
fn flatten(table: &toml::Table) -> BTreeMap<String, toml::Value> {
    let mut flat = BTreeMap::new();
    for (key, value) in table {
        match value {
            toml::Value::Table(inner) => {
                flat.extend(flatten(inner).into_iter().map(|(below, value)| (format!("{key}.{below}"), value)));
            }
            value => {
                flat.insert(key.clone(), value.clone());
            }
        }
    }
    flat
}

/// Reads `0.05`, `true` or `[1, 2]` as TOML, and anything else as a string.
fn parse_value(text: &str) -> toml::Value {
    toml::from_str::<toml::Table>(&format!("value = {text}"))
        .ok()
        .and_then(|mut table| table.remove("value"))
        .unwrap_or_else(|| toml::Value::String(text.to_owned()))
}

/// Adds "did you mean" to serde's "unknown field `x`, expected one of `a`, `b`".
fn with_suggestion(shown: &str, message: &str) -> String {
    let quoted: Vec<&str> = message.split('`').skip(1).step_by(2).collect();
    let unknown = message.starts_with("unknown field") || message.starts_with("unknown variant");
    let best = quoted.split_first().filter(|_| unknown).and_then(|(typed, known)| {
        let scored = known.iter().map(|k| (strsim::jaro_winkler(typed, k), *k));
        scored.max_by(|a, b| a.0.total_cmp(&b.0)).filter(|(score, _)| *score > 0.75)
    });
    match (best, as_list(message)) {
        (Some((_, meant)), _) => format!("{shown}\ndid you mean `{meant}`?"),
        (None, Some(list)) => format!("{shown}\na list is expected there: did you mean {list}?"),
        (None, None) => shown.to_owned(),
    }
}

/// The list that stands in a string, as it would be typed on a command line, if `message` is of a string in the place
/// of a list.
fn as_list(message: &str) -> Option<String> {
    let typed = message.strip_prefix("invalid type: string \"")?.strip_suffix("\", expected a sequence")?;
    let quoted = |part: &str| if part.parse::<f64>().is_ok() { part.to_owned() } else { format!("\"{part}\"") };
    Some(format!("[{}]", typed.split(',').map(|part| quoted(part.trim())).collect::<Vec<_>>().join(", ")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{LossPreset, Pooling, Precision};

    const SMALL: &str = "name = \"t\"\n[loss]\ntemperature = 0.05\n";

    fn parse(text: &str, overrides: &[&str]) -> Result<Recipe, RecipeError> {
        let overrides: Vec<String> = overrides.iter().map(|s| s.to_string()).collect();
        Recipe::parse(text, Path::new("t.toml"), &overrides)
    }

    #[test]
    fn overrides_reach_sections_and_enums_without_quotes() {
        let recipe =
            parse(SMALL, &["loss.preset=paper-v1", "model.pooling=mean", "precision=fp64", "loss.distill=false"])
                .unwrap();
        assert_eq!(recipe.loss.preset, LossPreset::PaperV1);
        assert_eq!(recipe.model.pooling, Some(Pooling::Mean));
        assert_eq!(recipe.precision, Precision::Fp64);
        assert!(!recipe.loss.distill);
        assert_eq!(recipe.loss.temperature, 0.05);
    }

    #[test]
    fn a_string_in_the_place_of_a_list_shows_the_list() {
        let message =
            parse("name = \"t\"\n[eval]\ndata = \"beir/nfcorpus, beir/scifact\"\n", &[]).unwrap_err().to_string();
        assert!(message.contains("line 3"), "{message}");
        assert!(message.contains("did you mean [\"beir/nfcorpus\", \"beir/scifact\"]?"), "{message}");
        assert_eq!(as_list("invalid type: string \"1,0.3\", expected a sequence").unwrap(), "[1, 0.3]");
        assert_eq!(as_list("invalid type: integer `1`, expected a sequence"), None);
    }

    #[test]
    fn a_misspelt_key_shows_its_line_and_what_was_meant() {
        let message = parse("name = \"t\"\n[loss]\ntemprature = 0.05\n", &[]).unwrap_err().to_string();
        assert!(message.contains("line 3") && message.contains("did you mean `temperature`?"), "{message}");
    }

    #[test]
    fn a_wrong_type_shows_its_line() {
        let message = parse("name = \"t\"\n[loss]\ntemperature = \"hot\"\n", &[]).unwrap_err().to_string();
        assert!(message.contains("line 3") && message.contains("expected"), "{message}");
    }

    #[test]
    fn a_misspelt_override_names_itself_and_what_was_meant() {
        let message = parse(SMALL, &["loss.tempratur=1"]).unwrap_err().to_string();
        assert!(message.starts_with("--set loss.tempratur=1") && message.contains("`temperature`"), "{message}");
    }

    #[test]
    fn only_keys_that_change_the_numbers_count_as_different() {
        let one =
            parse(SMALL, &["checkpoint.keep=1", "run_dir=a", "restart.limit=0", "optimizer.shard_state=true"]).unwrap();
        let other = parse(SMALL, &["loss.temperature=0.1", "model.path=b"]).unwrap();
        assert_eq!(one.differing_keys(&other), ["loss.temperature", "model.path"]);
    }

    #[test]
    fn a_model_in_other_words_is_the_same_model() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("m")).unwrap();
        let of = |path: &str| parse(SMALL, &[&format!("model.path={}/{path}", dir.path().display())]).unwrap();
        assert!(of("m").differing_keys(&of("./m/../m/")).is_empty());
        assert_eq!(of("m").differing_keys(&of("n")), ["model.path"]);
        assert_eq!(of("n").differing_keys(&of("./n/../n")), ["model.path"], "is not there");
    }

    #[test]
    fn the_losses_weights_are_the_last_presets_unless_they_are_given() {
        let weights = |overrides: &[&str]| {
            let loss = parse(SMALL, overrides).unwrap().loss;
            (loss.head_weights, loss.hybrid_weights)
        };
        assert_eq!(weights(&[]), (Some([1.0, 0.1, 1.0]), Some([1.0, 0.3, 1.0])));
        assert_eq!(weights(&["loss.preset=paper-v1"]), (Some([1.0; 3]), Some([1.0; 3])));
        assert_eq!(weights(&["loss.preset=dense"]), (None, None));
        let given = ["loss.preset=paper-v1", "loss.hybrid_weights=[1, 0.5, 0]"];
        assert_eq!(weights(&given), (Some([1.0; 3]), Some([1.0, 0.5, 0.0])));
        let now = parse(SMALL, &[]).unwrap();
        let mut before = toml::Table::try_from(&now).unwrap();
        for key in ["head_weights", "hybrid_weights"] {
            assert!(before["loss"].as_table_mut().unwrap().remove(key).is_some(), "{key} is not written");
        }
        // A run that was begun before there were such keys.
        let before = parse(&before.to_string(), &[]).unwrap();
        assert!(before.differing_keys(&now).is_empty());
    }

    #[test]
    fn the_resolved_recipe_loads_as_itself() {
        let recipe = parse(SMALL, &[]).unwrap();
        let again = parse(&recipe.to_toml(), &[]).unwrap();
        assert_eq!(recipe, again);
        assert_eq!(recipe.hash(), again.hash());
    }
}
