//! From text to store: the store holds the tokenizer's tokens, and mistakes are reported, counted and listed.

#![allow(clippy::unwrap_used)]

use std::fs;
use std::path::{Path, PathBuf};

use proptest::prelude::*;
use tercet_configs::ExitCode;
use tercet_sampler::{
    Holds, OnError, PrepareError, PrepareInput, PrepareOptions, PrepareReport, SpecialTokens, Store, TextOptions,
    TextTokenizer, prepare,
};

const GOOD: &str = r#"{"query": "river", "pos": ["stone bridge"], "neg": ["water"], "type": "normal"}"#;

fn options(dir: &Path, inputs: &[(&str, &[PathBuf])]) -> PrepareOptions {
    PrepareOptions {
        tokenizer: crate::word_tokenizer::write(dir),
        inputs: inputs
            .iter()
            .map(|(name, paths)| PrepareInput { name: name.to_string(), holds: Holds::Pairs, paths: paths.to_vec() })
            .collect(),
        out: dir.join("store"),
        query_max_len: 6,
        passage_max_len: 9,
        texts: TextOptions::default(),
        on_error: OnError::Stop,
        drop_duplicates: false,
        rows_per_shard: 1000,
    }
}

fn file(dir: &Path, name: &str, lines: &[&str]) -> PathBuf {
    let path = dir.join(name);
    fs::write(&path, lines.join("\n")).unwrap();
    path
}

fn run(options: &PrepareOptions) -> Result<PrepareReport, PrepareError> {
    prepare(options, &mut |_| {})
}

/// Asserts that preparing fails with this in the message and this exit code, and leaves no store.
fn assert_refused(options: &PrepareOptions, message: &str, exit_code: ExitCode) {
    let error = run(options).unwrap_err();
    assert!(error.to_string().contains(message), "{error}\nexpected: {message}");
    assert_eq!(error.exit_code(), exit_code);
    assert!(!options.out.exists(), "nothing is left behind");
}

#[test]
fn texts_that_the_tokenizer_does_not_know_are_counted() {
    let dir = tempfile::tempdir().unwrap();
    let foreign = r#"{"query": "река", "pos": ["каменный мост"], "neg": ["вода", "мост over"]}"#;
    let path = file(dir.path(), "a.jsonl", &[GOOD, foreign]);
    let report = run(&options(dir.path(), &[("a", std::slice::from_ref(&path))])).unwrap();
    let [warning] = report.warnings.as_slice() else { panic!("{:?}", report.warnings) };
    assert!(warning.contains("data set a: 3 of 7 texts (42.9 %) are nothing but unknown tokens"), "{warning}");
    assert!(warning.contains("(first in ") && warning.contains("a.jsonl:2)"), "{warning}");
    let known = PrepareOptions {
        out: dir.path().join("known"),
        ..options(dir.path(), &[("a", &[file(dir.path(), "b.jsonl", &[GOOD])])])
    };
    assert_eq!(run(&known).unwrap().warnings, [""; 0]);
}

#[test]
fn several_files_and_data_sets_keep_their_order() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    let scored = r#"{"query": "橋", "pos": ["over"], "pos_scores": [0.5], "prompt": "under water "}"#;
    let a = file(dir, "a.jsonl", &[GOOD, "", scored]);
    let b = dir.join("b.jsonl.zst");
    fs::write(&b, zstd::encode_all(scored.as_bytes(), 3).unwrap()).unwrap();
    let report =
        run(&options(dir, &[("first", &[b.clone(), a.clone()]), ("second", std::slice::from_ref(&b))])).unwrap();
    assert_eq!((report.num_rows, report.num_skipped, report.skipped_list), (4, 0, None));
    // Each scored row has 4 tokens (3 of the query with its prompt, 1 of the passage), and so has the other row.
    assert_eq!((report.num_tokens, report.num_texts_cut), (16, 0));

    let store = Store::open(&dir.join("store")).unwrap();
    assert_eq!(*store.manifest(), report.manifest);
    let first = store.dataset(0);
    assert_eq!(first.kind.as_deref(), Some("normal"));
    assert!(first.sources.iter().map(|source| (source.path.clone(), source.rows)).eq([(b, 1), (a, 2)]));
    assert!(!first.has_scores && store.dataset(1).has_scores);
    let rows: Vec<_> = (0..3).map(|i| store.row(0, i).unwrap()).collect();
    // "under water " + "橋"
    assert_eq!((rows[0].query(), rows[0].pos(0), rows[0].pos_score(0)), (&[8, 7, 10][..], &[11][..], Some(0.5)));
    assert_eq!((rows[1].query(), rows[1].pos(0), rows[1].neg(0)), (&[4][..], &[5, 6][..], &[7][..]));
    assert_eq!(rows[2].query(), rows[0].query());
}

#[test]
fn a_bad_line_stops_and_the_mended_file_can_be_prepared_at_once() {
    let dir = tempfile::tempdir().unwrap();
    let path = file(dir.path(), "data.jsonl", &[GOOD, r#"{"query": "river", "pos": []}"#, GOOD]);
    let options = options(dir.path(), &[("en", &[path])]);
    assert_refused(&options, "data.jsonl:2: \"pos\" is empty: a row needs at least one positive", ExitCode::Data);
    file(dir.path(), "data.jsonl", &[GOOD, GOOD]);
    assert_eq!(run(&options).unwrap().num_rows, 2);
}

#[test]
fn skipped_lines_are_listed_and_counted_by_file() {
    let dir = tempfile::tempdir().unwrap();
    let other_type = GOOD.replace("normal", "symmetric_sts");
    let a = file(dir.path(), "a.jsonl", &[GOOD, "{", GOOD, &other_type]);
    let b = file(dir.path(), "b.jsonl", &[r#"{"query": "river"}"#, GOOD]);
    let options = PrepareOptions { on_error: OnError::Skip, ..options(dir.path(), &[("en", &[a.clone(), b.clone()])]) };
    let report = run(&options).unwrap();
    assert_eq!((report.num_rows, report.num_skipped), (3, 3));
    let sources = &report.manifest.datasets[0].sources;
    assert_eq!(sources.iter().map(|source| (source.rows, source.skipped)).collect::<Vec<_>>(), [(2, 2), (1, 1)]);

    let list = fs::read_to_string(report.skipped_list.unwrap()).unwrap();
    let list: Vec<serde_json::Value> = list.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let places: Vec<_> = list.iter().map(|entry| (entry["file"].as_str().unwrap(), entry["line"].as_u64())).collect();
    let (a, b) = (a.to_str().unwrap(), b.to_str().unwrap());
    assert_eq!(places, [(a, Some(2)), (a, Some(4)), (b, Some(1))]);
    for (entry, reason) in list.iter().zip(["not valid JSON", "a data set has one type", "\"pos\" is missing"]) {
        assert!(entry["reason"].as_str().unwrap().contains(reason), "{entry}");
    }
    let mut left: Vec<_> =
        fs::read_dir(&options.out).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    left.sort();
    assert_eq!(left, ["en", "manifest.json", "skipped.jsonl"]);
}

#[test]
fn a_truncated_file_is_an_error_whatever_is_skipped() {
    let dir = tempfile::tempdir().unwrap();
    let lines: String =
        (0..2000).map(|i| GOOD.replace("\"river\"", &format!("\"river {}\"", i * 7919)) + "\n").collect();
    let packed = zstd::encode_all(lines.as_bytes(), 3).unwrap();
    let path = dir.path().join("cut.jsonl.zst");
    fs::write(&path, &packed[..packed.len() / 2]).unwrap();
    let options = PrepareOptions { on_error: OnError::Skip, ..options(dir.path(), &[("en", &[path])]) };
    assert_refused(&options, "cut.jsonl.zst: cannot be read beyond line ", ExitCode::Data);
}

#[test]
fn mistakes_are_found_before_the_work() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    let good = || vec![file(dir, "a.jsonl", &[GOOD])];
    let (a, missing) = (good(), [dir.join("missing.jsonl")]);
    for (inputs, message) in [
        (vec![], "nothing to prepare"),
        (vec![("en", &[][..])], "data set en has no files"),
        (vec![("en", &a[..]), ("en", &a[..])], "data set \"en\": is named twice"),
        (vec![("../en", &a[..])], "\"../en\" cannot be a name"),
        (vec![("en", &a[..]), ("de", &missing[..])], "missing.jsonl: No such file"),
    ] {
        assert_refused(&options(dir, &inputs), message, ExitCode::Usage);
    }
    let base = options(dir, &[("en", &a)]);
    assert_refused(&PrepareOptions { query_max_len: 2, ..base.clone() }, "query_max_len is 2", ExitCode::Usage);
    assert_refused(&PrepareOptions { rows_per_shard: 0, ..base.clone() }, "rows_per_shard is 0", ExitCode::Usage);
    assert_refused(&PrepareOptions { tokenizer: "/nonexistent".into(), ..base }, "/nonexistent", ExitCode::Usage);
}

#[test]
fn duplicates_are_counted_by_language_and_dropped_if_asked() {
    let dir = tempfile::tempdir().unwrap();
    let row = |query: &str, pos: &[&str], neg: &str, lang: &str| {
        serde_json::json!({"query": query, "pos": pos, "neg": [neg], "lang": lang}).to_string()
    };
    let lines = [
        row("river", &["stone", "water"], "over", "en"),
        row("river", &["stone water"], "over", "en"),
        // The negatives and the language differ; the first of the three rows counts.
        row("river", &["stone", "water"], "under", "de"),
        row("river stone", &["water"], "over", "en"),
        row("river", &["stone", "water"], "over", "en"),
        row("river", &["water", "stone"], "over", "en"),
    ];
    let path = file(dir.path(), "a.jsonl", &lines.each_ref().map(String::as_str));
    for (drop_duplicates, expected) in [(false, vec![0, 1, 2, 3, 4, 5]), (true, vec![0, 1, 3, 5])] {
        let options = PrepareOptions {
            drop_duplicates,
            rows_per_shard: 2,
            out: dir.path().join(format!("{drop_duplicates}")),
            ..options(dir.path(), &[("en", std::slice::from_ref(&path))])
        };
        run(&options).unwrap();
        let store = Store::open(&options.out).unwrap();
        let dataset = store.dataset(0);
        assert_eq!((dataset.num_rows, dataset.num_duplicates), (6, 2));
        let by_language = |name: &str| (dataset.languages[name].num_rows, dataset.languages[name].num_duplicates);
        assert_eq!((by_language("en"), by_language("de")), ((5, 1), (1, 1)));
        let mut rows: Vec<u64> = (0..expected.len() as u64).map(|i| store.read(0, i).unwrap().0).collect();
        rows.sort_unstable();
        assert_eq!(rows, expected);
        assert!(store.read(0, expected.len() as u64).is_err());
        assert_eq!(store.num_rows_up_to(0, 100), expected.len() as u64);
    }
}

#[test]
fn a_data_set_without_rows_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let path = file(dir.path(), "a.jsonl", &["", "{}"]);
    let options = PrepareOptions { on_error: OnError::Skip, ..options(dir.path(), &[("en", &[path])]) };
    assert_refused(&options, "data set en: no rows in 1 files (1 lines were skipped)", ExitCode::Data);
}

#[test]
fn a_finished_store_is_never_overwritten() {
    let dir = tempfile::tempdir().unwrap();
    let path = file(dir.path(), "a.jsonl", &[GOOD]);
    let options = options(dir.path(), &[("en", &[path])]);
    run(&options).unwrap();
    let error = run(&options).unwrap_err();
    assert!(error.to_string().contains("holds a token store: nothing is overwritten"), "{error}");
    assert_eq!(error.exit_code(), ExitCode::Usage);
    Store::open(&options.out).unwrap().verify().unwrap();
}

#[test]
fn progress_ascends_to_everything() {
    let dir = tempfile::tempdir().unwrap();
    let lines = vec![GOOD; 10_000];
    let path = file(dir.path(), "a.jsonl", &lines);
    let paths = [path];
    let options = options(dir.path(), &[("en", &paths), ("again", &paths)]);
    let mut seen = Vec::new();
    let report = prepare(&options, &mut |so_far| {
        seen.push((so_far.input_bytes, so_far.rows, so_far.tokens));
        assert!(so_far.input_bytes <= so_far.input_bytes_total);
    })
    .unwrap();
    assert!(seen.is_sorted() && seen.len() > 2, "{seen:?}");
    let total = options.inputs.iter().map(|input| fs::metadata(&input.paths[0]).unwrap().len()).sum();
    assert_eq!(*seen.last().unwrap(), (total, 20_000, report.num_tokens));
}

#[test]
fn the_store_does_not_depend_on_the_number_of_cores() {
    let dir = tempfile::tempdir().unwrap();
    let lines: Vec<String> =
        (0..9000).map(|i| GOOD.replace("water", ["water", "stone water", "under the bridge"][i * 7919 % 3])).collect();
    let path = file(dir.path(), "a.jsonl", &lines.iter().map(String::as_str).collect::<Vec<_>>());
    let base = options(dir.path(), &[("en", &[path])]);
    let manifests = [1, 4].map(|num_threads| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(num_threads).build().unwrap();
        let options = PrepareOptions { out: dir.path().join(format!("store{num_threads}")), ..base.clone() };
        pool.install(|| run(&options)).unwrap().manifest
    });
    // The manifests hold the checksums of all files.
    assert_eq!(manifests[0], manifests[1]);
}

#[derive(Debug, Clone)]
struct TextRow {
    query: String,
    pos: Vec<String>,
    neg: Vec<String>,
    scores: Option<f32>,
}

fn any_text() -> impl Strategy<Value = String> {
    let word = prop_oneof![
        4 => prop::sample::select(&crate::word_tokenizer::WORDS[..]).prop_map(str::to_owned),
        1 => "[a-z\"\\\\é水\u{1f600}]{1,4}",
    ];
    prop::collection::vec(word, 1..14).prop_map(|words| words.join(" "))
}

fn any_row() -> impl Strategy<Value = TextRow> {
    let texts = |range| prop::collection::vec(any_text(), range);
    (any_text(), texts(1..4), texts(0..4), prop::option::of(-1e3_f32..1e3))
        .prop_map(|(query, pos, neg, scores)| TextRow { query, pos, neg, scores })
}

fn as_json(row: &TextRow) -> String {
    let mut json = serde_json::json!({"query": row.query, "pos": row.pos, "neg": row.neg});
    if let Some(score) = row.scores {
        json["pos_scores"] = vec![score; row.pos.len()].into();
        json["neg_scores"] = vec![score / 2.0; row.neg.len()].into();
    }
    json.to_string()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    #[test]
    fn the_store_holds_exactly_the_content_cut_to_the_maxima(
        rows in prop::collection::vec(any_row(), 1..40),
        rows_per_shard in 1_u64..12,
    ) {
        let dir = tempfile::tempdir().unwrap();
        let lines: Vec<String> = rows.iter().map(as_json).collect();
        let path = file(dir.path(), "a.jsonl", &lines.iter().map(String::as_str).collect::<Vec<_>>());
        let options = PrepareOptions { rows_per_shard, ..options(dir.path(), &[("en", &[path])]) };
        let report = run(&options).unwrap();

        let tokenizer = TextTokenizer::load(&options.tokenizer).unwrap();
        let mut num_cut = 0;
        let mut cut = |text: &String, max_len: usize| {
            let mut content = tokenizer.encode_content(text).unwrap();
            num_cut += u64::from(content.len() > max_len - 2);
            content.truncate(max_len - 2);
            content
        };
        let store = Store::open(&options.out).unwrap();
        prop_assert_eq!(store.dataset(0).num_rows, rows.len() as u64);
        let mut longest = Vec::new();
        for (i, row) in rows.iter().enumerate() {
            let stored = store.row(0, i as u64).unwrap();
            prop_assert_eq!(stored.query(), cut(&row.query, options.query_max_len));
            prop_assert_eq!((stored.num_pos(), stored.num_neg()), (row.pos.len(), row.neg.len()));
            for (j, text) in row.pos.iter().enumerate() {
                prop_assert_eq!(stored.pos(j), cut(text, options.passage_max_len));
                prop_assert_eq!(stored.pos_score(j), row.scores);
            }
            for (j, text) in row.neg.iter().enumerate() {
                prop_assert_eq!(stored.neg(j), cut(text, options.passage_max_len));
                prop_assert_eq!(stored.neg_score(j), row.scores.map(|score| score / 2.0));
            }
            let positives = (0..stored.num_pos()).map(|j| stored.pos(j));
            let passages = positives.chain((0..stored.num_neg()).map(|j| stored.neg(j)));
            let lengths = passages.chain([stored.query()]).map(<[u32]>::len);
            longest.push(lengths.max().unwrap() + SpecialTokens::NUM_FRAMING);
        }
        prop_assert_eq!(report.num_texts_cut, num_cut);

        let order: Vec<u64> = (0..rows.len() as u64).map(|position| store.read(0, position).unwrap().0).collect();
        prop_assert!(order.is_sorted_by_key(|&row| longest[row as usize]));
        let mut sorted = order;
        sorted.sort_unstable();
        prop_assert!(sorted.into_iter().eq(0..rows.len() as u64), "every row once");
        for len in 0..12 {
            let expected = longest.iter().filter(|&&longest| longest <= len).count();
            prop_assert_eq!(store.num_rows_up_to(0, len), expected as u64);
        }
    }
}
