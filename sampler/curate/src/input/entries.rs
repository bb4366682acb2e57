//! One JSON value that holds a long list, as SQuAD and DPR are published. Its elements are read one at a time.

use std::fmt;
use std::io::BufReader;
use std::marker::PhantomData;
use std::path::Path;
use std::sync::Arc;

use serde::de::{DeserializeOwned, DeserializeSeed, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};
use tercet_sampler::{ReadAt, RowError, unpacked};

use super::refusal::{Kept, Refusal};
use crate::error::CurateError;

/// Calls `visit` with each element of the list that `path` holds: the file is the list, or an object that has it under
/// `key`.
///
/// # Errors
/// The file cannot be read, is no such JSON, an element is no `T`, or what `visit` ends with; with the line, and the
/// number of the element from 1.
pub fn for_each_entry<T: DeserializeOwned>(
    path: &Path,
    key: &str,
    mut visit: impl FnMut(T) -> Result<(), Refusal>,
) -> Result<(), CurateError> {
    // JSON is read byte by byte, which a reader behind a pointer makes slow.
    let content = BufReader::with_capacity(256 << 10, unpacked(path)?);
    let mut json = serde_json::Deserializer::from_reader(content);
    let mut kept = Kept::default();
    let mut entries = Entries {
        key,
        visit: &mut |entry| visit(entry).map_err(|refusal| kept.reason(refusal)),
        number: 0,
        entry: PhantomData::<T>,
    };
    let read = entries.deserialize(&mut json).and_then(|()| json.end());
    let number = entries.number;
    kept.or(read.map_err(|error| wrong(path, number, error)))
}

struct Entries<'a, T> {
    key: &'a str,
    visit: &'a mut dyn FnMut(T) -> Result<(), String>,
    /// The elements that were read, or begun.
    number: u64,
    entry: PhantomData<T>,
}

impl<'de, T: DeserializeOwned> DeserializeSeed<'de> for &mut Entries<'_, T> {
    type Value = ();

    fn deserialize<D: serde::Deserializer<'de>>(self, json: D) -> Result<(), D::Error> {
        json.deserialize_any(self)
    }
}

impl<'de, T: DeserializeOwned> Visitor<'de> for &mut Entries<'_, T> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
        write!(f, "a list, or an object with a list under {:?}", self.key)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<(), A::Error> {
        loop {
            self.number += 1;
            let Some(entry) = list.next_element::<T>()? else { break };
            (self.visit)(entry).map_err(A::Error::custom)?;
        }
        self.number = 0;
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut object: A) -> Result<(), A::Error> {
        let (mut is_there, mut others) = (false, Vec::new());
        while let Some(key) = object.next_key::<String>()? {
            if key == self.key {
                object.next_value_seed(&mut *self)?;
                is_there = true;
            } else {
                object.next_value::<IgnoredAny>()?;
                others.push(key);
            }
        }
        match is_there {
            true => Ok(()),
            false => Err(A::Error::custom(format!("no {:?} among the keys {others:?}", self.key))),
        }
    }
}

/// What serde_json's error in or after element `number` means.
fn wrong(path: &Path, number: u64, error: serde_json::Error) -> RowError {
    let line = error.line().max(1) as u64;
    let text = error.to_string();
    let reason = text.rsplit_once(" at line ").map_or(text.as_str(), |(reason, _)| reason);
    let entry = if number > 0 { format!("entry {number}: ") } else { String::new() };
    if error.is_io() {
        let source = std::io::Error::from(error);
        let reason = format!("{entry}{source}: copy the file again");
        return RowError::Read { path: path.to_owned(), line: line - 1, reason, source };
    }
    let said = match error.classify() {
        serde_json::error::Category::Eof => "the JSON ends early: copy the file again".into(),
        serde_json::error::Category::Syntax => format!("not valid JSON: {reason} (column {})", error.column()),
        _ => reason.to_owned(),
    };
    ReadAt::line(&Arc::from(path), line).error(format!("{entry}{said}"))
}
