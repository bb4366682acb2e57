//! Rows that are there already: exact duplicates, near-duplicates, and texts of benchmarks.
//!
//! While a unit's rows are kept their keys are written ([`UnitKeys`]): hashes of what is compared of the texts
//! (`units`), and MinHash keys of bands (`signature`). When all units have theirs, [`find`] goes through one column
//! of keys of all units after the other, and says for each unit which rows are to go:
//!
//! 1. contaminated rows: the query or the passage has a key of a benchmark's text (`contamination`), or it is short and
//!    nearly a benchmark's query (`queries`);
//! 2. exact duplicates: a row before it has the same texts;
//! 3. near-duplicates: a row before it has the same key in any band, whether that row stays or not (`repeated`).
//!
//! There are no clusters, so nothing has to see all pairs. The first of rows that are alike in a chain stays, unless it
//! has a benchmark's text: then what is near it goes as well. A row goes only because of a row before it.
//!
//! In memory are three bits a row, what `repeated` and `contamination` say of their tables, and a thread's buffers of
//! 32 KiB for each 3.6 million rows, 8 MiB at most, and short queries of benchmarks while rows are read. On disk are
//! the keys (128 bytes a row, and 264 with benchmarks), 128 bytes for each text of a benchmark, and 24 bytes a row
//! meanwhile.

mod benchmarks;
mod contamination;
mod find;
mod key_file;
mod keys;
mod marks;
mod mixing;
mod queries;
mod recipe;
mod repeated;
mod signature;
mod spans;
mod units;

#[cfg(test)]
mod tests;

pub use benchmarks::benchmarks;
pub use find::{Found, dropped_rows, find};
pub use keys::UnitKeys;
pub use marks::MarkedRows;
pub use queries::Queries;
pub use recipe::{Compared, DuplicatesRecipe};
