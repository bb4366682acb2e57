//! The token store: Arrow IPC shards on disk, memory-mapped, any row in constant time.

mod manifest;
mod read;
mod row;

pub use manifest::{DatasetMeta, FileMeta, Manifest, ShardMeta, SourceMeta};
pub use read::Store;
pub use row::{RowLengths, StoredRow};
