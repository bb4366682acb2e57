//! Answers of queries: `answers.jsonl` beside the queries, or a field of their own.

use std::collections::HashMap;
use std::path::Path;

use serde::Deserialize;
use serde_json::Value;
use tercet_sampler::{for_each_object, json_object};

use super::names::required_id;
use crate::files::CommandError;
use crate::files::records::id_of;

/// The fields that are looked at.
#[derive(Deserialize)]
struct Fields {
    #[serde(rename = "_id")]
    beir_id: Option<Value>,
    id: Option<Value>,
    answers: Option<Value>,
}

/// Query id → answers, of those that have some.
///
/// # Errors
/// The file cannot be read, an object has no name, or its answers are no list of strings.
pub(super) fn read_answers(path: &Path) -> Result<HashMap<String, Vec<String>>, CommandError> {
    let mut all = HashMap::<String, Vec<String>>::new();
    for_each_object(path, &["_id", "id", "answers"], |_, line| {
        let Fields { beir_id, id, answers } = json_object(line)?;
        let id = match (beir_id, id) {
            (Some(id), _) => Some(id_of("_id", id)?),
            (None, Some(id)) => Some(id_of("id", id)?),
            (None, None) => None,
        };
        let id = required_id(id, line)?;
        let Some(answers) = answers else { return Ok(()) };
        let answers: Vec<String> =
            serde_json::from_value(answers).map_err(|_| "\"answers\" is no list of strings".to_owned())?;
        if !answers.is_empty() && all.insert(id.clone(), answers).is_some() {
            return Err(format!("a second line of answers for the _id {id:?}: put them in one list"));
        }
        Ok(())
    })?;
    Ok(all)
}
