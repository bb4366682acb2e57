//! Where in a record texts stand, as it is typed.

use std::convert::Infallible;
use std::str::FromStr;

use serde_json::{Map, Value};

/// Names of a record that a message lists.
const SHOWN_NAMES: usize = 12;

/// One text's place: `a` is a column or key, `a.b` the key b of the object a or of each object of the list a, `a+b` the
/// texts of both with a space between. Where columns have no names they have numbers, from 1.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Field {
    parts: Vec<String>,
}

impl FromStr for Field {
    type Err = Infallible;

    fn from_str(typed: &str) -> Result<Self, Infallible> {
        Ok(Self { parts: typed.split('+').map(|part| part.trim().to_owned()).collect() })
    }
}

impl Field {
    /// The columns in which it looks.
    pub fn columns(&self) -> impl Iterator<Item = &str> {
        self.parts.iter().flat_map(|part| columns_of(part))
    }

    /// Whether a record has all columns in which it looks.
    pub fn is_in(&self, record: &Map<String, Value>) -> bool {
        self.parts.iter().all(|part| value_at(part, record).is_ok())
    }

    /// Whether it names columns by numbers.
    pub fn is_by_number(&self) -> bool {
        self.parts.iter().all(|part| part.parse::<usize>().is_ok())
    }

    /// The texts that stand there: several if it is a list, none if it is null, and one of a sum.
    ///
    /// # Errors
    /// The record has no such key, or something else stands there. The error is the reason alone.
    pub fn texts(&self, record: &Map<String, Value>) -> Result<Vec<String>, String> {
        let all = self.parts.iter().map(|part| texts_at(part, record)).collect::<Result<Vec<_>, _>>();
        let mut all = all?;
        match all.len() {
            1 => Ok(all.swap_remove(0)),
            _ => {
                let joined: Vec<String> = all.into_iter().flatten().filter(|text| !text.trim().is_empty()).collect();
                Ok(Vec::from_iter((!joined.is_empty()).then(|| joined.join(" "))))
            }
        }
    }

    /// The one text that stands there; empty if it is null.
    ///
    /// # Errors
    /// As [`texts`](Self::texts), and if it is a list.
    pub fn text(&self, record: &Map<String, Value>) -> Result<String, String> {
        let mut texts = self.texts(record)?;
        match texts.len() {
            0 | 1 => Ok(texts.pop().unwrap_or_default()),
            n => Err(format!("{:?} has {n} texts: one is expected", self.parts.join("+"))),
        }
    }
}

/// The columns in which `path`, as a part of a [`Field`], may stand: its first key, and itself, as a column's name may
/// have a point in it.
pub fn columns_of(path: &str) -> impl Iterator<Item = &str> {
    [Some(path), path.split_once('.').map(|(first, _)| first)].into_iter().flatten()
}

/// The one value at `path`, null if it is not there below its first key. None if the record has no such key.
///
/// # Errors
/// It asks for a key in something that has none. The error is the reason alone.
pub fn value_of<'a>(path: &str, record: &'a Map<String, Value>) -> Result<Option<&'a Value>, String> {
    let Ok((mut value, rest)) = value_at(path, record) else { return Ok(None) };
    for key in rest.into_iter().flat_map(|rest| rest.split('.')) {
        value = match value {
            Value::Object(inside) => inside.get(key).unwrap_or(&Value::Null),
            Value::Null => &Value::Null,
            other => return Err(format!("{path:?} asks for {key:?} in {other}, which has no keys")),
        };
    }
    Ok(Some(value))
}

/// The texts at `path`, whose first key the record has. What columns leave out because it is null has none.
fn texts_at(path: &str, record: &Map<String, Value>) -> Result<Vec<String>, String> {
    let (value, rest) = value_at(path, record)?;
    let keys: Vec<&str> = rest.into_iter().flat_map(|rest| rest.split('.')).collect();
    texts_below(path, value, &keys)
}

/// The value of the key that `path` is, or else of its first one, and what follows that.
fn value_at<'a, 'b>(path: &'b str, record: &'a Map<String, Value>) -> Result<(&'a Value, Option<&'b str>), String> {
    if let Some(value) = record.get(path) {
        return Ok((value, None));
    }
    let (first, rest) = path.split_once('.').map_or((path, None), |(first, rest)| (first, Some(rest)));
    match record.get(first) {
        Some(value) => Ok((value, rest)),
        None => Err(format!("no {first:?} among {}", names(record.keys().map(String::as_str)))),
    }
}

/// The texts of `value` at these keys, of each element if it is a list.
fn texts_below(path: &str, value: &Value, keys: &[&str]) -> Result<Vec<String>, String> {
    match (value, keys) {
        (Value::Array(list), [_, ..]) => {
            let each = list.iter().map(|element| texts_below(path, element, keys));
            Ok(each.collect::<Result<Vec<_>, _>>()?.concat())
        }
        (Value::Object(inside), [key, rest @ ..]) => {
            inside.get(*key).map_or(Ok(Vec::new()), |value| texts_below(path, value, rest))
        }
        (Value::Null, [_, ..]) => Ok(Vec::new()),
        (other, [key, ..]) => Err(format!("{path:?} asks for {key:?} in {other}, which has no keys")),
        (value, []) => texts_of(path, value),
    }
}

/// The names, the first of them if there are many.
pub(super) fn names<'a>(all: impl Iterator<Item = &'a str>) -> String {
    let mut shown: Vec<String> = all.take(SHOWN_NAMES + 1).map(|name| format!("{name:?}")).collect();
    if shown.len() > SHOWN_NAMES {
        shown[SHOWN_NAMES] = "…".into();
    }
    shown.join(", ")
}

fn texts_of(name: &str, value: &Value) -> Result<Vec<String>, String> {
    match value {
        Value::Null => Ok(Vec::new()),
        Value::String(text) => Ok(vec![text.clone()]),
        Value::Array(list) => {
            let lists = list.iter().map(|element| match element {
                Value::Array(_) => Err(format!("{name:?} is a list of lists: a list of texts is expected")),
                element => texts_of(name, element),
            });
            Ok(lists.collect::<Result<Vec<_>, _>>()?.concat())
        }
        Value::Object(inside) => {
            let keys = names(inside.keys().map(String::as_str));
            Err(format!("{name:?} is an object with {keys}: name one of them, as {name}.KEY"))
        }
        other => Err(format!("{name:?} is {other}: a text is expected")),
    }
}

/// Where a text with an id stands: `ID,TEXT`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TextFields {
    /// The id's column.
    pub id: String,
    /// The text.
    pub text: Field,
}

impl FromStr for TextFields {
    type Err = String;

    fn from_str(typed: &str) -> Result<Self, String> {
        let (id, text) = typed.split_once(',').ok_or("two are expected: the id's column, a comma, the text's")?;
        let Ok(text) = text.parse();
        Ok(Self { id: id.trim().to_owned(), text })
    }
}

/// A value that a record must have: `COLUMN=VALUE`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Condition {
    column: String,
    value: String,
}

impl FromStr for Condition {
    type Err = String;

    fn from_str(typed: &str) -> Result<Self, String> {
        let (column, value) = typed.split_once('=').ok_or("a column, = and a value are expected, as label=1")?;
        Ok(Self { column: column.trim().to_owned(), value: value.trim().to_owned() })
    }
}

impl Condition {
    /// The column.
    pub fn column(&self) -> &str {
        self.column.split_once('.').map_or(&self.column, |(first, _)| first)
    }

    /// Whether the record has the value. A number is compared as a number: 1 is 1.0.
    ///
    /// # Errors
    /// The record has no such key. The error is the reason alone.
    pub fn holds<'a>(&self, record: &'a Map<String, Value>) -> Result<bool, String> {
        let number = self.value.parse::<f64>().ok();
        let (value, rest) = value_at(&self.column, record)?;
        let below = |value: &'a Value, key: &str| value.get(key);
        Ok(match rest.into_iter().flat_map(|rest| rest.split('.')).try_fold(value, below).unwrap_or(&Value::Null) {
            Value::String(text) => {
                let text = text.trim();
                text == self.value || number.is_some_and(|number| text.parse() == Ok(number))
            }
            Value::Number(found) => number.is_some() && found.as_f64() == number,
            Value::Bool(found) => found.to_string() == self.value,
            _ => false,
        })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn texts(field: &str, record: Value) -> Result<Vec<String>, String> {
        field.parse::<Field>().unwrap().texts(record.as_object().unwrap())
    }

    #[test]
    fn a_field_is_a_key_a_path_or_a_sum() {
        let record = json!({"a": "x", "b": {"c": ["y", null, "z"]}, "d.e": "w", "n": null});
        assert_eq!(texts("a", record.clone()).unwrap(), ["x"]);
        assert_eq!(texts("b.c", record.clone()).unwrap(), ["y", "z"]);
        assert_eq!(texts("d.e", record.clone()).unwrap(), ["w"]);
        assert_eq!(texts("a+b.c + n", record.clone()).unwrap(), ["x y z"]);
        assert!(texts("n", record.clone()).unwrap().is_empty() && texts("b.x", record.clone()).unwrap().is_empty());
        let list = json!({"p": [{"id": 1, "t": "x"}, {"id": 2}, {"t": ["y"]}]});
        assert_eq!(texts("p.t", list.clone()).unwrap(), ["x", "y"]);
        assert!(texts("p.t.u", list).unwrap_err().contains("which has no keys"));
        assert_eq!(texts("x", record.clone()).unwrap_err(), r#"no "x" among "a", "b", "d.e", "n""#);
        assert!(texts("b", record.clone()).unwrap_err().contains("name one of them, as b.KEY"));
        assert!(texts("a", json!({"a": 5})).unwrap_err().contains("a text is expected"));
        let list: Field = "b.c".parse().unwrap();
        assert!(list.text(record.as_object().unwrap()).unwrap_err().contains("one is expected"));
        assert_eq!("a.b+c".parse::<Field>().unwrap().columns().collect::<Vec<_>>(), ["a.b", "a", "c"]);
    }

    #[test]
    fn a_condition_compares_numbers_as_numbers() {
        let holds = |typed: &str, value: Value| {
            let record = json!({ "label": value });
            typed.parse::<Condition>().unwrap().holds(record.as_object().unwrap()).unwrap()
        };
        assert!(holds("label=1", json!(1)) && holds("label=1", json!("1")) && holds("label=1", json!(1.0)));
        assert!(holds("label = entailment", json!("entailment")) && holds("label=true", json!(true)));
        assert!(!holds("label=1", json!(0)) && !holds("label=1", json!(null)) && !holds("label=x", json!(1)));
    }
}
