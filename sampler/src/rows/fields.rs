//! Turns a row of a record batch into one [`Row`], or gives the reason why not, in the same words as for lines of JSON.
//!
//! A column's values count, not their encoding: strings and lists come in several layouts, numbers in all widths, and
//! repeated values may be stored once (in dictionaries, which pandas writes for categories, and in runs).

use arrow_array::cast::AsArray;
use arrow_array::types::{
    Decimal32Type, Decimal64Type, Decimal128Type, Decimal256Type, Float16Type, Float32Type, Float64Type, Int8Type,
    Int16Type, Int32Type, Int64Type, UInt8Type, UInt16Type, UInt32Type, UInt64Type,
};
use arrow_array::{Array, ArrayRef, RecordBatch};
use arrow_schema::DataType;

use super::keys::NearKey;
use super::{Row, is_blank, language_name, no_text, not_finite, wrong_count};

/// Checks that the column `name` can hold what rows have under that name; the error is the reason.
pub(super) fn check_type(name: &str, found: &DataType) -> Result<(), String> {
    let (expected, fits) = match name {
        "query" | "prompt" | "type" => ("a string", is_text(found)),
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

fn is_text(found: &DataType) -> bool {
    use DataType::{Binary, BinaryView, Dictionary, LargeBinary, LargeUtf8, Null, RunEndEncoded, Utf8, Utf8View};
    match found {
        Utf8 | LargeUtf8 | Utf8View | Binary | LargeBinary | BinaryView | Null => true,
        Dictionary(_, values) => is_text(values),
        RunEndEncoded(_, values) => is_text(values.data_type()),
        _ => false,
    }
}

fn is_number(found: &DataType) -> bool {
    match found {
        DataType::Null => true,
        DataType::Dictionary(_, values) => is_number(values),
        found => found.is_numeric(),
    }
}

fn is_list(found: &DataType, of: fn(&DataType) -> bool) -> bool {
    use DataType::{FixedSizeList, LargeList, LargeListView, List, ListView, Null};
    match found {
        List(item) | LargeList(item) | FixedSizeList(item, _) | ListView(item) | LargeListView(item) => {
            of(item.data_type())
        }
        found => *found == Null,
    }
}

/// Row `i` of the batch; the error is the reason alone.
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
    let language = ["lang", "language"].iter().find_map(|name| string(name).ok()?.as_deref().and_then(language_name));
    let (prompt, kind, near_keys) = (string("prompt")?, string("type")?, near_keys.to_vec());
    Ok(Row { query, pos, neg, pos_scores, neg_scores, prompt, kind, language, near_keys })
}

fn missing(name: &str) -> String {
    format!("\"{name}\" is missing: it is null")
}

fn not_blank(name: &str, text: String) -> Result<String, String> {
    if is_blank(&text) { Err(no_text(name)) } else { Ok(text) }
}

fn string_at(name: &str, array: &dyn Array, i: usize) -> Result<Option<String>, String> {
    let Some((array, i)) = entry(array, i) else { return Ok(None) };
    let binary = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).map_err(|_| format!("\"{name}\" is not UTF-8"));
    let text = match array.data_type() {
        DataType::Utf8 => array.as_string::<i32>().value(i).to_owned(),
        DataType::LargeUtf8 => array.as_string::<i64>().value(i).to_owned(),
        DataType::Utf8View => array.as_string_view().value(i).to_owned(),
        DataType::Binary => binary(array.as_binary::<i32>().value(i))?,
        DataType::LargeBinary => binary(array.as_binary::<i64>().value(i))?,
        DataType::BinaryView => binary(array.as_binary_view().value(i))?,
        other => return Err(format!("\"{name}\" is of type {other}: a string is expected")),
    };
    Ok(Some(text))
}

/// The array and index that really hold element `i`, since dictionaries and runs store repeated values once. None if it
/// is null.
fn entry(array: &dyn Array, i: usize) -> Option<(&dyn Array, usize)> {
    if array.data_type() == &DataType::Null || array.is_null(i) {
        return None;
    }
    if let Some(dictionary) = array.as_any_dictionary_opt() {
        return entry(dictionary.values().as_ref(), number_at(dictionary.keys(), i)? as usize);
    }
    if let Some(runs) = array.as_run_opt::<Int32Type>() {
        return entry(runs.values().as_ref(), runs.get_physical_index(i));
    }
    if let Some(runs) = array.as_run_opt::<Int64Type>() {
        return entry(runs.values().as_ref(), runs.get_physical_index(i));
    }
    if let Some(runs) = array.as_run_opt::<Int16Type>() {
        return entry(runs.values().as_ref(), runs.get_physical_index(i));
    }
    Some((array, i))
}

/// The list in row `i`; None if it is null.
fn list_at(name: &str, array: &ArrayRef, i: usize, of: &str) -> Result<Option<ArrayRef>, String> {
    if array.data_type() == &DataType::Null || array.is_null(i) {
        return Ok(None);
    }
    match array.data_type() {
        DataType::List(_) => Ok(Some(array.as_list::<i32>().value(i))),
        DataType::LargeList(_) => Ok(Some(array.as_list::<i64>().value(i))),
        DataType::FixedSizeList(..) => Ok(Some(array.as_fixed_size_list().value(i))),
        DataType::ListView(_) => Ok(Some(array.as_list_view::<i32>().value(i))),
        DataType::LargeListView(_) => Ok(Some(array.as_list_view::<i64>().value(i))),
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
        let (array, j) = entry(&list, j).ok_or_else(|| format!("\"{name}\" is null: a number is expected"))?;
        let number = number_at(array, j)
            .ok_or_else(|| format!("\"{name}\" is of type {}: a number is expected", array.data_type()))?;
        let single = number as f32;
        if single.is_finite() { Ok(single) } else { Err(not_finite(&name, number)) }
    };
    (0..list.len()).map(number).collect::<Result<_, _>>().map(Some)
}

fn number_at(array: &dyn Array, i: usize) -> Option<f64> {
    macro_rules! number {
        ($kind:ty) => {
            Some(array.as_primitive::<$kind>().value(i).into())
        };
    }
    macro_rules! decimal {
        ($kind:ty) => {
            array.as_primitive::<$kind>().value_as_string(i).parse().ok()
        };
    }
    match array.data_type() {
        DataType::Float64 => number!(Float64Type),
        DataType::Float32 => number!(Float32Type),
        DataType::Float16 => number!(Float16Type),
        DataType::Int64 => Some(array.as_primitive::<Int64Type>().value(i) as f64),
        DataType::Int32 => number!(Int32Type),
        DataType::Int16 => number!(Int16Type),
        DataType::Int8 => number!(Int8Type),
        DataType::UInt64 => Some(array.as_primitive::<UInt64Type>().value(i) as f64),
        DataType::UInt32 => number!(UInt32Type),
        DataType::UInt16 => number!(UInt16Type),
        DataType::UInt8 => number!(UInt8Type),
        DataType::Decimal32(..) => decimal!(Decimal32Type),
        DataType::Decimal64(..) => decimal!(Decimal64Type),
        DataType::Decimal128(..) => decimal!(Decimal128Type),
        DataType::Decimal256(..) => decimal!(Decimal256Type),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow_array::builder::{
        BinaryBuilder, Decimal128Builder, FixedSizeListBuilder, Int8Builder, ListBuilder, ListViewBuilder,
        StringDictionaryBuilder, StringRunBuilder, StringViewBuilder, UInt64Builder,
    };

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
