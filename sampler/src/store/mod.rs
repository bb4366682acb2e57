//! The token store: what training reads instead of text.
//!
//! ```text
//! STORE/manifest.json            what is here, with sizes and checksums; written last
//! STORE/NAME/shard-00000.arrow   rows: query, pos, neg, pos_scores, neg_scores (Arrow IPC file format)
//! STORE/NAME/by_length.arrow     row numbers and checksums, by (longest text, lengths of all texts, row number)
//! STORE/NAME/shapes.arrow        the distinct lengths of rows' texts, in that order, with the rows up to each
//! ```
//!
//! Texts alone, which pre-training takes, are rows of a query without passages; the manifest says of each data set what
//! it holds.
//!
//! Tokens lie there without special tokens. Opening costs nothing per row: the manifest has the number of rows up to
//! each length, so that a length group is a range of `by_length`, and the small `shapes` has the lengths at any
//! position of it. Shards are mapped when first touched, and a row's tokens are slices of the map. No compression,
//! because nothing could then be read in place.
//!
//! Not here: which rows make a batch (`plan`), and text (`rows`, `tokenize`).

mod begun;
mod check;
mod columns;
mod dataset;
mod durable;
mod held;
mod manifest;
mod mapped;
mod measure;
mod order;
mod read;
mod row;
mod runs;
mod shapes;
mod token_row;
mod unfinished;
mod write;

pub use begun::StoreSettings;
pub use dataset::DatasetWriter;
pub(crate) use durable::DurableFile;
pub use durable::{partial_of, write_durably};
pub use manifest::{DatasetMeta, FileMeta, Holds, LanguageMeta, Manifest, ShardMeta, SourceMeta};
pub(crate) use manifest::{UNFINISHED_FILE, check_name};
pub use read::Store;
pub use row::StoredRow;
pub(crate) use shapes::MAX_TEXT_LEN;
pub use shapes::Shape;
pub use token_row::TokenRow;
pub(crate) use token_row::{LabelledRow, UNKNOWN_LANGUAGE};
pub(crate) use unfinished::{LIST_FILE, Left};
pub use write::StoreWriter;
