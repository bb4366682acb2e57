//! The token store: what training reads instead of text.
//!
//! ```text
//! STORE/manifest.json            what is here, with sizes and checksums; written last
//! STORE/NAME/shard-00000.arrow   rows: query, pos, neg, pos_scores, neg_scores (Arrow IPC file format)
//! STORE/NAME/by_length.arrow     row numbers by (tokens of the longest text, row number)
//! ```
//!
//! Tokens lie there without special tokens. Opening costs nothing per row: the manifest has the number of rows up to
//! each length, so that a length group is a range of `by_length`; shards are mapped when first touched, and a row's
//! tokens are slices of the map. No compression, because nothing could then be read in place.
//!
//! Not here: which rows make a batch (`plan`), and text (`rows`, `tokenize`).

mod columns;
mod durable;
mod manifest;
mod mapped;
mod order;
mod read;
mod row;
mod write;

pub(crate) use durable::DurableFile;
pub(crate) use manifest::check_name;
pub use manifest::{DatasetMeta, FileMeta, Manifest, ShardMeta, SourceMeta};
pub use read::Store;
pub use row::{RowLengths, StoredRow};
pub use write::{DatasetWriter, StoreSettings, StoreWriter, TokenRow};
