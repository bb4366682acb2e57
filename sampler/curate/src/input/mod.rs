//! Reads files of any layout, whatever they are packed as.
//!
//! [`lines`] are lines of text, [`objects`] lines of JSON or rows of columns, [`cells`] lines of a table, [`entries`]
//! the elements of one list of JSON. [`records`] are objects or lines of a table, in whose [`Field`]s texts stand;
//! [`texts`] are texts with ids. Each is read one at a time. A visitor refuses one by a reason, and the error has file
//! and line.

mod cells;
mod entries;
mod fields;
mod files;
mod lines;
mod objects;
mod on_disk;
mod records;
mod refusal;
mod texts;

pub use cells::{Between, for_each_cells, for_each_row, is_header};
pub use entries::for_each_entry;
pub use fields::{Condition, Field, TextFields, columns_of, value_of};
pub use files::matching;
pub use lines::next_line;
pub use objects::{for_each_object, for_each_object_line, id_of};
pub use on_disk::TextsOnDisk;
pub use records::for_each_record;
pub use refusal::Refusal;
pub use texts::{Text, for_each_text, titled};
