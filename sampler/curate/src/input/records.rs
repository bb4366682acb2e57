//! Objects, or lines of a table as objects.

use std::path::Path;

use serde_json::{Map, Value};
use tercet_sampler::{ReadAt, is_of_objects};

use super::cells::{for_each_cells, is_header, names_columns};
use super::fields::names;
use super::objects::for_each_object;
use super::refusal::Refusal;
use crate::error::CurateError;

/// Calls `visit` with each record of `path`. What is no JSON Lines, Parquet or Arrow by its name is a table. Its first
/// line names the columns, unless they are asked for by numbers.
///
/// # Errors
/// The file cannot be read or is evidently another, a table lacks a column, or what `visit` ends with.
pub fn for_each_record(
    path: &Path,
    columns: &[&str],
    mut visit: impl FnMut(&ReadAt, Map<String, Value>) -> Result<(), Refusal>,
) -> Result<(), CurateError> {
    if is_of_objects(path) {
        return for_each_object(path, columns, visit);
    }
    let by_number = columns.iter().all(|column| column.parse::<usize>().is_ok());
    let (mut header, mut is_first): (Vec<String>, _) = (Vec::new(), true);
    for_each_cells(path, |at, cells| {
        if std::mem::take(&mut is_first) {
            header = match by_number {
                true => (1..=cells.len()).map(|number| number.to_string()).collect(),
                false => cells.iter().map(|cell| cell.trim().to_owned()).collect(),
            };
            if !by_number && !header.iter().any(|name| columns.contains(&name.as_str())) {
                let there = names(header.iter().map(String::as_str));
                return Err(format!("the first line should name the columns {columns:?}, and has {there}").into());
            }
            let is_twice = |name: &&&str| header.iter().filter(|own| own == *name).count() > 1;
            if let Some(name) = columns.iter().find(is_twice) {
                return Err(format!("the first line names two columns {name:?}: rename one").into());
            }
            if !by_number || is_header(cells) || names_columns(cells) {
                return Ok(());
            }
        }
        if cells.len() != header.len() {
            return Err(format!("expected {} columns as in the first line, found {}", header.len(), cells.len()).into());
        }
        visit(at, header.iter().cloned().zip(cells.iter().map(|cell| Value::from(*cell))).collect())
    })
}
