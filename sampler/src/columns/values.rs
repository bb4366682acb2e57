//! What single values of columns hold.
//!
//! A column's values count, not their encoding: strings and lists come in several layouts, numbers in all widths, and
//! repeated values may be stored once (in dictionaries, which pandas writes for categories, and in runs).

use arrow_array::cast::AsArray;
use arrow_array::types::{
    Decimal32Type, Decimal64Type, Decimal128Type, Decimal256Type, Float16Type, Float32Type, Float64Type, Int8Type,
    Int16Type, Int32Type, Int64Type, UInt8Type, UInt16Type, UInt32Type, UInt64Type,
};
use arrow_array::{Array, ArrayRef};
use arrow_schema::DataType;

pub(crate) fn is_text(found: &DataType) -> bool {
    use DataType::{Binary, BinaryView, Dictionary, LargeBinary, LargeUtf8, Null, RunEndEncoded, Utf8, Utf8View};
    match found {
        Utf8 | LargeUtf8 | Utf8View | Binary | LargeBinary | BinaryView | Null => true,
        Dictionary(_, values) => is_text(values),
        RunEndEncoded(_, values) => is_text(values.data_type()),
        _ => false,
    }
}

pub(crate) fn is_number(found: &DataType) -> bool {
    match found {
        DataType::Null => true,
        DataType::Dictionary(_, values) => is_number(values),
        found => found.is_numeric(),
    }
}

pub(crate) fn is_list(found: &DataType, of: fn(&DataType) -> bool) -> bool {
    use DataType::{FixedSizeList, LargeList, LargeListView, List, ListView, Null};
    match found {
        List(item) | LargeList(item) | FixedSizeList(item, _) | ListView(item) | LargeListView(item) => {
            of(item.data_type())
        }
        found => *found == Null,
    }
}

pub(crate) fn string_at(name: &str, array: &dyn Array, i: usize) -> Result<Option<String>, String> {
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
pub(crate) fn entry(array: &dyn Array, i: usize) -> Option<(&dyn Array, usize)> {
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
pub(crate) fn list_at(name: &str, array: &dyn Array, i: usize, of: &str) -> Result<Option<ArrayRef>, String> {
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

pub(crate) fn number_at(array: &dyn Array, i: usize) -> Option<f64> {
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
