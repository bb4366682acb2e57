//! Writes training rows and evaluation folders. Each is there whole or not at all, also after a kill.

mod file;
mod folder;
mod partial;
mod rows;

pub use file::{CompleteFile, WholeFile};
pub use folder::{AnswersLine, Begun, Folder, Origin, TextLine};
pub use partial::Partial;
pub use rows::{Row, Rows};
