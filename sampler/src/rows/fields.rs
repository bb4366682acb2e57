//! A row of a record batch → one [`Row`], or the reason why not; with the words that lines of JSON get.

use arrow_array::cast::AsArray;
use arrow_array::types::{Float16Type, Float32Type, Float64Type, Int32Type, Int64Type};
use arrow_array::{Array, ArrayRef, RecordBatch};
use arrow_schema::DataType;

use super::{Row, is_blank, language_name, no_text, not_finite, wrong_count};

/// The columns that a row takes.
pub(super) const COLUMNS: [&str; 9] =
    ["query", "pos", "neg", "pos_scores", "neg_scores", "prompt", "type", "lang", "language"];

/// Row `i` of the batch; the error is the reason alone.
pub(super) fn row_of(batch: &RecordBatch, i: usize) -> Result<Row, String> {
    let column = |name: &str| batch.column_by_name(name);
    let string = |name: &str| column(name).map_or(Ok(None), |column| string_at(name, column, i));
    let query = string("query")?.ok_or_else(|| missing("query"))?;
    let query = not_blank("query", query)?;
    let list = |name: &str| column(name).map_or(Ok(None), |column| texts_at(name, column, i));
    let pos = list("pos")?.ok_or_else(|| missing("pos"))?;
    if pos.is_empty() {
        return Err("\"pos\" is empty: a row needs at least one positive".into());
    }
    let neg = list("neg")?.unwrap_or_default();
    let scores = |name: &str, scored: &str, expected: usize| {
        column(name).map_or(Ok(None), |column| numbers_at(name, column, i, scored, expected))
    };
    let pos_scores = scores("pos_scores", "pos", pos.len())?;
    let neg_scores = scores("neg_scores", "neg", neg.len())?;
    let language = ["lang", "language"].iter().find_map(|name| string(name).ok()?.as_deref().and_then(language_name));
    Ok(Row { query, pos, neg, pos_scores, neg_scores, prompt: string("prompt")?, kind: string("type")?, language })
}

fn missing(name: &str) -> String {
    format!("\"{name}\" is missing")
}

fn not_blank(name: &str, text: String) -> Result<String, String> {
    if is_blank(&text) { Err(no_text(name)) } else { Ok(text) }
}

fn string_at(name: &str, array: &ArrayRef, i: usize) -> Result<Option<String>, String> {
    if array.data_type() == &DataType::Null || array.is_null(i) {
        return Ok(None);
    }
    let text = match array.data_type() {
        DataType::Utf8 => array.as_string::<i32>().value(i),
        DataType::LargeUtf8 => array.as_string::<i64>().value(i),
        DataType::Utf8View => array.as_string_view().value(i),
        other => return Err(format!("\"{name}\" is of type {other}: a string is expected")),
    };
    Ok(Some(text.to_owned()))
}

/// The list in row `i`; None if it is null.
fn list_at(name: &str, array: &ArrayRef, i: usize, of: &str) -> Result<Option<ArrayRef>, String> {
    if array.data_type() == &DataType::Null || array.is_null(i) {
        return Ok(None);
    }
    match array.data_type() {
        DataType::List(_) => Ok(Some(array.as_list::<i32>().value(i))),
        DataType::LargeList(_) => Ok(Some(array.as_list::<i64>().value(i))),
        other => Err(format!("\"{name}\" is of type {other}: a list of {of} is expected")),
    }
}

fn texts_at(name: &str, array: &ArrayRef, i: usize) -> Result<Option<Vec<String>>, String> {
    let Some(list) = list_at(name, array, i, "strings")? else { return Ok(None) };
    let text = |j: usize| {
        let name = format!("{name}[{j}]");
        let text = string_at(&name, &list, j)?.ok_or_else(|| format!("\"{name}\" is null: a string is expected"))?;
        not_blank(&name, text)
    };
    (0..list.len()).map(text).collect::<Result<_, _>>().map(Some)
}

fn numbers_at(
    name: &str,
    array: &ArrayRef,
    i: usize,
    scored: &str,
    expected: usize,
) -> Result<Option<Vec<f32>>, String> {
    let Some(list) = list_at(name, array, i, "numbers")? else { return Ok(None) };
    if list.len() != expected {
        return Err(wrong_count(name, list.len(), scored, expected));
    }
    let number = |j: usize| {
        let name = format!("{name}[{j}]");
        if list.is_null(j) {
            return Err(format!("\"{name}\" is null: a number is expected"));
        }
        let number = number_at(&list, j)
            .ok_or_else(|| format!("\"{name}\" is of type {}: a number is expected", list.data_type()))?;
        let single = number as f32;
        if single.is_finite() { Ok(single) } else { Err(not_finite(&name, number)) }
    };
    (0..list.len()).map(number).collect::<Result<_, _>>().map(Some)
}

fn number_at(array: &ArrayRef, i: usize) -> Option<f64> {
    match array.data_type() {
        DataType::Float64 => Some(array.as_primitive::<Float64Type>().value(i)),
        DataType::Float32 => Some(array.as_primitive::<Float32Type>().value(i).into()),
        DataType::Float16 => Some(array.as_primitive::<Float16Type>().value(i).into()),
        DataType::Int64 => Some(array.as_primitive::<Int64Type>().value(i) as f64),
        DataType::Int32 => Some(array.as_primitive::<Int32Type>().value(i).into()),
        _ => None,
    }
}
