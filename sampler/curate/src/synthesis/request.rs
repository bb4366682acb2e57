//! One request: what is sent, its name in the journal, and what it can use at most.

use std::path::Path;

use serde_json::{Map, Value, json};

use super::caps::Used;
use super::documents::{Chosen, Document, Language};
use super::measure::Measure;
use super::paragraph::paragraph;
use super::parameters;
use super::prompt::Prompt;
use super::recipe::{PerLanguage, Recipe};
use crate::error::CurateError;

/// Tokens that a server may put around a prompt at most: roles, marks, a system prompt of its own.
const AROUND: u64 = 100;

/// A request about a paragraph.
#[derive(Debug)]
pub struct Request {
    /// Its name: a hash of the model, the parameters and the messages.
    pub key: String,
    /// What is sent: JSON whose keys are sorted.
    pub body: String,
    /// The paragraph that is asked about.
    pub paragraph: String,
    /// What it can use: itself, a token for each byte of the prompt and what is put around it, and the longest answer.
    pub most: Used,
    /// The prompt's tokens as texts mostly have them.
    pub about_in: u64,
}

/// What requests are made of.
pub struct Requests<'a> {
    recipe: &'a Recipe,
    prompts: PerLanguage<Prompt>,
    measure: &'a Measure,
    chosen: &'a Chosen,
    parameters: Map<String, Value>,
}

impl<'a> Requests<'a> {
    /// The requests about these documents, with the prompts below `base`.
    ///
    /// # Errors
    /// A prompt cannot be read, a chosen language has none, or a parameter has no place in JSON.
    pub fn new(recipe: &'a Recipe, measure: &'a Measure, chosen: &'a Chosen, base: &Path) -> Result<Self, CurateError> {
        let prompts = recipe.prompts(base)?;
        let mut languages = chosen.languages.iter().filter(|language| recipe.questions.of(&language.name) > 0);
        if let Some(language) = languages.find(|language| prompts.of(&language.name).is_none()) {
            let name = &language.name;
            return Err(CurateError::Usage(format!("prompt: none for {name}: add {name:?} or \"default\"")));
        }
        let parameters = serde_json::to_value(&recipe.llm.parameters);
        let Ok(Value::Object(parameters)) = parameters else {
            return Err(CurateError::Usage("llm.parameters: they cannot be written as JSON".into()));
        };
        Ok(Self { recipe, prompts, measure, chosen, parameters })
    }

    /// The request about a document in an attempt from 0: each draws another paragraph, and takes the next `seed`. None
    /// if the document has no paragraph that is long enough.
    ///
    /// # Errors
    /// The operating system's; a length cannot be told.
    pub fn of(&self, language: &Language, document: &Document, attempt: u32) -> Result<Option<Request>, CurateError> {
        let (_, text) = self.chosen.title_and_text(document)?;
        let draw = blake3::hash(format!("{:032x} paragraph {attempt}", document.hash).as_bytes());
        let mut first = [0; 8];
        first.copy_from_slice(&draw.as_bytes()[..8]);
        let wrong = |reason| CurateError::Usage(format!("document {}: {reason}", document.id()));
        let Some(paragraph) = paragraph(&text, self.measure, u64::from_le_bytes(first)).map_err(wrong)? else {
            return Ok(None);
        };
        // Each language has one.
        let Some(prompt) = self.prompts.of(&language.name) else { return Ok(None) };
        let content = prompt.filled(&paragraph, &language.name);
        let mut body = self.parameters.clone();
        if let Some(seed) = body.get("seed").and_then(Value::as_i64) {
            body.insert("seed".into(), (seed + i64::from(attempt)).into());
        }
        body.insert("model".into(), self.recipe.llm.model.clone().into());
        let (ascii, others) = content.chars().fold((0, 0), |(ascii, others), c| match c.is_ascii() {
            true => (ascii + 1, others),
            false => (ascii, others + 1),
        });
        let most = Used {
            requests: 1,
            tokens_in: content.len() as u64 + AROUND,
            tokens_out: parameters::max_tokens(&self.recipe.llm.parameters),
        };
        body.insert("messages".into(), json!([{"role": "user", "content": content}]));
        let body = sorted(Value::Object(body)).to_string();
        let key = blake3::hash(body.as_bytes()).to_hex()[..32].to_owned();
        Ok(Some(Request { key, body, paragraph, most, about_in: ascii / 4 + others / 2 + 10 }))
    }
}

/// JSON whose objects have their keys in order, however maps keep them.
fn sorted(value: Value) -> Value {
    match value {
        Value::Object(map) => {
            let mut pairs: Vec<(String, Value)> = map.into_iter().map(|(key, value)| (key, sorted(value))).collect();
            pairs.sort_by(|a, b| a.0.cmp(&b.0));
            Value::Object(pairs.into_iter().collect())
        }
        Value::Array(list) => Value::Array(list.into_iter().map(sorted).collect()),
        other => other,
    }
}
