//! Every format of rows gives the same store, and an error in a file names the file and the row.

#![allow(clippy::unwrap_used)]

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow_array::builder::{Float64Builder, LargeStringBuilder, ListBuilder, StringBuilder};
use arrow_array::{ArrayRef, Int64Array, RecordBatch, StringViewArray};
use arrow_ipc::CompressionType;
use arrow_ipc::writer::{FileWriter, IpcWriteOptions, StreamWriter};
use parquet::arrow::ArrowWriter;
use parquet::basic::Compression;
use parquet::file::properties::WriterProperties;
use tercet_configs::ExitCode;
use tercet_sampler::{
    Holds, OnError, PrepareError, PrepareInput, PrepareOptions, PrepareReport, RowError, RowReader, Store, TextOptions,
    WrittenRow, for_each_object, prepare,
};

const NUM_ROWS: usize = 300;

fn query(i: usize) -> String {
    ["river", "stone bridge", "water under"][i % 3].to_owned()
}

fn texts(i: usize, num: usize) -> Vec<String> {
    (0..num).map(|j| crate::word_tokenizer::WORDS[..1 + (i + j) % 8].join(" ")).collect()
}

fn as_lines() -> String {
    let row = |i: usize| {
        let neg = texts(i + 1, i % 3);
        let scores = vec![i as f64 / 8.0; neg.len()];
        let row = serde_json::json!({"query": query(i), "pos": texts(i, 1 + i % 2), "neg": neg, "neg_scores": scores,
            "pos_scores": vec![0.5; 1 + i % 2], "prompt": "over ", "lang": "en"});
        format!("{row}\n")
    };
    (0..NUM_ROWS).map(row).collect()
}

/// The same rows as columns of several types; with `bad`, one row has no positive.
fn as_batch(bad: Option<usize>) -> RecordBatch {
    let mut pos = ListBuilder::new(StringBuilder::new());
    let mut neg = ListBuilder::new(LargeStringBuilder::new());
    let [mut pos_scores, mut neg_scores] = [(); 2].map(|()| ListBuilder::new(Float64Builder::new()));
    for i in 0..NUM_ROWS {
        let num_pos = if bad == Some(i) { 0 } else { 1 + i % 2 };
        pos.append_value(texts(i, num_pos).into_iter().map(Some));
        neg.append_value(texts(i + 1, i % 3).into_iter().map(Some));
        pos_scores.append_value(vec![Some(0.5); num_pos]);
        neg_scores.append_value(vec![Some(i as f64 / 8.0); i % 3]);
    }
    let columns: [(&str, ArrayRef); 8] = [
        ("id", Arc::new(Int64Array::from_iter_values(0..NUM_ROWS as i64))),
        ("neg_scores", Arc::new(neg_scores.finish())),
        ("query", Arc::new(StringViewArray::from_iter_values((0..NUM_ROWS).map(query)))),
        ("pos", Arc::new(pos.finish())),
        ("neg", Arc::new(neg.finish())),
        ("pos_scores", Arc::new(pos_scores.finish())),
        ("prompt", Arc::new(StringViewArray::from_iter_values(vec!["over "; NUM_ROWS]))),
        ("lang", Arc::new(StringViewArray::from_iter_values(vec!["en"; NUM_ROWS]))),
    ];
    RecordBatch::try_from_iter(columns).unwrap()
}

/// Writes batches of 70 rows.
fn batches(batch: &RecordBatch) -> impl Iterator<Item = RecordBatch> {
    (0..NUM_ROWS).step_by(70).map(|start| batch.slice(start, 70.min(NUM_ROWS - start)))
}

fn write_parquet(path: &Path, batch: &RecordBatch, compression: Compression) {
    let properties = WriterProperties::builder().set_compression(compression).set_max_row_group_row_count(Some(100));
    let mut writer =
        ArrowWriter::try_new(File::create(path).unwrap(), batch.schema(), Some(properties.build())).unwrap();
    batches(batch).for_each(|part| writer.write(&part).unwrap());
    writer.close().unwrap();
}

fn write_stream(path: &Path, batch: &RecordBatch) {
    let mut writer = StreamWriter::try_new(File::create(path).unwrap(), &batch.schema()).unwrap();
    batches(batch).for_each(|part| writer.write(&part).unwrap());
    writer.finish().unwrap();
}

fn write_file(path: &Path, batch: &RecordBatch) {
    let mut writer = FileWriter::try_new(File::create(path).unwrap(), &batch.schema()).unwrap();
    batches(batch).for_each(|part| writer.write(&part).unwrap());
    writer.finish().unwrap();
}

/// Written as by pandas' `to_feather`.
fn write_packed_file(path: &Path, batch: &RecordBatch, compression: CompressionType) {
    let options = IpcWriteOptions::default().try_with_compression(Some(compression)).unwrap();
    let mut writer = FileWriter::try_new_with_options(File::create(path).unwrap(), &batch.schema(), options).unwrap();
    batches(batch).for_each(|part| writer.write(&part).unwrap());
    writer.finish().unwrap();
}

/// A folder as `datasets` saves a data set to disk.
fn write_folder(dir: &Path, batch: &RecordBatch) {
    fs::create_dir_all(dir).unwrap();
    write_stream(&dir.join("data-00000-of-00001.arrow"), batch);
    fs::write(
        dir.join("state.json"),
        r#"{"_data_files": [{"filename": "data-00000-of-00001.arrow"}], "_split": "train"}"#,
    )
    .unwrap();
}

fn prepared(dir: &Path, out: &str, path: PathBuf, on_error: OnError) -> Result<PrepareReport, PrepareError> {
    let options = PrepareOptions {
        tokenizer: crate::word_tokenizer::write(dir),
        inputs: vec![PrepareInput { name: "rows".into(), holds: Holds::Pairs, paths: vec![path] }],
        out: dir.join(out),
        query_max_len: 16,
        passage_max_len: 16,
        texts: TextOptions::default(),
        on_error,
        drop_duplicates: false,
        rows_per_shard: 64,
    };
    prepare(&options, &mut |_| {})
}

#[test]
fn all_formats_give_the_same_store() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    let batch = as_batch(None);
    fs::write(dir.join("rows.jsonl"), as_lines()).unwrap();
    for (name, compression) in [
        ("plain.parquet", Compression::UNCOMPRESSED),
        ("snappy.parquet", Compression::SNAPPY),
        ("zstd.parquet", Compression::ZSTD(Default::default())),
        ("gzip.parquet", Compression::GZIP(Default::default())),
        ("lz4.parquet", Compression::LZ4_RAW),
    ] {
        write_parquet(&dir.join(name), &batch, compression);
    }
    write_stream(&dir.join("stream.arrow"), &batch);
    write_file(&dir.join("file.arrow"), &batch);
    write_packed_file(&dir.join("lz4.feather"), &batch, CompressionType::LZ4_FRAME);
    write_packed_file(&dir.join("zstd.feather"), &batch, CompressionType::ZSTD);
    write_folder(&dir.join("folder"), &batch);
    write_folder(&dir.join("dict/train"), &batch);
    fs::write(dir.join("dict/dataset_dict.json"), r#"{"splits": ["train"]}"#).unwrap();

    let files = |name: &str| {
        let report = prepared(dir, &format!("{name}.store"), dir.join(name), OnError::Stop).unwrap();
        let dataset = report.manifest.datasets[0].clone();
        assert_eq!(dataset.sources[0].rows, NUM_ROWS as u64);
        (dataset.files().cloned().collect::<Vec<_>>(), dataset.languages, dataset.has_scores)
    };
    let expected = files("rows.jsonl");
    assert!(expected.1.keys().eq(["en"]) && expected.2);
    for name in [
        "plain.parquet",
        "snappy.parquet",
        "zstd.parquet",
        "gzip.parquet",
        "lz4.parquet",
        "lz4.feather",
        "zstd.feather",
        "stream.arrow",
        "file.arrow",
        "folder",
        "dict",
    ] {
        // The manifest holds the checksums of all files.
        assert_eq!(files(name), expected, "{name}");
    }
}

#[test]
fn rows_are_written_again_and_objects_are_read_as_from_lines() {
    let dir = tempfile::tempdir().unwrap();
    let [lines, folder] = ["rows.jsonl", "folder"].map(|name| dir.path().join(name));
    fs::write(&lines, as_lines()).unwrap();
    write_folder(&folder, &as_batch(None));
    let (from_lines, from_columns) = (WrittenRow::read_all(&lines).unwrap(), WrittenRow::read_all(&folder).unwrap());
    assert_eq!((from_lines.len(), from_columns.len()), (NUM_ROWS, NUM_ROWS));
    for (i, (line, column)) in from_lines.into_iter().zip(from_columns).enumerate() {
        assert_eq!(line.row, column.row);
        let [mut line, mut column] = [line.fields, column.fields];
        line.push(("id".into(), i.to_string()));
        line.sort();
        column.sort();
        assert_eq!(line, column);
    }

    let mut objects = Vec::new();
    let read = for_each_object(&folder, &["query", "id"], |at, line| {
        objects.push(line.to_owned());
        if objects.len() == 2 { Err(at.error("enough".into()).to_string()) } else { Ok(()) }
    });
    let nulls = r#""neg_scores":null,"pos":null,"neg":null,"pos_scores":null,"prompt":null,"lang":null"#;
    let expected = [(0, "river"), (1, "stone bridge")];
    assert_eq!(objects, expected.map(|(id, query)| format!(r#"{{"id":{id},"query":"{query}",{nulls}}}"#)));
    let message = read.unwrap_err().to_string();
    assert!(message.ends_with("data-00000-of-00001.arrow: row 2: enough"), "{message}");
}

#[test]
fn a_bad_row_of_columns_is_named_by_its_number() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("rows.parquet");
    write_parquet(&path, &as_batch(Some(210)), Compression::SNAPPY);
    let error = prepared(dir.path(), "store", path.clone(), OnError::Stop).unwrap_err();
    assert!(error.to_string().contains("rows.parquet: row 211: \"pos\" is empty"), "{error}");
    assert_eq!(error.exit_code(), ExitCode::Data);

    let report = prepared(dir.path(), "skipping", path, OnError::Skip).unwrap();
    assert_eq!((report.num_rows, report.num_skipped), (NUM_ROWS as u64 - 1, 1));
    let list = fs::read_to_string(report.skipped_list.unwrap()).unwrap();
    assert!(list.contains("\"row\":211") && !list.contains("\"line\""), "{list}");
    assert_eq!(Store::open(&dir.path().join("skipping")).unwrap().dataset(0).num_rows, NUM_ROWS as u64 - 1);
}

#[test]
fn cut_files_of_columns_name_the_last_good_row() {
    let dir = tempfile::tempdir().unwrap();
    let batch = as_batch(None);
    type Write = fn(&Path, &RecordBatch);
    let parquet: Write = |path, batch| write_parquet(path, batch, Compression::SNAPPY);
    for (name, write, rows) in [("a.parquet", parquet, 0), ("a.arrow", write_file, 0), ("s.arrow", write_stream, 140)] {
        let path = dir.path().join(name);
        write(&path, &batch);
        let bytes = fs::read(&path).unwrap();
        fs::write(&path, &bytes[..bytes.len() * 3 / 5]).unwrap();
        let error = match RowReader::open(&path) {
            Ok(reader) => reader.filter_map(Result::err).next().unwrap(),
            Err(e) => e,
        };
        let message = error.to_string();
        assert!(message.contains(&format!("{name}: cannot be read beyond row {rows}: ")), "{message}");
        assert_eq!(error.exit_code(), ExitCode::Data);
    }
}

#[test]
fn folders_and_columns_that_are_no_rows_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    fs::create_dir(dir.join("empty")).unwrap();
    fs::create_dir(dir.join("splits")).unwrap();
    fs::write(dir.join("splits/dataset_dict.json"), r#"{"splits": ["train", "test"]}"#).unwrap();
    for (name, message) in [("empty", "it has no state.json"), ("splits", "has the splits [\"train\", \"test\"]")] {
        let error = prepared(dir, "store", dir.join(name), OnError::Stop).unwrap_err();
        assert!(error.to_string().contains(message), "{error}");
        assert_eq!(error.exit_code(), ExitCode::Usage);
    }
    let other = RecordBatch::try_from_iter([("text", as_batch(None).column(2).clone())]).unwrap();
    write_stream(&dir.join("other.arrow"), &other.slice(0, NUM_ROWS));
    let error = RowReader::open(&dir.join("other.arrow")).unwrap_err();
    assert!(matches!(error, RowError::Columns { .. }), "{error}");
    let reason = "\"query\" is missing among the columns \"text\"; `tercet prepare --texts` takes texts alone (\"query\" is a string)";
    assert!(error.to_string().ends_with(reason), "{error}");

    // One string is not a list of positives.
    let columns = [("query", as_batch(None).column(2).clone()), ("pos", as_batch(None).column(2).clone())];
    write_stream(&dir.join("flat.arrow"), &RecordBatch::try_from_iter(columns).unwrap());
    let error = RowReader::open(&dir.join("flat.arrow")).unwrap_err();
    assert!(
        error.to_string().contains("flat.arrow: \"pos\" is of type Utf8View: a list of strings is expected"),
        "{error}"
    );
}

#[test]
fn files_that_are_evidently_something_else_are_refused_whole_also_when_skipping() {
    let dir = tempfile::tempdir().unwrap();
    let row = r#"{"query": "river", "pos": ["stone"]}"#;
    for (name, content, expected) in [
        ("array.json", format!("[{row}, {row}]"), "array.json:1: a JSON array"),
        ("lfs.parquet", "version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n".into(), "git lfs pull"),
        ("lfs.jsonl.gz", "version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n".into(), "git lfs pull"),
        ("cr.jsonl", format!("{row}\r{row}\r"), "CR alone"),
        (
            "other.jsonl",
            "{\"anchor\": \"river\"}\n".into(),
            "other.jsonl:1: \"query\" is missing among the keys \"anchor\"",
        ),
        ("empty.jsonl", String::new(), "empty.jsonl, an empty file"),
    ] {
        let path = dir.path().join(name);
        fs::write(&path, content).unwrap();
        let error = prepared(dir.path(), "store", path, OnError::Skip).unwrap_err();
        assert!(error.to_string().contains(expected), "{name}: {error}");
        assert_eq!(error.exit_code(), ExitCode::Data, "{name}");
    }
}

#[test]
fn what_is_in_the_rows_and_not_used_is_told() {
    let dir = tempfile::tempdir().unwrap();
    let lines = [
        r#"{"query": "river", "pos": ["stone"], "pos_scores": [1], "score": 3}"#,
        r#"{"query": "water", "pos": ["stone"], "prmpt": "over "}"#,
        r#"{"query": "under", "pos": ["stone"], "pos_scores": [1]}"#,
    ];
    fs::write(dir.path().join("rows.jsonl"), lines.join("\n")).unwrap();
    let report = prepared(dir.path(), "store", dir.path().join("rows.jsonl"), OnError::Stop).unwrap();
    assert_eq!(report.manifest.datasets[0].num_unscored, Some(1));
    let [near, scores] = report.warnings.as_slice() else { panic!("{:?}", report.warnings) };
    assert!(
        near.contains("1 row has a key \"prmpt\", which is ignored: perhaps \"prompt\"")
            && near.contains("rows.jsonl:2"),
        "{near}"
    );
    assert!(scores.contains("1 of 3 rows lack teacher scores"), "{scores}");
}

/// As with lines: a column is told of by the rows that lack ours, and is refused if no row has ours.
#[test]
fn columns_that_are_nearly_ours_are_told_or_refused() {
    let dir = tempfile::tempdir().unwrap();
    let batch = as_batch(None);
    let column = |name: &str| batch.column_by_name(name).unwrap().clone();
    let with = |columns: &[(&str, &str)]| {
        let path = dir.path().join("rows.parquet");
        let common = ["query", "pos"].map(|name| (name, column(name)));
        let more = columns.iter().map(|(name, like)| (*name, column(like)));
        let batch = RecordBatch::try_from_iter(common.into_iter().chain(more)).unwrap();
        write_parquet(&path, &batch, Compression::SNAPPY);
        let store = format!("store-{}", columns[0].0);
        prepared(dir.path(), &store, path, OnError::Stop)
    };
    for (columns, meant) in [(&[("neg_list", "neg")][..], "neg"), (&[("scores_pos", "pos_scores")], "pos_scores")] {
        let error = with(columns).unwrap_err().to_string();
        assert!(error.contains(&format!("{:?} would be ignored, and {meant:?} is missing", columns[0].0)), "{error}");
    }
    // A third of the rows have no negatives, and these have a positive each under the other name.
    let report = with(&[("neg", "neg"), ("mined_negatives", "pos"), ("negative_ids", "pos")]).unwrap();
    let expected = "100 rows have a key \"mined_negatives\", which is ignored: perhaps \"neg\" is meant (";
    assert!(report.warnings.len() == 1 && report.warnings[0].contains(expected), "{:?}", report.warnings);
    assert!(report.warnings[0].ends_with("rows.parquet: row 1)"), "{:?}", report.warnings);
    let report = with(&[("ce_scores", "pos_scores")]).unwrap();
    let expected = "300 rows have a key \"ce_scores\", which is ignored: perhaps \"pos_scores\" is meant";
    assert!(report.warnings.iter().any(|warning| warning.contains(expected)), "{:?}", report.warnings);
}

#[test]
fn a_type_that_nobody_knows_is_told_by_file() {
    let dir = tempfile::tempdir().unwrap();
    let row = |kind: &str| format!("{{\"query\": \"river\", \"pos\": [\"stone\"], \"type\": {kind:?}}}\n");
    let prepare_rows = |name: &str, kind: &str| {
        let path = dir.path().join(format!("{name}.jsonl"));
        fs::write(&path, row(kind).repeat(3)).unwrap();
        prepared(dir.path(), name, path, OnError::Stop)
    };
    let report = prepare_rows("unknown", "clustering").unwrap();
    let [warning] = report.warnings.as_slice() else { panic!("{:?}", report.warnings) };
    assert!(warning.starts_with("data set rows: 3 rows have the type \"clustering\", which is not known"), "{warning}");
    assert!(warning.contains("perhaps \"symmetric_clustering\"") && warning.ends_with("unknown.jsonl)"), "{warning}");
    assert_eq!(prepare_rows("known", "retrieval").unwrap().warnings, [""; 0]);
    let error = prepare_rows("slip", "symmetric_clas").unwrap_err();
    assert!(error.to_string().contains("slip.jsonl:1: \"type\" is \"symmetric_clas\", which is not known"), "{error}");
    assert_eq!(error.exit_code(), ExitCode::Data);
}

#[test]
fn a_type_that_only_some_rows_have_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let row = |kind: &str| format!("{{\"query\": \"river\", \"pos\": [\"stone\"]{kind}}}\n");
    let (typed, untyped) = (row(", \"type\": \"symmetric_sts\""), row(""));
    for (name, rows, expected) in [
        ("later", [&untyped, &typed], "later.jsonl:2: \"type\" is \"symmetric_sts\", and the rows before have none"),
        ("earlier", [&typed, &untyped], "earlier.jsonl:2: has no \"type\", and the rows before have \"symmetric_sts\""),
    ] {
        let path = dir.path().join(format!("{name}.jsonl"));
        fs::write(&path, rows.map(String::as_str).concat()).unwrap();
        let error = prepared(dir.path(), name, path, OnError::Stop).unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
    }
}
