//! Texts alone, from files to rows: cut, split or packed, whatever the format, and what is no text is said.

#![allow(clippy::unwrap_used)]

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow_array::{ArrayRef, Int64Array, RecordBatch, StringArray};
use arrow_ipc::writer::{FileWriter, StreamWriter};
use parquet::arrow::ArrowWriter;
use proptest::prelude::*;
use tercet_configs::ExitCode;
use tercet_sampler::{
    Holds, Long, OnError, PrepareError, PrepareInput, PrepareOptions, PrepareReport, Store, TextOptions, TextTokenizer,
    must_be_texts, prepare,
};

use crate::word_tokenizer::{WORDS, write};

const EOS: u32 = 2;

fn options(dir: &Path, paths: &[PathBuf], texts: TextOptions) -> PrepareOptions {
    PrepareOptions {
        tokenizer: write(dir),
        inputs: vec![PrepareInput { name: "en".into(), holds: Holds::Texts, paths: paths.to_vec() }],
        out: dir.join("store"),
        query_max_len: 512,
        passage_max_len: 8192,
        texts,
        on_error: OnError::Stop,
        drop_duplicates: false,
        rows_per_shard: 1000,
    }
}

fn up_to(max_len: usize) -> TextOptions {
    TextOptions { max_len, ..TextOptions::default() }
}

fn file(dir: &Path, name: &str, lines: &[&str]) -> PathBuf {
    let path = dir.join(name);
    fs::write(&path, lines.join("\n")).unwrap();
    path
}

fn run(options: &PrepareOptions) -> Result<PrepareReport, PrepareError> {
    prepare(options, &mut |_| {})
}

/// The rows of a store's first data set, each of which is a text alone.
fn rows(dir: &Path) -> Vec<Vec<u32>> {
    let store = Store::open(dir).unwrap();
    let row = |i| {
        let row = store.row(0, i).unwrap();
        assert_eq!((row.num_pos(), row.num_neg()), (0, 0));
        row.query().to_vec()
    };
    (0..store.dataset(0).num_rows).map(row).collect()
}

/// What is prepared of one file with these lines.
fn rows_of(name: &str, lines: &[&str], texts: TextOptions) -> Vec<Vec<u32>> {
    let dir = tempfile::tempdir().unwrap();
    let options = options(dir.path(), &[file(dir.path(), name, lines)], texts);
    run(&options).unwrap();
    rows(&options.out)
}

fn assert_refused(options: &PrepareOptions, message: &str, exit_code: ExitCode) {
    let error = run(options).unwrap_err();
    assert!(error.to_string().contains(message), "{error}\nexpected: {message}");
    assert_eq!(error.exit_code(), exit_code);
    assert!(!options.out.exists(), "nothing is left behind");
}

#[test]
fn all_formats_give_the_same_rows() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    let texts: Vec<String> = (0..200).map(|i| WORDS[i % 3..=i % 5 + 3].join(" ")).collect();
    let objects: String =
        texts.iter().map(|text| format!("{}\n", serde_json::json!({"id": 1, "text": text}))).collect();
    let plain = texts.join("\n");
    let column: ArrayRef = Arc::new(StringArray::from(texts.clone()));
    let other: ArrayRef = Arc::new(Int64Array::from_iter_values(0..200));
    let batch = RecordBatch::try_from_iter([("id", other), ("text", column)]).unwrap();
    let gzipped = |bytes: &str| {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
        std::io::Write::write_all(&mut encoder, bytes.as_bytes()).unwrap();
        encoder.finish().unwrap()
    };
    fs::write(dir.join("a.jsonl"), &objects).unwrap();
    fs::write(dir.join("a.json.gz"), gzipped(&objects)).unwrap();
    fs::write(dir.join("a.jsonl.zst"), zstd::encode_all(objects.as_bytes(), 3).unwrap()).unwrap();
    fs::write(dir.join("a.txt"), plain.replace('\n', "\r\n \n\u{3000}\n")).unwrap();
    fs::write(dir.join("part-0.gz"), gzipped(&plain)).unwrap();
    fs::write(dir.join("a.txt.zst"), zstd::encode_all(plain.as_bytes(), 3).unwrap()).unwrap();
    let mut parquet = ArrowWriter::try_new(File::create(dir.join("a.parquet")).unwrap(), batch.schema(), None).unwrap();
    parquet.write(&batch).unwrap();
    parquet.close().unwrap();
    let mut arrow = FileWriter::try_new(File::create(dir.join("a.arrow")).unwrap(), &batch.schema()).unwrap();
    arrow.write(&batch).unwrap();
    arrow.finish().unwrap();
    fs::create_dir(dir.join("saved")).unwrap();
    let stream = File::create(dir.join("saved/data-00000-of-00001.arrow")).unwrap();
    let mut stream = StreamWriter::try_new(stream, &batch.schema()).unwrap();
    stream.write(&batch).unwrap();
    stream.finish().unwrap();
    fs::write(dir.join("saved/state.json"), r#"{"_data_files": [{"filename": "data-00000-of-00001.arrow"}]}"#).unwrap();

    let tokenizer = TextTokenizer::load(&write(dir)).unwrap();
    let expected: Vec<Vec<u32>> = texts.iter().map(|text| tokenizer.encode_content(text).unwrap()).collect();
    for name in
        ["a.jsonl", "a.json.gz", "a.jsonl.zst", "a.txt", "part-0.gz", "a.txt.zst", "a.parquet", "a.arrow", "saved"]
    {
        let options = PrepareOptions {
            out: dir.join(format!("store-{name}")),
            ..options(dir, &[dir.join(name)], TextOptions::default())
        };
        let report = run(&options).unwrap();
        assert_eq!(rows(&options.out), expected, "{name}");
        let dataset = &report.manifest.datasets[0];
        assert_eq!((dataset.holds, dataset.num_texts(), dataset.has_scores), (Holds::Texts, Some(200), false));
        assert_eq!((report.manifest.text_max_len, report.warnings), (Some(8192), vec![]), "{name}");
    }
}

#[test]
fn a_long_text_is_cut_or_split() {
    let lines = ["river stone bridge water under", "river stone bridge", "over"];
    assert_eq!(rows_of("a.txt", &lines, up_to(5)), [vec![4, 5, 6], vec![4, 5, 6], vec![11]]);
    let split = TextOptions { long: Long::Split, ..up_to(5) };
    assert_eq!(rows_of("a.txt", &lines, split), [vec![4, 5, 6], vec![7, 8], vec![4, 5, 6], vec![11]]);
}

#[test]
fn texts_are_packed_with_an_eos_between_two_and_none_is_torn() {
    let lines = ["river stone", "bridge", "water under", "over", "river stone bridge water under"];
    let pack = TextOptions { pack: true, ..up_to(7) };
    // Rows of 5: river stone </s> bridge is 4, and water under does not fit.
    assert_eq!(rows_of("a.txt", &lines, pack), [vec![4, 5, EOS, 6], vec![7, 8, EOS, 11], vec![4, 5, 6, 7, 8]]);
    // The end of a split text is packed as a text is.
    let both = TextOptions { long: Long::Split, ..pack };
    let lines = ["river stone bridge water under over river", "stone", "bridge"];
    assert_eq!(rows_of("a.txt", &lines, both), [vec![4, 5, 6, 7, 8], vec![11, 4, EOS, 5], vec![6]]);
}

#[test]
fn files_languages_and_texts_are_counted_in_packed_rows() {
    let dir = tempfile::tempdir().unwrap();
    let text = |text: &str, lang: &str| serde_json::json!({"text": text, "language": lang}).to_string();
    let a = file(dir.path(), "a.jsonl", &[&text("river stone", "en"), &text("bridge", "de")]);
    let b = file(dir.path(), "b.jsonl", &[&text("über", "de"), &text("橋 over water", "ja")]);
    let pack = TextOptions { pack: true, ..up_to(9) };
    let report = run(&options(dir.path(), &[a, b], pack)).unwrap();
    assert_eq!(rows(&dir.path().join("store")), [vec![4, 5, EOS, 6, EOS, 9], vec![10, 11, 7]]);
    let dataset = &report.manifest.datasets[0];
    let figures = dataset.sources.iter().map(|source| (source.rows, source.texts)).collect::<Vec<_>>();
    assert_eq!(figures, [(1, Some(2)), (1, Some(2))]);
    assert_eq!((report.num_rows, dataset.num_texts(), report.num_tokens), (2, Some(4), 9));
    // Two tokens of each language: the first by name.
    let languages: Vec<_> = dataset.languages.iter().map(|(name, l)| (name.as_str(), l.num_rows)).collect();
    assert_eq!(languages, [("de", 1), ("ja", 1)]);
    assert_eq!(report.warnings, [""; 0]);
}

#[test]
fn what_is_no_text_is_said_and_can_be_skipped() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    let prepared = |name: &str, lines: &[&str]| options(dir, &[file(dir, name, lines)], up_to(5));
    let good = r#"{"text": "river"}"#;
    let bad = [
        (
            r#"{"content": "river"}"#,
            "\"text\" is missing among the keys \"content\"; perhaps \"content\" is what is meant",
        ),
        (r#"{"text": "  "}"#, "\"text\" has no text"),
        (
            r#"{"text": "река мост"}"#,
            "\"text\" has nothing to predict: the tokenizer makes only unknown or special tokens",
        ),
        (r#"{"text": "<s> река </s>"}"#, "\"text\" has nothing to predict"),
        // What is left of it when it is cut.
        (r#"{"text": "река мост и вода river"}"#, "\"text\" has nothing to predict"),
        (r#"{"text": 3}"#, "\"text\" is a number: a string is expected"),
        ("river", "not a JSON object"),
    ];
    for (line, reason) in bad {
        assert_refused(&prepared("a.jsonl", &[good, line]), &format!("a.jsonl:2: {reason}"), ExitCode::Data);
    }
    let lines: Vec<&str> = bad.iter().map(|(line, _)| *line).chain([good]).collect();
    let report = run(&PrepareOptions { on_error: OnError::Skip, ..prepared("a.jsonl", &lines) }).unwrap();
    assert_eq!((report.num_rows, report.num_skipped, rows(&dir.join("store"))), (1, 7, vec![vec![4]]));
    fs::remove_dir_all(dir.join("store")).unwrap();

    let zero_width = prepared("a.txt", &["river", "мост"]);
    assert_refused(&zero_width, "a.txt:2: \"text\" has nothing to predict", ExitCode::Data);
    let objects = prepared("a.txt", &[good]);
    assert_refused(&objects, "a.txt:1: its lines are objects with a \"text\"", ExitCode::Data);
    for name in ["e.csv", "e.TSV", "e.tab"] {
        let table = prepared(name, &["id,text", "1,river"]);
        assert_refused(&table, &format!("{name}:1: "), ExitCode::Data);
    }
    assert_refused(&prepared("e.csv", &["river"]), "a table, by its name (.csv)", ExitCode::Data);
    assert!(must_be_texts(Path::new("e.tsv.gz")).is_err() && must_be_texts(Path::new("csv")).is_ok());
    let not_text = dir.join("b.txt");
    fs::write(&not_text, b"river\ncaf\xe9\n").unwrap();
    assert_refused(&options(dir, &[not_text], up_to(5)), "b.txt:2: not UTF-8", ExitCode::Data);
}

#[test]
fn columns_without_a_text_are_refused_as_a_whole() {
    let dir = tempfile::tempdir().unwrap();
    let write = |name: &str, column: ArrayRef| {
        let path = dir.path().join("a.parquet");
        let batch = RecordBatch::try_from_iter([(name, column)]).unwrap();
        let mut writer = ArrowWriter::try_new(File::create(&path).unwrap(), batch.schema(), None).unwrap();
        writer.write(&batch).unwrap();
        writer.close().unwrap();
        options(dir.path(), &[path], up_to(5))
    };
    let texts: ArrayRef = Arc::new(StringArray::from(vec!["river"]));
    let reason = "a.parquet: \"text\" is missing among the columns \"document\"; perhaps \"document\" is what is meant";
    assert_refused(&write("document", texts), reason, ExitCode::Data);
    let numbers: ArrayRef = Arc::new(Int64Array::from(vec![1]));
    assert_refused(&write("text", numbers), "\"text\" is of type Int64: a string is expected", ExitCode::Data);
    let nulls: ArrayRef = Arc::new(StringArray::from(vec![Some("river"), None]));
    assert_refused(&write("text", nulls), "a.parquet: row 2: \"text\" is missing: it is null", ExitCode::Data);
}

#[test]
fn a_part_with_nothing_to_predict_is_left_out_and_counted() {
    let dir = tempfile::tempdir().unwrap();
    let split = TextOptions { long: Long::Split, ..up_to(4) };
    let path = file(dir.path(), "a.txt", &["река мост river stone вода и bridge", "over"]);
    let report = run(&options(dir.path(), &[path], split)).unwrap();
    assert_eq!(rows(&dir.path().join("store")), [vec![4, 5], vec![6], vec![11]]);
    let [warning] = report.warnings.as_slice() else { panic!("{:?}", report.warnings) };
    assert!(warning.contains("data set en: 2 parts of split texts are left out"), "{warning}");
}

#[test]
fn a_store_is_of_one_kind() {
    let dir = tempfile::tempdir().unwrap();
    let texts = file(dir.path(), "a.txt", &["river"]);
    let mut options = options(dir.path(), &[texts], up_to(5));
    let pairs = file(dir.path(), "b.jsonl", &[r#"{"query": "river", "pos": ["stone"]}"#]);
    options.inputs.push(PrepareInput { name: "pairs".into(), holds: Holds::Pairs, paths: vec![pairs] });
    assert_refused(
        &options,
        "data set pairs is of rows of queries and passages, and en of texts alone",
        ExitCode::Usage,
    );
    options.inputs.remove(0);
    let manifest = run(&options).unwrap().manifest;
    assert_eq!((manifest.text_max_len, manifest.datasets[0].holds), (None, Holds::Pairs));
    fs::remove_dir_all(&options.out).unwrap();
    assert_refused(&PrepareOptions { texts: up_to(2), ..options }, "text_max_len is 2", ExitCode::Usage);
}

#[test]
fn equal_texts_are_duplicates() {
    let dir = tempfile::tempdir().unwrap();
    let path = file(dir.path(), "a.txt", &["river", "stone", "river", "river stone"]);
    let options = PrepareOptions { drop_duplicates: true, ..options(dir.path(), &[path], up_to(5)) };
    let dataset = run(&options).unwrap().manifest.datasets.remove(0);
    assert_eq!((dataset.num_rows, dataset.num_duplicates, dataset.num_ordered()), (4, 1, 3));
}

/// Texts as rows, written down plainly.
fn expected(contents: &[Vec<u32>], options: TextOptions) -> Vec<Vec<u32>> {
    let len = options.max_len - 2;
    let mut rows: Vec<Vec<u32>> = Vec::new();
    let mut is_open = false;
    for content in contents {
        let most = if options.long == Long::Cut { 1 } else { usize::MAX };
        for part in content.chunks(len).take(most).filter(|part| part.iter().any(|token| *token > 3)) {
            match rows.last_mut().filter(|row| options.pack && is_open && row.len() + 1 + part.len() <= len) {
                Some(row) => row.extend([EOS].iter().chain(part)),
                None => rows.push(part.to_vec()),
            }
            is_open = true;
        }
    }
    rows
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    #[test]
    fn rows_are_what_the_rules_say(
        texts in prop::collection::vec(prop::collection::vec(0..WORDS.len() + 1, 1..20), 1..60),
        max_len in 3..14_usize,
        (split, pack) in any::<(bool, bool)>(),
        rows_per_shard in 1..9_u64,
        cut_at in any::<prop::sample::Index>(),
    ) {
        let dir = tempfile::tempdir().unwrap();
        let dir = dir.path();
        let word = |i: &usize| WORDS.get(*i).copied().unwrap_or("мост");
        let lines: Vec<String> = texts.iter().map(|words| words.iter().map(word).collect::<Vec<_>>().join(" ")).collect();
        let (first, second) = lines.split_at(cut_at.index(lines.len()));
        let paths = [("a.txt", first), ("b.txt", second)].map(|(name, lines)| {
            file(dir, name, &lines.iter().map(String::as_str).collect::<Vec<_>>())
        });
        let long = if split { Long::Split } else { Long::Cut };
        let texts = TextOptions { max_len, long, pack };
        let base = options(dir, &paths, texts);
        let options = PrepareOptions { rows_per_shard, on_error: OnError::Skip, ..base };
        let tokenizer = TextTokenizer::load(&options.tokenizer).unwrap();
        let contents: Vec<Vec<u32>> = lines.iter().map(|line| tokenizer.encode_content(line).unwrap()).collect();
        let expected = expected(&contents, texts);
        match run(&options) {
            Err(error) => prop_assert!(expected.is_empty(), "{}", error),
            Ok(report) => {
                let found = rows(&options.out);
                prop_assert_eq!(&found, &expected);
                prop_assert!(found.iter().all(|row| row.len() + 2 <= max_len));
                let dataset = &report.manifest.datasets[0];
                let sources = &dataset.sources;
                prop_assert_eq!(sources.iter().map(|source| source.rows).sum::<u64>(), expected.len() as u64);
                prop_assert_eq!(dataset.num_texts().unwrap() + report.num_skipped, lines.len() as u64);
                let is_full = |shard: &tercet_sampler::ShardMeta| shard.num_rows == rows_per_shard;
                prop_assert!(dataset.shards.iter().rev().skip(1).all(is_full));
            }
        }
    }
}
