//! Prompts, the texts before queries and passages, as sentence-transformers keeps them in a model's folder
//! (config_sentence_transformers.json).
//!
//! A prompt is put before a text unchanged, but a recipe's prefix is followed by a space, so the prompt of a prefix
//! ends with that space. sentence-transformers' `encode_query` uses the prompt named "query", `encode_document` the
//! first existing one of "document", "passage" and "corpus", and `encode` the one that `default_prompt_name` names.

use serde_json::{Map, Value, json};

/// The names that a passage's prompt may have.
const PASSAGE_NAMES: [&str; 3] = ["document", "passage", "corpus"];

/// The complete prompts of queries and passages, spaces included.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Prompts {
    /// The prompt before a query; none if the folder does not say.
    pub query: Option<String>,
    /// The prompt before a passage; none if the folder does not say.
    pub passage: Option<String>,
    /// The prompt before a text that is not marked as a query or a passage; none if there is none.
    pub default: Option<String>,
}

impl Prompts {
    /// The prompts of a model that was trained with these prefixes.
    pub fn of_prefixes(query_prefix: &str, passage_prefix: &str) -> Self {
        let prompt = |prefix: &str| match prefix.trim_end() {
            "" => String::new(),
            prefix => format!("{prefix} "),
        };
        Self { query: Some(prompt(query_prefix)), passage: Some(prompt(passage_prefix)), default: None }
    }

    /// Whether no text has a prompt.
    pub fn are_empty(&self) -> bool {
        [&self.query, &self.passage, &self.default].into_iter().flatten().all(String::is_empty)
    }

    /// Reads the object in config_sentence_transformers.json. The error names the wrong key.
    pub(crate) fn read(settings: &Map<String, Value>) -> Result<Self, String> {
        let named = match settings.get("prompts") {
            None | Some(Value::Null) => return Ok(Self::default()),
            Some(Value::Object(named)) => named,
            Some(other) => return Err(format!("prompts is {other}: an object of name and text is expected")),
        };
        for (name, prompt) in named {
            if !(prompt.is_string() || prompt.is_null()) {
                return Err(format!("prompts.{name} is {prompt}: a text is expected"));
            }
        }
        let text = |name: &str| named.get(name).and_then(Value::as_str).map(str::to_owned);
        // sentence-transformers may have added an empty "document" as its default beside a "passage".
        let said = PASSAGE_NAMES.iter().filter_map(|name| text(name));
        let passage = said.clone().find(|prompt| !prompt.is_empty()).or_else(|| said.clone().next());
        let default =
            match settings.get("default_prompt_name") {
                None | Some(Value::Null) => None,
                Some(Value::String(name)) => Some(text(name).ok_or_else(|| {
                    format!("default_prompt_name is {name:?}, and there is no such prompt in prompts")
                })?),
                Some(other) => return Err(format!("default_prompt_name is {other}: a prompt's name is expected")),
            };
        Ok(Self { query: text("query"), passage, default })
    }

    /// Writes the prompts into the object of config_sentence_transformers.json; other prompts stay.
    pub fn write(&self, settings: &mut Map<String, Value>) {
        let prompts = settings.entry("prompts").or_insert_with(|| json!({}));
        if !prompts.is_object() {
            *prompts = json!({});
        }
        prompts["query"] = self.query.clone().unwrap_or_default().into();
        // Both names are in use; `encode_document` looks for the first.
        for name in &PASSAGE_NAMES[..2] {
            prompts[*name] = self.passage.clone().unwrap_or_default().into();
        }
        if self.default.is_none() || !settings.contains_key("default_prompt_name") {
            settings.insert("default_prompt_name".into(), Value::Null);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(json: Value) -> Result<Prompts, String> {
        Prompts::read(json.as_object().unwrap())
    }

    #[test]
    fn prompts_are_read_under_all_their_names() {
        let e5 = json!({"prompts": {"query": "query: ", "document": "", "passage": "passage: "}});
        let expected = Prompts::of_prefixes("query:", "passage: ");
        assert_eq!(read(e5).unwrap(), expected);
        let mut settings = Map::new();
        expected.write(&mut settings);
        assert_eq!(Prompts::read(&settings).unwrap(), expected);
        assert_eq!(settings["prompts"]["document"], "passage: ");
        let by_default = json!({"prompts": {"sts": "Compare: "}, "default_prompt_name": "sts"});
        assert_eq!(read(by_default).unwrap().default.as_deref(), Some("Compare: "));
        assert!(read(json!({"prompts": {}, "default_prompt_name": null})).unwrap().are_empty());
    }

    #[test]
    fn what_is_no_prompt_is_named() {
        for (json, reason) in [
            (json!({"prompts": ["query: "]}), "prompts is"),
            (json!({"prompts": {"query": 3}}), "prompts.query is 3"),
            (json!({"prompts": {}, "default_prompt_name": "query"}), "default_prompt_name is \"query\""),
        ] {
            let message = read(json).unwrap_err();
            assert!(message.contains(reason), "{message}");
        }
    }
}
