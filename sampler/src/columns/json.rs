//! Puts a row of columns into JSON, as a line of JSON Lines has it.

use arrow_array::cast::AsArray;
use arrow_array::types::{
    Decimal32Type, Decimal64Type, Decimal128Type, Decimal256Type, Float16Type, Float32Type, Float64Type, Int8Type,
    Int16Type, Int32Type, Int64Type, UInt8Type, UInt16Type, UInt32Type, UInt64Type,
};
use arrow_array::{Array, RecordBatch};
use arrow_schema::DataType;
use serde_json::Value;

use super::values::{entry, is_list, is_number, is_text, list_at, string_at};

/// The names of row `i`'s fields and their values in JSON; a value that is missing is null.
///
/// # Errors
/// JSON has no form for a value. The error is the reason alone.
pub(crate) fn fields(batch: &RecordBatch, i: usize) -> Result<Vec<(String, String)>, String> {
    let schema = batch.schema_ref();
    let columns = schema.fields().iter().zip(batch.columns());
    columns.map(|(field, column)| Ok((field.name().clone(), value(field.name(), column, i)?))).collect()
}

/// An object in JSON with these names and values.
pub(crate) fn object(fields: impl Iterator<Item = (String, String)>) -> String {
    let fields: Vec<String> = fields.map(|(name, value)| format!("{}:{value}", Value::from(name))).collect();
    format!("{{{}}}", fields.join(","))
}

/// Element `i` of the column `name` in JSON.
fn value(name: &str, array: &dyn Array, i: usize) -> Result<String, String> {
    let Some((array, i)) = entry(array, i) else { return Ok("null".into()) };
    match array.data_type() {
        DataType::Boolean => Ok(array.as_boolean().value(i).to_string()),
        DataType::Struct(fields) => {
            let columns = fields.iter().zip(array.as_struct().columns());
            let values = columns.map(|(field, column)| {
                let path = format!("{name}.{}", field.name());
                Ok((field.name().clone(), value(&path, column, i)?))
            });
            let values: Vec<_> = values.collect::<Result<_, String>>()?;
            // All rows have all fields of a struct; those that a row lacks are null.
            Ok(object(values.into_iter().filter(|(_, value)| value != "null")))
        }
        found if is_text(found) => Ok(Value::from(string_at(name, array, i)?).to_string()),
        found if is_number(found) => number(array, i),
        found if is_list(found, |_| true) => match list_at(name, array, i, "values")? {
            None => Ok("null".into()),
            Some(list) => {
                let values = (0..list.len()).map(|j| value(&format!("{name}[{j}]"), &list, j));
                Ok(format!("[{}]", values.collect::<Result<Vec<_>, _>>()?.join(",")))
            }
        },
        found => Err(format!(
            "\"{name}\" is of type {found}, for which JSON has no form: cast the column to strings, or take it out"
        )),
    }
}

/// Number `i` of the array with every digit that it has; null where it is not finite, for which JSON has no number.
fn number(array: &dyn Array, i: usize) -> Result<String, String> {
    macro_rules! whole {
        ($kind:ty) => {
            Ok(array.as_primitive::<$kind>().value(i).to_string())
        };
    }
    macro_rules! decimal {
        ($kind:ty) => {
            Ok(array.as_primitive::<$kind>().value_as_string(i))
        };
    }
    macro_rules! float {
        ($value:expr) => {
            serde_json::to_string(&$value).map_err(|e| e.to_string())
        };
    }
    match array.data_type() {
        DataType::Float64 => float!(array.as_primitive::<Float64Type>().value(i)),
        DataType::Float32 => float!(array.as_primitive::<Float32Type>().value(i)),
        DataType::Float16 => float!(array.as_primitive::<Float16Type>().value(i).to_f32()),
        DataType::Int64 => whole!(Int64Type),
        DataType::Int32 => whole!(Int32Type),
        DataType::Int16 => whole!(Int16Type),
        DataType::Int8 => whole!(Int8Type),
        DataType::UInt64 => whole!(UInt64Type),
        DataType::UInt32 => whole!(UInt32Type),
        DataType::UInt16 => whole!(UInt16Type),
        DataType::UInt8 => whole!(UInt8Type),
        DataType::Decimal32(..) => decimal!(Decimal32Type),
        DataType::Decimal64(..) => decimal!(Decimal64Type),
        DataType::Decimal128(..) => decimal!(Decimal128Type),
        DataType::Decimal256(..) => decimal!(Decimal256Type),
        other => Err(format!("a number of type {other} is not read")),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow_array::builder::{Decimal128Builder, Float32Builder, ListBuilder, StringDictionaryBuilder};
    use arrow_array::{
        ArrayRef, BinaryArray, BooleanArray, Float32Array, Float64Array, Int64Array, StringArray, StructArray,
        TimestampSecondArray,
    };
    use arrow_schema::Field;

    use super::*;

    fn lines(columns: Vec<(&str, ArrayRef)>) -> Result<Vec<String>, String> {
        let batch = RecordBatch::try_from_iter_with_nullable(columns.into_iter().map(|(n, c)| (n, c, true))).unwrap();
        (0..batch.num_rows()).map(|i| Ok(object(fields(&batch, i)?.into_iter()))).collect()
    }

    #[test]
    fn a_row_is_the_line_that_json_lines_would_have() {
        let mut category = StringDictionaryBuilder::<Int8Type>::new();
        category.extend([Some("a\n\"b\""), None]);
        let mut scores = ListBuilder::new(Float32Builder::new());
        scores.append_value([Some(0.1), None]);
        scores.append_value([]);
        let mut price = Decimal128Builder::new().with_precision_and_scale(9, 2).unwrap();
        price.extend([Some(325), None]);
        let inside: [(Arc<Field>, ArrayRef); 2] = [
            (Arc::new(Field::new("n", DataType::Int64, true)), Arc::new(Int64Array::from(vec![Some(1), None]))),
            (Arc::new(Field::new("t", DataType::Utf8, true)), Arc::new(StringArray::from(vec![None, Some("é")]))),
        ];
        let columns: Vec<(&str, ArrayRef)> = vec![
            ("id", Arc::new(Int64Array::from(vec![i64::MAX, -1]))),
            ("category", Arc::new(category.finish())),
            ("scores", Arc::new(scores.finish())),
            ("price", Arc::new(price.finish())),
            ("x", Arc::new(Float64Array::from(vec![1.0, 0.1]))),
            ("y", Arc::new(Float32Array::from(vec![f32::NAN, 0.1]))),
            ("is_new", Arc::new(BooleanArray::from(vec![true, false]))),
            ("bytes", Arc::new(BinaryArray::from(vec![&b"c"[..], &b""[..]]))),
            ("extra", Arc::new(StructArray::from(inside.to_vec()))),
        ];
        let expected = [
            r#"{"id":9223372036854775807,"category":"a\n\"b\"","scores":[0.1,null],"price":3.25,"x":1.0,"y":null,"is_new":true,"bytes":"c","extra":{"n":1}}"#,
            r#"{"id":-1,"category":null,"scores":[],"price":null,"x":0.1,"y":0.1,"is_new":false,"bytes":"","extra":{"t":"é"}}"#,
        ];
        assert_eq!(lines(columns).unwrap(), expected);
    }

    #[test]
    fn what_json_cannot_say_is_named_with_its_type() {
        let reason = lines(vec![("seen", Arc::new(TimestampSecondArray::from(vec![0])))]).unwrap_err();
        assert!(
            reason.starts_with("\"seen\" is of type Timestamp(") && reason.contains("JSON has no form"),
            "{reason}"
        );
        let reason = lines(vec![("text", Arc::new(BinaryArray::from(vec![&b"\xff"[..]])))]).unwrap_err();
        assert_eq!(reason, "\"text\" is not UTF-8");
    }
}
