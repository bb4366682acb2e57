//! Training rows with the fields of the published trainer's JSON Lines, read from lines (plain or compressed), Parquet
//! or Arrow.
//!
//! A [`Row`] is text; tokens come later.

mod fields;
mod keys;
mod parse;
mod reader;
mod row;
mod schema;
mod source;
mod written;

pub use keys::NearKey;
pub use parse::parse_row;
pub use reader::RowReader;
pub use row::Row;
pub(crate) use source::{Numbered, RawRow, RowSource};
pub use written::WrittenRow;
