//! Records of lines of cells.

use std::path::Path;

use serde_json::{Map, Value};
use tercet_sampler::ReadAt;

use super::format::Format;
use super::offers::{NO_COLUMN, Offers};
use super::records::Columns;
use crate::input::{Between, Refusal, for_each_row, is_header};

/// Offers what each line of `file` gives. The columns are `named`, or asked for by numbers, or else named in the first
/// line.
pub(super) fn read(
    file: &Path,
    format: Format,
    named: Option<&[String]>,
    columns: &Columns,
    offers: &mut Offers<'_>,
) -> Result<(), Refusal> {
    let between = if format == Format::Csv { Between::Comma } else { Between::Tab };
    let mut header: Option<Header> = None;
    let read = for_each_row(file, Some(between), |at, cells| {
        let cells = match cells {
            Ok(cells) => cells,
            Err(reason) => return offers.unreadable(at, reason),
        };
        let header = match &header {
            Some(header) => header,
            None => {
                let (found, is_line_of_names) = match Header::of(cells, named, columns) {
                    Ok(found) => found,
                    Err(reason) => {
                        // It is so for all lines, so that it ends reading even where single lines are dropped.
                        offers.drop(at, NO_COLUMN, &reason)?;
                        return Err(reason.into());
                    }
                };
                let found = header.insert(found);
                if is_line_of_names {
                    return Ok(());
                }
                found
            }
        };
        header.offer(at, cells, columns, offers)
    });
    Ok(read?)
}

/// The columns that are wanted of a table.
struct Header {
    /// Cells that a line has at least, and at most if the first line says so.
    num_cells: (usize, usize),
    /// The places of those that are there, in the order of the names.
    places: Vec<(usize, String)>,
}

impl Header {
    /// What the first line says, and whether it holds names rather than a record.
    fn of(cells: &[&str], named: Option<&[String]>, columns: &Columns) -> Result<(Self, bool), String> {
        let by_number = columns.wanted().iter().all(|name| name.parse::<usize>().is_ok());
        let (names, is_line_of_names): (Vec<String>, bool) = match named {
            Some(named) => (named.to_vec(), cells.iter().zip(named).all(|(cell, name)| cell.trim() == name)),
            None if by_number => ((1..=cells.len()).map(|number| number.to_string()).collect(), is_header(cells)),
            None => (cells.iter().map(|cell| cell.trim().to_owned()).collect(), true),
        };
        let place = |name: &String| names.iter().position(|found| found == name);
        let places: Vec<(usize, String)> =
            columns.wanted().iter().filter_map(|name| Some((place(name)?, name.clone()))).collect();
        // The part of a name before a point is wanted too, and is no column here.
        let is_missing = |name: &&String| !is_part(name, columns.wanted()) && place(name).is_none();
        if let Some(missing) = columns.wanted().iter().find(is_missing) {
            let whence = if named.is_some() { "among `columns`" } else { "in the first line" };
            return Err(format!("no column {missing:?} {whence}: {names:?}"));
        }
        let max = if named.is_none() { names.len() } else { usize::MAX };
        Ok((Self { num_cells: (names.len(), max), places }, is_line_of_names))
    }

    fn offer(&self, at: &ReadAt, cells: &[&str], columns: &Columns, offers: &mut Offers<'_>) -> Result<(), Refusal> {
        let (min, max) = self.num_cells;
        if cells.len() < min || cells.len() > max {
            return offers.unreadable(at, format!("expected {min} columns, found {}", cells.len()));
        }
        let record: Map<String, Value> =
            self.places.iter().map(|(place, name)| (name.clone(), Value::from(cells[*place]))).collect();
        columns.offer(at, &record, || None, offers)
    }
}

/// Whether `name` is wanted only because it is what stands before the point of another.
fn is_part(name: &str, wanted: &[String]) -> bool {
    wanted.iter().any(|other| other.strip_prefix(name).is_some_and(|rest| rest.starts_with('.')))
}
