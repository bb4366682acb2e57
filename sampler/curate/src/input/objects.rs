//! Objects: lines of JSON, or rows of Parquet and Arrow.

use std::path::Path;

use serde::de::DeserializeOwned;
use serde_json::Value;
use tercet_sampler::{ReadAt, json_object};

use super::refusal::{Kept, Refusal};
use crate::error::CurateError;

/// Calls `visit` with each object of `path`. Only columns that are `used` are read.
///
/// # Errors
/// The file cannot be read or is evidently another, an object is no `T`, or what `visit` ends with.
pub fn for_each_object<T: DeserializeOwned>(
    path: &Path,
    used: &[&str],
    mut visit: impl FnMut(&ReadAt, T) -> Result<(), Refusal>,
) -> Result<(), CurateError> {
    for_each_object_line(path, used, |at, line| visit(at, json_object(line)?))
}

/// The same with each object as a line of JSON, which need not be valid.
///
/// # Errors
/// The file cannot be read or is evidently another, or what `visit` ends with.
pub fn for_each_object_line(
    path: &Path,
    used: &[&str],
    mut visit: impl FnMut(&ReadAt, &str) -> Result<(), Refusal>,
) -> Result<(), CurateError> {
    let mut kept = Kept::default();
    let read =
        tercet_sampler::for_each_object(path, used, |at, line| visit(at, line).map_err(|refusal| kept.reason(refusal)));
    kept.or(read)
}

/// The id in the field `name`: a string, or a whole number's digits.
///
/// # Errors
/// It is neither, or cannot stand in judgments. The error is the reason alone.
pub fn id_of(name: &str, value: Option<&Value>) -> Result<String, String> {
    let id = match value {
        Some(Value::String(id)) => id.clone(),
        Some(Value::Number(id)) if id.is_i64() || id.is_u64() => id.to_string(),
        None | Some(Value::Null) => return Err(format!("no {name:?}: an id is expected there")),
        Some(other) => return Err(format!("{name:?} is {other}: an id is expected, a string or a whole number")),
    };
    checked_id(name, id)
}

/// The id, if judgments can carry it: they put ids between tabs, one a line.
pub(super) fn checked_id(name: &str, id: String) -> Result<String, String> {
    match id.trim().is_empty() || id.trim() != id || id.contains(['\t', '\n', '\r']) {
        true => Err(format!("{name:?} is {id:?}: an id is not empty, and has no blank at an end and no tab")),
        false => Ok(id),
    }
}
