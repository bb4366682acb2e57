//! Turns a row of a record batch into one [`Row`] or [`Text`], or gives the reason why not, in the same words as for
//! lines of JSON.

use arrow_array::{Array, ArrayRef, RecordBatch};
use arrow_schema::DataType;

use super::keys::NearKey;
use super::kind;
use super::row::{Row, Text, is_blank, language_name, no_text, not_finite, wrong_count};
use crate::columns::values::{entry, is_list, is_number, is_text, list_at, number_at, string_at};

/// Checks that the column `name` can hold what rows have under that name; the error is the reason.
pub(super) fn check_type(name: &str, found: &DataType) -> Result<(), String> {
    let (expected, fits) = match name {
        "query" | "prompt" | "type" | "text" => ("a string", is_text(found)),
        "pos" | "neg" => ("a list of strings", is_list(found, is_text)),
        "pos_scores" | "neg_scores" => ("a list of numbers", is_list(found, is_number)),
        // A language of another type is ignored, so it needs no check.
        _ => return Ok(()),
    };
    match fits {
        true => Ok(()),
        false => Err(format!("\"{name}\" is of type {found}: {expected} is expected; cast the column")),
    }
}

/// Row `i` of the batch; the error is the reason alone. Of `near_keys` it has those that hold what the row lacks under
/// our key.
pub(super) fn row_of(batch: &RecordBatch, i: usize, near_keys: &[NearKey]) -> Result<Row, String> {
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
    let language = language_at(batch, i);
    let (prompt, kind, near_keys) = (string("prompt")?, string("type")?, near_keys_at(batch, i, near_keys));
    kind.as_deref().map_or(Ok(()), kind::check)?;
    Ok(Row { query, pos, neg, pos_scores, neg_scores, prompt, kind, language, near_keys })
}

fn near_keys_at(batch: &RecordBatch, i: usize, near_keys: &[NearKey]) -> Vec<NearKey> {
    let holds = |name: &str| batch.column_by_name(name).is_some_and(|column| holds_something(column, i));
    near_keys.iter().filter(|near| !holds(near.meant) && holds(&near.key)).cloned().collect()
}

/// Whether row `i` of the column is neither null nor blank nor an empty list.
fn holds_something(column: &ArrayRef, i: usize) -> bool {
    let Some((array, place)) = entry(column, i) else { return false };
    match list_at("", array, place, "") {
        Ok(list) => list.is_some_and(|list| (0..list.len()).any(|j| entry(&list, j).is_some())),
        Err(_) => string_at("", array, place).map_or(true, |text| text.is_some_and(|text| !is_blank(&text))),
    }
}

/// Row `i` of the batch as a text alone; the error is the reason alone.
pub(super) fn text_of(batch: &RecordBatch, i: usize) -> Result<Text, String> {
    let text = batch.column_by_name("text").map_or(Ok(None), |column| string_at("text", column, i))?;
    let text = not_blank("text", text.ok_or_else(|| missing("text"))?)?;
    Ok(Text { text, language: language_at(batch, i) })
}

/// The row's own name of its language; a value of another type is ignored.
fn language_at(batch: &RecordBatch, i: usize) -> Option<String> {
    let string = |name: &str| string_at(name, batch.column_by_name(name)?, i).ok()?;
    ["lang", "language"].iter().find_map(|name| language_name(&string(name)?))
}

fn missing(name: &str) -> String {
    format!("\"{name}\" is missing: it is null")
}

fn not_blank(name: &str, text: String) -> Result<String, String> {
    if is_blank(&text) { Err(no_text(name)) } else { Ok(text) }
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
        let (array, j) = entry(&list, j).ok_or_else(|| format!("\"{name}\" is null: a number is expected"))?;
        let number = number_at(array, j)
            .ok_or_else(|| format!("\"{name}\" is of type {}: a number is expected", array.data_type()))?;
        let single = number as f32;
        if single.is_finite() { Ok(single) } else { Err(not_finite(&name, number)) }
    };
    (0..list.len()).map(number).collect::<Result<_, _>>().map(Some)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow_array::builder::{
        BinaryBuilder, Decimal128Builder, FixedSizeListBuilder, Int8Builder, ListBuilder, ListViewBuilder,
        StringDictionaryBuilder, StringRunBuilder, StringViewBuilder, UInt64Builder,
    };

    use arrow_array::types::{Int8Type, Int32Type, UInt16Type};

    use super::*;

    /// Two rows: (a, [b, c], [n], scores 1 2 and 3), (a, [d, e], null, null).
    fn rows(columns: Vec<(&str, ArrayRef)>) -> Result<Vec<Row>, String> {
        columns.iter().try_for_each(|(name, column)| check_type(name, column.data_type()))?;
        let batch = RecordBatch::try_from_iter_with_nullable(columns.into_iter().map(|(n, c)| (n, c, true))).unwrap();
        (0..2).map(|i| row_of(&batch, i, &[])).collect()
    }

    #[test]
    fn what_a_column_holds_counts_and_not_how() {
        let mut query = StringDictionaryBuilder::<Int8Type>::new();
        query.extend([Some("a"), Some("a")]);
        let mut kind = StringRunBuilder::<Int32Type>::new();
        kind.extend([Some("normal"), Some("normal")]);
        let mut prompt = BinaryBuilder::new();
        prompt.extend([Some("p: "), None]);
        let mut pos = FixedSizeListBuilder::new(StringViewBuilder::new(), 2);
        for texts in [["b", "c"], ["d", "e"]] {
            texts.iter().for_each(|text| pos.values().append_value(text));
            pos.append(true);
        }
        let mut neg = ListViewBuilder::new(StringDictionaryBuilder::<UInt16Type>::new());
        neg.values().append_value("n");
        neg.append(true);
        neg.append(false);
        let mut pos_scores = ListBuilder::new(Int8Builder::new());
        pos_scores.append_value([Some(1), Some(2)]);
        pos_scores.append(false);
        let mut neg_scores = ListBuilder::new(Decimal128Builder::new().with_precision_and_scale(9, 2).unwrap());
        neg_scores.append_value([Some(325)]);
        neg_scores.append(false);
        let columns: Vec<(&str, ArrayRef)> = vec![
            ("query", Arc::new(query.finish())),
            ("pos", Arc::new(pos.finish())),
            ("neg", Arc::new(neg.finish())),
            ("pos_scores", Arc::new(pos_scores.finish())),
            ("neg_scores", Arc::new(neg_scores.finish())),
            ("prompt", Arc::new(prompt.finish())),
            ("type", Arc::new(kind.finish())),
        ];
        let rows = rows(columns).unwrap();
        let expected = Row {
            query: "a".into(),
            pos: vec!["b".into(), "c".into()],
            neg: vec!["n".into()],
            pos_scores: Some(vec![1.0, 2.0]),
            neg_scores: Some(vec![3.25]),
            prompt: Some("p: ".into()),
            kind: Some("normal".into()),
            language: None,
            near_keys: vec![],
        };
        assert_eq!(rows[0], expected);
        let pos = vec!["d".into(), "e".into()];
        let without = Row { pos, neg: vec![], pos_scores: None, neg_scores: None, prompt: None, ..expected };
        assert_eq!(rows[1], without);
    }

    #[test]
    fn columns_that_hold_something_else_are_named_with_their_type() {
        let mut numbers = UInt64Builder::new();
        numbers.append_slice(&[1, 2]);
        let numbers: ArrayRef = Arc::new(numbers.finish());
        let reason = rows(vec![("query", numbers.clone())]).unwrap_err();
        assert_eq!(reason, "\"query\" is of type UInt64: a string is expected; cast the column");
        let reason = rows(vec![("pos_scores", numbers)]).unwrap_err();
        assert!(reason.contains("UInt64: a list of numbers is expected"), "{reason}");
    }
}
