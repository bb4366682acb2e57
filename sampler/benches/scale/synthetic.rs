//! Writes a store of row lengths: the files that planning reads, as docs/know/formats.md describes them, and shards
//! that have the right size but are holes.
//!
//! It holds pairs in twelve data sets whose sizes fall as 1/rank. The longest text's length has a Pareto distribution
//! of exponent 1.1 from 40 tokens on, so every length group up to 8192 has rows. Queries have geometric lengths of
//! about 20 tokens.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{BufWriter, Write};
use std::path::Path;
use std::sync::Arc;

use arrow_array::{ListArray, RecordBatch, UInt16Array, UInt32Array, UInt64Array};
use arrow_buffer::OffsetBuffer;
use arrow_ipc::writer::FileWriter;
use arrow_schema::{DataType, Field, Schema};
use tercet_sampler::{DatasetMeta, FileMeta, Holds, Manifest, ShardMeta, SpecialTokens};

const NUM_DATASETS: u64 = 12;
const MAX_LEN: u16 = 8192;
const ROWS_PER_SHARD: u64 = 250_000;
const SHARD_BYTES: u64 = 250_000_000;
const QUERY_LENS: u16 = 120;

/// Writes a store of `num_rows` rows to `dir`.
pub fn write(dir: &Path, num_rows: u64) {
    let harmonic: f64 = (1..=NUM_DATASETS).map(|i| 1.0 / i as f64).sum();
    let sizes = (1..=NUM_DATASETS).map(|i| (num_rows as f64 / harmonic / i as f64) as u64);
    let datasets = (1..).zip(sizes).map(|(i, rows)| dataset(dir, &format!("synthetic{i}"), rows)).collect();
    let mut manifest = Manifest {
        format_version: 2,
        tokenizer_hash: String::new(),
        special: SpecialTokens { cls: 0, eos: 2, pad: 1, unk: 3, mask: None },
        max_token_id: 250_001,
        query_max_len: 512,
        passage_max_len: MAX_LEN as usize,
        text_max_len: None,
        datasets,
        checksum: String::new(),
    };
    let json = |manifest: &Manifest| serde_json::to_string(manifest).expect("a manifest is JSON");
    manifest.checksum = blake3::hash(json(&manifest).as_bytes()).to_hex().to_string();
    fs::write(dir.join("manifest.json"), json(&manifest)).expect("the manifest can be written");
}

fn dataset(dir: &Path, name: &str, num_rows: u64) -> DatasetMeta {
    let folder = dir.join(name);
    fs::create_dir_all(&folder).expect("the data set's folder can be made");
    let num_rows = num_rows.max(1);
    let shards = (0..num_rows.div_ceil(ROWS_PER_SHARD)).map(|i| {
        let file = format!("shard-{i:05}.arrow");
        // A hole takes no space and is never read.
        let hole = File::create(folder.join(&file)).and_then(|file| file.set_len(SHARD_BYTES));
        hole.expect("a shard can be made");
        let rows = ROWS_PER_SHARD.min(num_rows - i * ROWS_PER_SHARD);
        ShardMeta { num_rows: rows, file: FileMeta { file, bytes: SHARD_BYTES, blake3: String::new() } }
    });
    let shards = shards.collect();
    let shapes = shapes(num_rows);
    let mut rows_up_to: Vec<(usize, u64)> = Vec::new();
    for &(query, passage, up_to) in &shapes {
        let longest = query.max(passage) as usize + SpecialTokens::NUM_FRAMING;
        match rows_up_to.last_mut() {
            Some((len, rows)) if *len == longest => *rows = up_to,
            _ => rows_up_to.push((longest, up_to)),
        }
    }
    DatasetMeta {
        name: name.to_owned(),
        kind: None,
        holds: Holds::Pairs,
        num_rows,
        has_scores: false,
        num_unscored: None,
        rows_per_shard: ROWS_PER_SHARD,
        rows_per_record_batch: 4096,
        shards,
        num_duplicates: 0,
        duplicates_dropped: false,
        by_length: write_order(&folder.join("by_length.arrow"), num_rows),
        shapes: write_shapes(&folder.join("shapes.arrow"), &shapes),
        rows_up_to,
        num_tokens: 0,
        num_texts_cut: 0,
        languages: BTreeMap::new(),
        sources: Vec::new(),
    }
}

/// (query length, passage length, rows up to this shape), in the store's order.
fn shapes(num_rows: u64) -> Vec<(u16, u16, u64)> {
    let tail = |len: f64| (40.0 / len.max(40.0)).powf(1.1);
    // Longer texts are cut to the longest allowed.
    let beyond = |len: u16| if len + 2 >= MAX_LEN { 0.0 } else { tail(f64::from(len + 1)) };
    let short = |len: u16| f64::from(len.min(40)) / 40.0;
    let cumulative = |len: u16| (short(len) * 0.2 + (1.0 - beyond(len)) * 0.8).min(1.0);
    let mut shapes = Vec::new();
    let mut up_to = 0;
    for len in 1..=MAX_LEN - 2 {
        let end = if len + 2 == MAX_LEN { num_rows } else { (cumulative(len) * num_rows as f64) as u64 };
        let of_len = end - up_to;
        // The share of queries of up to q tokens, which is geometric.
        let queries = QUERY_LENS.min(len);
        for query in 1..=queries {
            let share = 1.0 - 0.95f64.powi(i32::from(query));
            let rows = if query == queries { end } else { end - of_len + (share * of_len as f64) as u64 };
            if rows > up_to {
                up_to = rows;
                shapes.push((query, len, rows));
            }
        }
    }
    shapes
}

fn write_shapes(path: &Path, shapes: &[(u16, u16, u64)]) -> FileMeta {
    let list = DataType::List(Arc::new(Field::new_list_field(DataType::UInt16, false)));
    let schema = Arc::new(Schema::new(vec![
        Field::new("rows_up_to", DataType::UInt64, false),
        Field::new("query", DataType::UInt16, false),
        Field::new("pos", list.clone(), false),
        Field::new("neg", list, false),
    ]));
    let lists = |offsets: OffsetBuffer<i32>, lens: Vec<u16>| {
        let field = Arc::new(Field::new_list_field(DataType::UInt16, false));
        Arc::new(ListArray::new(field, offsets, Arc::new(UInt16Array::from(lens)), None))
    };
    let batches = shapes.chunks(1 << 16).map(|part| {
        let column = |of: fn(&(u16, u16, u64)) -> u16| part.iter().map(of).collect::<Vec<u16>>();
        let ends: Vec<u64> = part.iter().map(|shape| shape.2).collect();
        RecordBatch::try_new(
            schema.clone(),
            vec![
                Arc::new(UInt64Array::from(ends)),
                Arc::new(UInt16Array::from(column(|shape| shape.0))),
                lists(OffsetBuffer::from_lengths(vec![1; part.len()]), column(|shape| shape.1)),
                lists(OffsetBuffer::from_lengths(vec![0; part.len()]), Vec::new()),
            ],
        )
    });
    write_arrow(path, schema.clone(), batches)
}

fn write_order(path: &Path, num_rows: u64) -> FileMeta {
    let schema = Arc::new(Schema::new(vec![
        Field::new("row", DataType::UInt64, false),
        Field::new("check", DataType::UInt32, false),
    ]));
    // Any order will do. This one is a bijection if the factor shares no divisor with the number of rows.
    let factor = (0x9e37_79b9u64..).step_by(2).find(|f| greatest_common_divisor(*f, num_rows) == 1);
    let factor = factor.expect("there is always a next prime");
    let batches = (0..num_rows).step_by(1 << 20).map(|start| {
        let end = (start + (1 << 20)).min(num_rows);
        let rows: Vec<u64> =
            (start..end).map(|i| (u128::from(i) * u128::from(factor) % u128::from(num_rows)) as u64).collect();
        let checks: Vec<u32> = rows.iter().map(|&row| row as u32).collect();
        RecordBatch::try_new(
            schema.clone(),
            vec![Arc::new(UInt64Array::from(rows)), Arc::new(UInt32Array::from(checks))],
        )
    });
    write_arrow(path, schema.clone(), batches)
}

fn greatest_common_divisor(a: u64, b: u64) -> u64 {
    if b == 0 { a } else { greatest_common_divisor(b, a % b) }
}

fn write_arrow(
    path: &Path,
    schema: Arc<Schema>,
    batches: impl Iterator<Item = Result<RecordBatch, arrow_schema::ArrowError>>,
) -> FileMeta {
    let hashed = Hashed {
        file: BufWriter::new(File::create(path).expect("a file can be made")),
        hasher: Default::default(),
        bytes: 0,
    };
    let mut writer = FileWriter::try_new(hashed, &schema).expect("the schema can be written");
    for batch in batches {
        batch.and_then(|batch| writer.write(&batch)).expect("there is space for it");
    }
    writer.finish().expect("the footer can be written");
    let Hashed { mut file, hasher, bytes } = writer.into_inner().expect("it is finished");
    file.flush().expect("there is space for it");
    let file = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    FileMeta { file, bytes, blake3: hasher.finalize().to_hex().to_string() }
}

/// Hashes and counts what it writes.
struct Hashed {
    file: BufWriter<File>,
    hasher: blake3::Hasher,
    bytes: u64,
}

impl Write for Hashed {
    fn write(&mut self, buffer: &[u8]) -> std::io::Result<usize> {
        self.file.write_all(buffer)?;
        self.hasher.update(buffer);
        self.bytes += buffer.len() as u64;
        Ok(buffer.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.file.flush()
    }
}
