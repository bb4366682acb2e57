//! A memory-mapped Arrow IPC file whose record batches are decoded in place, each once, when first asked for.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use arrow_array::RecordBatch;
use arrow_buffer::Buffer;
use arrow_ipc::convert::try_fb_to_schema;
use arrow_ipc::reader::{FileDecoder, read_footer_length};
use arrow_ipc::{Block, root_as_footer, root_as_message};
use arrow_schema::SchemaRef;

use crate::error::StoreError;

/// What a record batch is turned into before it is kept.
pub(super) trait FromBatch {
    /// The size of every column's items is a multiple of this.
    const ITEM_BYTES: i64;
    /// The columns that the file must have.
    fn schema() -> SchemaRef;
    /// Takes the columns out of a batch of [`schema`](Self::schema), sharing their memory.
    fn from_batch(batch: &RecordBatch) -> Self;
}

/// One mapped file.
#[derive(Debug)]
pub(super) struct MappedFile<T> {
    path: PathBuf,
    map: Buffer,
    decoder: FileDecoder,
    blocks: Vec<Block>,
    decoded: Box<[OnceLock<Arc<T>>]>,
}

impl<T: FromBatch> MappedFile<T> {
    pub(super) fn open(path: &Path) -> Result<Self, StoreError> {
        let file = File::open(path).map_err(|source| StoreError::Io { path: path.to_owned(), source })?;
        // SAFETY: the map is only sound while nobody truncates or rewrites the file. Tercet writes a store's files
        // once, beside their final names, and never touches them again; what others do to them is out of our hands,
        // as with any memory-mapped format.
        let map =
            unsafe { memmap2::Mmap::map(&file) }.map_err(|source| StoreError::Io { path: path.to_owned(), source })?;
        let map = Buffer::from(bytes::Bytes::from_owner(map));
        let damaged = |reason: String| StoreError::Damaged { path: path.to_owned(), reason };
        let (decoder, blocks) = read_footer(&map, &T::schema()).map_err(damaged)?;
        let decoded = blocks.iter().map(|_| OnceLock::new()).collect();
        Ok(Self { path: path.to_owned(), map, decoder, blocks, decoded })
    }

    /// The `i`-th record batch.
    pub(super) fn batch(&self, i: usize) -> Result<&Arc<T>, StoreError> {
        let damaged = |reason: String| self.damaged(format!("record batch {i}: {reason}"));
        let Some(cell) = self.decoded.get(i) else {
            return Err(damaged(format!("the file has only {}", self.blocks.len())));
        };
        if let Some(batch) = cell.get() {
            return Ok(batch);
        }
        // Two threads may decode the same batch at once; the first one's is kept.
        let batch = self.decode(&self.blocks[i]).map_err(damaged)?;
        Ok(cell.get_or_init(|| Arc::new(T::from_batch(&batch))))
    }

    pub(super) fn num_batches(&self) -> usize {
        self.blocks.len()
    }

    pub(super) fn damaged(&self, reason: String) -> StoreError {
        StoreError::Damaged { path: self.path.clone(), reason }
    }

    fn decode(&self, block: &Block) -> Result<RecordBatch, String> {
        let (start, len) = block_range(block, self.map.len())?;
        let bytes = self.map.slice_with_length(start, len);
        check_buffers(&bytes, block, T::ITEM_BYTES)?;
        let batch = self.decoder.read_record_batch(block, &bytes).map_err(|e| e.to_string())?;
        batch.ok_or_else(|| "no record batch where the footer has one".into())
    }
}

/// Start and length of a block, if it lies inside the file.
fn block_range(block: &Block, file_len: usize) -> Result<(usize, usize), String> {
    let range = || {
        let start = usize::try_from(block.offset()).ok()?;
        let metadata = usize::try_from(block.metaDataLength()).ok()?;
        let len = metadata.checked_add(usize::try_from(block.bodyLength()).ok()?)?;
        let aligned = start % 8 == 0 && metadata % 8 == 0;
        (aligned && start.checked_add(len)? <= file_len).then_some((start, len))
    };
    range().ok_or_else(|| "the footer puts it where it cannot be".into())
}

fn read_footer(map: &Buffer, expected: &SchemaRef) -> Result<(FileDecoder, Vec<Block>), String> {
    const TRAILER_BYTES: usize = 10;
    let Some((rest, trailer)) = map.as_slice().split_last_chunk::<TRAILER_BYTES>() else {
        return Err("too short for an Arrow file".into());
    };
    let footer_len = read_footer_length(*trailer).map_err(|e| e.to_string())?;
    let footer_start = rest.len().checked_sub(footer_len).ok_or("its footer is longer than the file")?;
    let footer = root_as_footer(&rest[footer_start..]).map_err(|e| format!("its footer is damaged: {e}"))?;
    let schema = footer.schema().ok_or("its footer has no schema")?;
    let schema = try_fb_to_schema(schema).map_err(|e| e.to_string())?;
    if schema.fields() != expected.fields() {
        return Err(format!("its columns are {:?}, expected {:?}", schema.fields(), expected.fields()));
    }
    // In place or not at all: a batch that is not aligned is an error, not a silent copy.
    let decoder = FileDecoder::new(expected.clone(), footer.version()).with_require_alignment(true);
    Ok((decoder, footer.recordBatches().iter().flatten().copied().collect()))
}

/// The decoder slices without asking; this asks, so that damaged metadata is an error and not a panic.
fn check_buffers(bytes: &Buffer, block: &Block, item_bytes: i64) -> Result<(), String> {
    const CONTINUATION: [u8; 4] = [0xff; 4];
    let metadata = &bytes[..block.metaDataLength() as usize];
    let message = metadata
        .strip_prefix(&CONTINUATION)
        .and_then(|rest| rest.get(4..))
        .ok_or("its metadata does not begin as a message does")?;
    let message = root_as_message(message).map_err(|e| format!("its metadata is damaged: {e}"))?;
    let batch = message.header_as_record_batch().ok_or("it is no record batch")?;
    let body = (bytes.len() - metadata.len()) as i64;
    let inside = |offset: i64, len: i64| {
        offset >= 0 && len >= 0 && offset % 8 == 0 && offset.checked_add(len).is_some_and(|end| end <= body)
    };
    let all_inside = batch.buffers().iter().flatten().all(|buffer| inside(buffer.offset(), buffer.length()));
    // Every column is a validity bitmap followed by items.
    let whole_items =
        batch.buffers().iter().flatten().skip(1).step_by(2).all(|buffer| buffer.length() % item_bytes == 0);
    let none_negative = batch.nodes().iter().flatten().all(|node| node.length() >= 0 && node.null_count() >= 0);
    if !all_inside || !whole_items || !none_negative {
        return Err("its metadata does not fit its size".into());
    }
    Ok(())
}
