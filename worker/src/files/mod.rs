//! What commands read and write: files of lines and records, outputs that are there whole or not at all, and what can
//! be wrong with either.

pub mod atomic;
mod error;
pub mod names;
pub mod output;
pub mod records;
pub mod unread;

pub use error::CommandError;
