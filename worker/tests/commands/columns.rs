//! Writes rows and texts as columns.

use std::fs::File;
use std::path::Path;
use std::sync::Arc;

use arrow_array::builder::{Float64Builder, ListBuilder, StringBuilder};
use arrow_array::{ArrayRef, Int64Array, RecordBatch, StringArray, StructArray};
use arrow_schema::{DataType, Field};
use parquet::arrow::ArrowWriter;
use serde_json::Value;

/// Writes objects that all have the keys of the first, with values of the same types, as Parquet.
pub fn write_parquet(path: &Path, objects: &[Value]) {
    let keys = objects[0].as_object().unwrap().keys();
    let columns = keys.map(|key| (key, column(objects.iter().map(|object| &object[key]).collect()), true));
    let batch = RecordBatch::try_from_iter_with_nullable(columns).unwrap();
    let mut writer = ArrowWriter::try_new(File::create(path).unwrap(), batch.schema(), None).unwrap();
    writer.write(&batch).unwrap();
    writer.close().unwrap();
}

fn column(values: Vec<&Value>) -> ArrayRef {
    match values[0] {
        Value::String(_) => Arc::new(values.iter().map(|value| value.as_str()).collect::<StringArray>()),
        Value::Number(_) => Arc::new(values.iter().map(|value| value.as_i64()).collect::<Int64Array>()),
        Value::Array(first) if first[0].is_string() => {
            let mut lists = ListBuilder::new(StringBuilder::new());
            values.iter().for_each(|list| lists.append_value(list.as_array().unwrap().iter().map(Value::as_str)));
            Arc::new(lists.finish())
        }
        Value::Array(_) => {
            let mut lists = ListBuilder::new(Float64Builder::new());
            values.iter().for_each(|list| lists.append_value(list.as_array().unwrap().iter().map(Value::as_f64)));
            Arc::new(lists.finish())
        }
        Value::Object(first) => {
            let field = |(key, _)| {
                let inside = column(values.iter().map(|value| &value[key]).collect());
                (Arc::new(Field::new(key, DataType::clone(inside.data_type()), true)), inside)
            };
            Arc::new(StructArray::from(first.iter().map(field).collect::<Vec<_>>()))
        }
        other => panic!("no test needs a column of {other}"),
    }
}
