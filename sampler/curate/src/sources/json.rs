//! Records of JSON Lines, and of rows of columns, which are read as JSON.

use std::path::Path;
use std::sync::Arc;

use serde::de::{DeserializeSeed, Deserializer, Error, IgnoredAny, MapAccess, Visitor};
use serde_json::{Map, Value};
use tercet_sampler::{LineReader, LinesOf, ReadAt, json_object};

use super::offers::Offers;
use super::records::Columns;
use crate::input::{Refusal, for_each_object_line, next_line};

/// Offers what each line of `file` gives. Blank lines are passed over.
pub(super) fn read_lines(file: &Path, columns: &Columns, offers: &mut Offers<'_>) -> Result<(), Refusal> {
    let mut lines = LineReader::open(file, LinesOf::Objects)?;
    let path: Arc<Path> = Arc::from(file);
    let mut line = Vec::new();
    while let Some((number, text)) = next_line(&mut lines, &mut line)? {
        let at = ReadAt::line(&path, number);
        match text {
            Ok(text) if text.trim().is_empty() => {}
            Ok(text) => offer(&at, text, columns, offers)?,
            Err(reason) => offers.unreadable(&at, reason)?,
        }
    }
    Ok(())
}

/// Offers what each row of `file` gives, or of the files of the folder that it is.
pub(super) fn read_columns(file: &Path, columns: &Columns, offers: &mut Offers<'_>) -> Result<(), Refusal> {
    let wanted: Vec<&str> = columns.wanted().iter().map(String::as_str).collect();
    Ok(for_each_object_line(file, &wanted, |at, line| offer(at, line, columns, offers))?)
}

fn offer(at: &ReadAt, line: &str, columns: &Columns, offers: &mut Offers<'_>) -> Result<(), Refusal> {
    let whole = || json_object::<Map<String, Value>>(line);
    let mut json = serde_json::Deserializer::from_str(line);
    match Wanted(columns.wanted()).deserialize(&mut json).and_then(|record| json.end().map(|()| record)) {
        Ok(record) => columns.offer(at, &record, || whole().ok(), offers),
        Err(error) => offers.unreadable(at, whole().err().unwrap_or_else(|| error.to_string())),
    }
}

/// The fields of an object that have these names, which are sorted. Values of others are passed over.
struct Wanted<'a>(&'a [String]);

impl<'de> DeserializeSeed<'de> for Wanted<'_> {
    type Value = Map<String, Value>;

    fn deserialize<D: Deserializer<'de>>(self, json: D) -> Result<Self::Value, D::Error> {
        json.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for Wanted<'_> {
    type Value = Map<String, Value>;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut fields: A) -> Result<Self::Value, A::Error> {
        let mut record = Map::new();
        while let Some(place) = fields.next_key_seed(PlaceOf(self.0))? {
            match place {
                Some(place) => drop(record.insert(self.0[place].clone(), fields.next_value()?)),
                None => drop(fields.next_value::<IgnoredAny>()?),
            }
        }
        Ok(record)
    }
}

/// A key's place among names.
struct PlaceOf<'a>(&'a [String]);

impl<'de> DeserializeSeed<'de> for PlaceOf<'_> {
    type Value = Option<usize>;

    fn deserialize<D: Deserializer<'de>>(self, key: D) -> Result<Self::Value, D::Error> {
        key.deserialize_str(self)
    }
}

impl Visitor<'_> for PlaceOf<'_> {
    type Value = Option<usize>;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("a key")
    }

    fn visit_str<E: Error>(self, key: &str) -> Result<Self::Value, E> {
        Ok(self.0.iter().position(|name| name == key))
    }
}
