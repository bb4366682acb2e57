//! Training rows with the fields of the published trainer's JSON Lines, read from lines (plain or compressed), Parquet
//! or Arrow.
//!
//! A [`Row`] is text; tokens come later. A `Text` is what pre-training takes: one text, of these formats or of lines
//! of plain text.

mod fields;
mod keys;
mod kind;
mod like;
mod parse;
mod reader;
mod row;
mod schema;
mod source;
mod texts;
mod written;

pub(crate) use keys::NearKey;
pub use kind::unknown as unknown_type;
pub(crate) use kind::{changes_training, is_symmetric};
pub use reader::RowReader;
pub use row::Row;
pub(crate) use source::{RawRow, RecordSource, RowSource};
pub(crate) use texts::{RawText, TextSource};
pub use written::{WrittenRow, WrittenRows};
