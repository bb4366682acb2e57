//! Which columns of a file are those of rows.

use arrow_schema::{DataType, Schema};

use super::fields::check_type;
use super::keys::{self, KEYS, Key, NearKey, TEXT_KEYS};
use super::like::Held;
use crate::columns::values::{is_list, is_number, is_text};

/// Checks that the columns are those of rows, and returns those that nearly are, for rows that lack ours.
pub(super) fn check_columns(schema: &Schema) -> Result<Vec<NearKey>, String> {
    let keys = keys_of(schema);
    for needed in ["query", "pos"] {
        if schema.field_with_name(needed).is_err() {
            return Err(keys::missing(needed, "columns", &keys));
        }
    }
    check_used(schema, &KEYS)?;
    // Ours may be empty in any row, so they count as such.
    let held = |name: &str, found: &DataType| if KEYS.contains(&name) { Held::Nothing } else { held(found) };
    let all = schema.fields().iter().map(|field| (field.name().clone(), held(field.name(), field.data_type())));
    keys::near(&keys, || all.collect())
}

/// What the rows of a column of this type hold, if they hold something.
fn held(found: &DataType) -> Held {
    let is_object = |found: &DataType| matches!(found, DataType::Struct(_) | DataType::Map(..));
    match found {
        DataType::Null => Held::Nothing,
        found if is_text(found) || is_object(found) => Held::Texts,
        found if is_number(found) => Held::Number,
        found if is_list(found, is_number) => Held::Numbers,
        found if is_list(found, |item| !matches!(item, DataType::Boolean)) => Held::Texts,
        _ => Held::Other,
    }
}

/// Checks that the columns are those of texts alone.
pub(super) fn check_text_columns(schema: &Schema) -> Result<(), String> {
    if schema.field_with_name("text").is_err() {
        return Err(keys::missing_text("columns", &keys_of(schema)));
    }
    check_used(schema, &TEXT_KEYS)
}

fn keys_of(schema: &Schema) -> Vec<Key> {
    schema.fields().iter().map(|field| Key { name: field.name().clone(), is_null: false }).collect()
}

/// Checks that each column of a name that is `used` is there once, and can hold what it should.
fn check_used(schema: &Schema, used: &[&str]) -> Result<(), String> {
    let fields: Vec<_> = schema.fields().iter().filter(|field| used.contains(&field.name().as_str())).collect();
    for (i, field) in fields.iter().enumerate() {
        if fields[..i].iter().any(|earlier| earlier.name() == field.name()) {
            return Err(format!("two columns are named \"{}\": rename one of them, or take it out", field.name()));
        }
        check_type(field.name(), field.data_type())?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use arrow_schema::{DataType, Field};

    use super::*;

    #[test]
    fn two_columns_of_one_name_are_refused_where_the_name_is_ours() {
        let schema = |names: &[&str]| {
            let field = |name: &&str| match *name {
                "pos" => Field::new_list("pos", Field::new_list_field(DataType::Utf8, true), true),
                name => Field::new(name, DataType::Utf8, true),
            };
            Schema::new(names.iter().map(field).collect::<Vec<_>>())
        };
        assert_eq!(check_columns(&schema(&["query", "pos", "id", "id"])).unwrap(), []);
        let reason = check_columns(&schema(&["query", "pos", "query"])).unwrap_err();
        assert!(reason.contains("two columns are named \"query\""), "{reason}");
    }
}
