//! Reads files of any layout, whatever they are packed as.
//!
//! [`objects`] are lines of JSON or rows of columns, [`cells`] lines of a table, [`entries`] the elements of one list
//! of JSON. [`records`] are objects or lines of a table, in whose [`Field`]s texts stand; [`texts`] are texts with ids.
//! Each is read one at a time. A visitor refuses one by a reason, and the error has file and line.

mod cells;
mod entries;
mod fields;
mod files;
mod objects;
mod on_disk;
mod records;
mod refusal;
mod texts;

pub use cells::{Between, for_each_cells, for_each_row, is_header};
pub use entries::for_each_entry;
pub use fields::{Condition, Field, TextFields};
pub use files::matching;
pub use objects::{for_each_object, id_of};
pub use on_disk::TextsOnDisk;
pub use records::for_each_record;
pub use refusal::Refusal;
pub use texts::{Text, for_each_text, titled};
