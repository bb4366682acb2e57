//! Altered bytes: readers of rows end with rows or an error, and a store returns its own rows or none.
//!
//! `PROPTEST_CASES=100000 cargo test --release --workspace --test sampler hostile_bytes::` tries more cases.

#![allow(clippy::unwrap_used)]

use std::io::Write;
use std::path::Path;
use std::sync::Arc;

use crate::written_store::{store, written};
use arrow_array::builder::{Float64Builder, ListBuilder, StringBuilder};
use arrow_array::{ArrayRef, RecordBatch, StringArray};
use arrow_ipc::writer::{FileWriter, StreamWriter};
use parquet::arrow::ArrowWriter;
use parquet::basic::Compression;
use parquet::file::properties::WriterProperties;
use proptest::prelude::*;
use tercet_sampler::{Holds, Long, OnError, PrepareInput, PrepareOptions, RowReader, Store, TextOptions, prepare};

const NUM_ROWS: usize = 40;

/// One change to some bytes.
#[derive(Debug, Clone)]
enum Change {
    Flip {
        at: usize,
        bits: u8,
    },
    Cut {
        at: usize,
    },
    /// Bytes copied from elsewhere in the file.
    Splice {
        from: usize,
        to: usize,
        len: usize,
    },
    Number {
        at: usize,
        number: u64,
        len: usize,
    },
}

fn any_change() -> impl Strategy<Value = Change> {
    let at = any::<usize>;
    let numbers =
        prop::sample::select(vec![0, 1, 0x7fff_ffff, 0x8000_0000, 0xffff_ffff, 1 << 40, u64::MAX >> 1, u64::MAX]);
    prop_oneof![
        4 => (at(), 1..=u8::MAX).prop_map(|(at, bits)| Change::Flip { at, bits }),
        1 => at().prop_map(|at| Change::Cut { at }),
        2 => (at(), at(), 1..64_usize).prop_map(|(from, to, len)| Change::Splice { from, to, len }),
        2 => (at(), numbers, 1..=8_usize).prop_map(|(at, number, len)| Change::Number { at, number, len }),
    ]
}

fn apply(bytes: &mut Vec<u8>, change: &Change) {
    let len_of = bytes.len();
    if len_of == 0 {
        return;
    }
    match *change {
        Change::Flip { at, bits } => bytes[at % len_of] ^= bits,
        Change::Cut { at } => bytes.truncate(at % len_of),
        Change::Splice { from, to, len } => {
            let (from, to) = (from % len_of, to % len_of);
            let len = len.min(len_of - from).min(len_of - to);
            bytes.copy_within(from..from + len, to);
        }
        Change::Number { at, number, len } => {
            let at = at % len_of;
            let len = len.min(len_of - at);
            bytes[at..at + len].copy_from_slice(&number.to_le_bytes()[..len]);
        }
    }
}

fn lines() -> Vec<u8> {
    let row = |i: usize| {
        format!(
            "{{\"query\": \"q\\u00e9 {i}\", \"pos\": [\"p\", \"水 {i}\"], \"neg\": [], \"pos_scores\": [1, -2.5e-3], \"type\": null}}\n"
        )
    };
    (0..NUM_ROWS).map(row).collect::<String>().into_bytes()
}

fn batch() -> RecordBatch {
    let mut pos = ListBuilder::new(StringBuilder::new());
    let mut scores = ListBuilder::new(Float64Builder::new());
    for i in 0..NUM_ROWS {
        pos.append_value([Some("p".to_owned()), Some(format!("水 {i}"))]);
        scores.append_value([Some(1.0), Some(-2.5e-3)]);
    }
    let columns: [(&str, ArrayRef); 3] = [
        ("query", Arc::new(StringArray::from_iter_values((0..NUM_ROWS).map(|i| format!("q {i}"))))),
        ("pos", Arc::new(pos.finish())),
        ("pos_scores", Arc::new(scores.finish())),
    ];
    RecordBatch::try_from_iter(columns).unwrap()
}

/// Good files in all formats.
fn good_files() -> Vec<(&'static str, Vec<u8>)> {
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    gzip.write_all(&lines()).unwrap();
    let parquet = |compression: Compression| {
        let properties = WriterProperties::builder().set_compression(compression).build();
        let mut writer = ArrowWriter::try_new(Vec::new(), batch().schema(), Some(properties)).unwrap();
        writer.write(&batch()).unwrap();
        writer.into_inner().unwrap()
    };
    let mut stream = StreamWriter::try_new(Vec::new(), &batch().schema()).unwrap();
    stream.write(&batch()).unwrap();
    let mut file = FileWriter::try_new(Vec::new(), &batch().schema()).unwrap();
    file.write(&batch()).unwrap();
    vec![
        ("rows.jsonl", lines()),
        ("rows.jsonl.gz", gzip.finish().unwrap()),
        ("rows.jsonl.zst", zstd::encode_all(&lines()[..], 3).unwrap()),
        ("plain.parquet", parquet(Compression::UNCOMPRESSED)),
        ("snappy.parquet", parquet(Compression::SNAPPY)),
        ("stream.arrow", stream.into_inner().unwrap()),
        ("file.arrow", file.into_inner().unwrap()),
    ]
}

/// All rows, and whether reading ended with an error.
fn read_to_the_end(path: &Path) -> (usize, bool) {
    match RowReader::open(path) {
        Ok(reader) => reader.fold((0, false), |(rows, _), row| (rows + usize::from(row.is_ok()), row.is_err())),
        Err(_) => (0, true),
    }
}

#[test]
fn altered_files_of_rows_end_with_rows_or_an_error() {
    let dir = tempfile::tempdir().unwrap();
    let files = good_files();
    for (name, bytes) in &files {
        std::fs::write(dir.path().join(name), bytes).unwrap();
        assert_eq!(read_to_the_end(&dir.path().join(name)), (NUM_ROWS, false), "{name}");
    }
    let config = ProptestConfig { failure_persistence: None, ..ProptestConfig::default() };
    proptest!(config, |(i in 0..files.len(), changes in prop::collection::vec(any_change(), 1..6))| {
        let (name, mut bytes) = files[i].clone();
        changes.iter().for_each(|change| apply(&mut bytes, change));
        let path = dir.path().join(name);
        std::fs::write(&path, &bytes).unwrap();
        read_to_the_end(&path);
    });
}

#[test]
fn altered_files_of_texts_end_with_a_store_or_an_error() {
    let dir = tempfile::tempdir().unwrap();
    let text = |i: usize| format!("river stone 水 {i}");
    let lines = |line: &dyn Fn(usize) -> String| (0..NUM_ROWS).map(line).collect::<String>().into_bytes();
    let texts: ArrayRef = Arc::new(StringArray::from_iter_values((0..NUM_ROWS).map(text)));
    let batch = RecordBatch::try_from_iter([("text", texts)]).unwrap();
    let mut parquet = ArrowWriter::try_new(Vec::new(), batch.schema(), None).unwrap();
    parquet.write(&batch).unwrap();
    let files = [
        ("a.jsonl", lines(&|i| format!("{{\"text\": \"{}\\n\", \"lang\": null}}\n", text(i)))),
        ("a.txt", lines(&|i| text(i) + "\r\n")),
        ("a.txt.zst", zstd::encode_all(&lines(&|i| text(i) + "\n")[..], 3).unwrap()),
        ("a.parquet", parquet.into_inner().unwrap()),
    ];
    let options = PrepareOptions {
        tokenizer: crate::word_tokenizer::write(dir.path()),
        inputs: Vec::new(),
        out: dir.path().join("store"),
        query_max_len: 512,
        passage_max_len: 512,
        texts: TextOptions { max_len: 9, long: Long::Split, pack: true },
        on_error: OnError::Skip,
        drop_duplicates: true,
        rows_per_shard: 7,
    };
    let prepared = |name: &str, bytes: &[u8]| {
        let path = dir.path().join(name);
        std::fs::write(&path, bytes).unwrap();
        let inputs = vec![PrepareInput { name: "a".into(), holds: Holds::Texts, paths: vec![path] }];
        let report = prepare(&PrepareOptions { inputs, ..options.clone() }, &mut |_| {});
        if report.is_ok() {
            Store::open(&options.out).unwrap().verify().unwrap();
        }
        let _ = std::fs::remove_dir_all(&options.out);
        report
    };
    for (name, bytes) in &files {
        assert_eq!(prepared(name, bytes).unwrap().num_rows, NUM_ROWS as u64, "{name}");
    }
    let config = ProptestConfig { cases: 32, failure_persistence: None, ..ProptestConfig::default() };
    proptest!(config, |(i in 0..files.len(), changes in prop::collection::vec(any_change(), 1..6))| {
        let (name, mut bytes) = files[i].clone();
        changes.iter().for_each(|change| apply(&mut bytes, change));
        let _ = prepared(name, &bytes);
    });
}

#[test]
fn an_altered_store_gives_its_own_rows_or_an_error() {
    let dir = tempfile::tempdir().unwrap();
    let good = store(dir.path(), &[written("a", NUM_ROWS, 2)]);
    let root = dir.path().join("store");
    let entries = |store: &Store| -> Vec<(u64, Vec<u32>, Vec<u32>)> {
        let read = |position| {
            store.read(0, position).ok().map(|(row, stored)| (row, stored.query().to_vec(), stored.pos(0).to_vec()))
        };
        (0..NUM_ROWS as u64).filter_map(read).collect()
    };
    let expected = entries(&good);
    assert_eq!(expected.len(), NUM_ROWS);
    drop(good);
    let files = ["manifest.json", "a/shard-00000.arrow", "a/by_length.arrow", "a/shapes.arrow"];
    let contents: Vec<Vec<u8>> = files.iter().map(|name| std::fs::read(root.join(name)).unwrap()).collect();
    let config = ProptestConfig { failure_persistence: None, ..ProptestConfig::default() };
    proptest!(config, |(i in 0..files.len(), changes in prop::collection::vec(any_change(), 1..4))| {
        let mut bytes = contents[i].clone();
        changes.iter().for_each(|change| apply(&mut bytes, change));
        // A new file, because the old one may be mapped.
        let path = root.join(files[i]);
        std::fs::remove_file(&path).unwrap();
        std::fs::write(&path, &bytes).unwrap();
        if let Ok(store) = Store::open(&root) {
            for position in 0..NUM_ROWS as u64 {
                let _ = store.shape(0, position);
            }
            let found = entries(&store);
            prop_assert!(found.iter().all(|entry| expected.contains(entry)), "{}", files[i]);
        }
        std::fs::remove_file(&path).unwrap();
        std::fs::write(&path, &contents[i]).unwrap();
    });
}
