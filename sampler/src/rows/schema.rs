//! Which columns of a file are those of rows.

use arrow_schema::Schema;

use super::fields::check_type;
use super::keys::{self, KEYS, Key, NearKey};

/// Checks that the columns are those of rows, and returns those that nearly are.
pub(super) fn check_columns(schema: &Schema) -> Result<Vec<NearKey>, String> {
    let keys: Vec<Key> =
        schema.fields().iter().map(|field| Key { name: field.name().clone(), is_null: false }).collect();
    for needed in ["query", "pos"] {
        if schema.field_with_name(needed).is_err() {
            return Err(keys::missing(needed, "columns", &keys));
        }
    }
    for (i, key) in keys.iter().enumerate().filter(|(_, key)| KEYS.contains(&key.name.as_str())) {
        if keys[..i].iter().any(|earlier| earlier.name == key.name) {
            return Err(format!("two columns are named \"{}\": rename one of them, or take it out", key.name));
        }
    }
    for field in schema.fields() {
        check_type(field.name(), field.data_type())?;
    }
    keys::near(&keys, Vec::new)
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
