//! `tercet curate` as a whole: every pair accounted for, and the same bytes whoever reads what in whatever order.

mod refused;

use serde_json::{Value, json};

use super::Place;

/// A sentence of `len` words that no other number has.
fn words(number: usize, len: usize) -> String {
    (0..len).map(|i| format!("w{}", number * 1000 + i)).collect::<Vec<_>>().join(" ")
}

fn pair(query: &str, passage: &str) -> Value {
    json!({"title": query, "text": passage})
}

/// Two sources of three files with planted duplicates, and a benchmark with two of their texts.
fn scene() -> Place {
    let place = Place::new();
    let lines = |pairs: &[Value]| pairs.iter().map(|pair| format!("{pair}\n")).collect::<String>();
    for file in 0..3 {
        let mut pairs: Vec<Value> =
            (0..20).map(|i| pair(&format!("title {file} {i}"), &words(100 * file + i, 40))).collect();
        // As in the file before it, but for case and blanks.
        pairs.push(pair(&format!("Title {}  3", file.max(1) - 1), &words(100 * (file.max(1) - 1) + 3, 40)));
        // The last word of another passage changed.
        pairs.push(pair("another title", &words(7, 40).replace("w7039", "changed")));
        pairs.push(pair(&format!("nothing {file}"), " "));
        place.write(&format!("raw/a-{file}.jsonl"), lines(&pairs));
        let pairs: Vec<Value> =
            (0..5).map(|i| pair(&format!("b {file} {i}"), &words(1000 + 10 * file + i, 12))).collect();
        place.write(&format!("raw/b-{file}.jsonl"), lines(&pairs));
    }
    place.write("eval/tiny/queries.jsonl", json!({"_id": "q", "text": "b 1 2"}).to_string());
    let document = json!({"_id": "d", "title": "", "text": words(1000, 12).to_uppercase()});
    place.write("eval/tiny/corpus.jsonl", document.to_string());
    place
}

const RECIPE: &str = r#"
[[source]]
name = "a"
kind = "title-body"
files = ["raw/a-*.jsonl"]

[[source]]
name = "b"
kind = "question-answer"
query = "title"
passage = "text"
files = ["raw/b-*.jsonl"]

[duplicates]
against = ["eval/*"]
"#;

/// Everything below the folder but what was asked for.
fn written(place: &Place, out: &str) -> Vec<(String, Vec<u8>)> {
    let root = place.path(out);
    let below = place.names().into_iter().filter_map(|path| {
        let name = path.strip_prefix(&root).ok()?.to_str()?.to_owned();
        (name != "curation.json").then(|| (name, std::fs::read(&path).unwrap()))
    });
    below.collect()
}

#[test]
fn every_pair_is_a_row_or_has_a_reason() {
    let place = scene();
    place.write("curate.toml", RECIPE);
    let said = place.run_well(&["curate", "curate.toml", "--out", "out"]);
    assert!(said.contains("source") && said.contains("exact_duplicate"), "{said}");
    let report: Value = serde_json::from_slice(&std::fs::read(place.path("out/report.json")).unwrap()).unwrap();
    let (a, b) = (&report["sources"]["a"], &report["sources"]["b"]);
    assert_eq!((&a["offered"], &a["kept"]), (&json!(69), &json!(60)), "{a}");
    assert_eq!(a["dropped"], json!({"exact_duplicate": 5, "near_duplicate": 1, "no_passage": 3}));
    assert_eq!((&b["offered"], &b["kept"]), (&json!(15), &json!(13)), "{b}");
    assert_eq!(b["dropped"], json!({"contaminated-tiny": 2}));
    assert_eq!((&report["all"]["offered"], &report["all"]["kept"]), (&json!(84), &json!(73)));

    let rows = place.objects("out/rows/a.jsonl.zst");
    assert_eq!(rows.len(), 60);
    assert_eq!((&rows[0]["query"], &rows[0]["pos"]), (&json!("title 0 0"), &json!([words(0, 40)])));
    assert!(rows.iter().all(|row| row["query"] != "another title"));
    let dropped = place.objects("out/dropped/contaminated-tiny.jsonl");
    let mut queries: Vec<&str> = dropped.iter().map(|sample| sample["query"].as_str().unwrap()).collect();
    queries.sort_unstable();
    assert_eq!(queries, ["b 0 0", "b 1 2"]);
    let ats: Vec<&str> = dropped.iter().map(|sample| sample["at"].as_str().unwrap()).collect();
    assert!(ats.contains(&"raw/b-1.jsonl: row 3 of those that filters kept"), "{ats:?}");
    assert_eq!(dropped[0]["source"], "b");
    assert!(std::fs::read_to_string(place.path("out/report.svg")).unwrap().contains("Rows by language"));
    // Typed again it says the same.
    assert!(place.run_well(&["curate", "curate.toml", "--out", "out"]).contains("is done already"));
}

#[test]
fn lengths_are_told_in_tokens_as_well_where_a_tokenizer_is_named() {
    let place = scene();
    let recipe = format!("tokenizer = \"model\"\n{RECIPE}");
    place.write("curate.toml", &recipe);
    let words = |out| ["curate", "curate.toml", "--out", out];
    place.refuse_run(&words("out"), 2, &["tokenizer: ", "model", "No such file"]);
    assert!(!place.path("out").exists());
    // A token for each word.
    place.write("model/tokenizer.json", tercet_fixtures::word_tokenizer(["title"]).to_string());
    let said = place.run_well(&words("out"));
    assert!(said.contains("characters  tokens"), "{said}");
    let report: Value = serde_json::from_slice(&std::fs::read(place.path("out/report.json")).unwrap()).unwrap();
    let languages = report["sources"]["b"]["languages"].as_object().unwrap();
    let sum = |of: &str, what: &str| {
        let counts = languages.values().filter_map(|language| language[of]["tokens"].pointer(what)?.as_u64());
        counts.sum::<u64>()
    };
    // 13 rows of source b stay, whose passages have 12 words and whose queries have 3.
    assert_eq!((sum("passage", "/tokens"), sum("passage", "/from/12")), (13 * 12, 13));
    assert_eq!((sum("query", "/tokens"), sum("query", "/from/3")), (13 * 3, 13));
    assert!(std::fs::read_to_string(place.path("out/report.svg")).unwrap().contains("Tokens of passages"));
    // Without one nothing else changes.
    place.write("plain.toml", RECIPE);
    place.run_well(&["curate", "plain.toml", "--out", "plain"]);
    let rows = |out: &str| std::fs::read(place.path(&format!("{out}/rows/a.jsonl.zst"))).unwrap();
    assert!(rows("out") == rows("plain"));
    assert!(!String::from_utf8(std::fs::read(place.path("plain/report.json")).unwrap()).unwrap().contains("tokens"));
    // Another tokenizer is another account.
    place.write("model/tokenizer.json", tercet_fixtures::word_tokenizer(["title", "b"]).to_string());
    place.refuse_run(&words("out"), 2, &["another tokenizer"]);
}

#[test]
fn what_is_gone_or_changed_after_the_end_is_told_and_can_be_written_anew() {
    let place = scene();
    place.write("curate.toml", RECIPE);
    let words = ["curate", "curate.toml", "--out", "out"];
    place.run_well(&words);
    let whole = written(&place, "out");
    place.write("out/dropped/contaminated-tiny.jsonl", "cut");
    let mends = "put it back, or remove out/report.json and type the command again";
    place.refuse_run(&words, 2, &["out/dropped/contaminated-tiny.jsonl: has 3 bytes, and had", mends]);
    std::fs::remove_file(place.path("out/dropped/contaminated-tiny.jsonl")).unwrap();
    std::fs::remove_file(place.path("out/rows/a.jsonl.zst")).unwrap();
    place.refuse_run(&words, 2, &["out/dropped/contaminated-tiny.jsonl: is gone", mends]);
    std::fs::remove_file(place.path("out/report.json")).unwrap();
    place.run_well(&words);
    assert_eq!(written(&place, "out"), whole);
    place.run_well(&words);
}

#[test]
fn the_same_bytes_come_out_whoever_reads_what() {
    let place = scene();
    place.write("curate.toml", RECIPE);
    place.run_well(&["curate", "curate.toml", "--out", "out", "-j", "1"]);
    let whole = written(&place, "out");
    assert!(whole.len() > 7, "{:?}", whole.iter().map(|(name, _)| name).collect::<Vec<_>>());
    place.run_well(&["curate", "curate.toml", "--out", "five", "-j", "5"]);
    assert_eq!(written(&place, "five"), whole);
    // In shares, the last one first, and one of them twice.
    for share in ["1/2", "0/2", "1/2"] {
        let said = place.run_well(&["curate", "curate.toml", "--out", "shared", "--share", share]);
        assert!(said.contains("is read; when all are: tercet curate curate.toml --out shared"), "{said}");
        assert!(!place.path("shared/report.json").exists());
    }
    assert!(
        place.run_well(&["curate", "curate.toml", "--out", "shared", "--share", "2/3"]).contains("nothing falls to")
    );
    place.run_well(&["curate", "curate.toml", "--out", "shared"]);
    assert_eq!(written(&place, "shared"), whole);
    // Named one by one, backwards, one of them twice.
    let named = r#"files = ["raw/a-2.jsonl", "raw/a-1.jsonl", "raw/a-0.jsonl", "raw/a-2.jsonl"]"#;
    place.write("named.toml", RECIPE.replace(r#"files = ["raw/a-*.jsonl"]"#, named));
    place.run_well(&["curate", "named.toml", "--out", "named"]);
    assert_eq!(written(&place, "named"), whole);
}

#[test]
fn a_recipe_is_tried_on_the_first_records() {
    let place = scene();
    place.write("curate.toml", RECIPE);
    place.run_well(&["curate", "curate.toml", "--out", "out", "--first", "4"]);
    assert_eq!(place.lines("out/rows/a.jsonl.zst").len(), 12);
    place.refuse_run(&["curate", "curate.toml", "--out", "out"], 2, &["was begun with another --first"]);
}

#[test]
fn a_file_that_is_mended_is_all_that_is_read_again() {
    let place = scene();
    place.write("curate.toml", RECIPE);
    let words = |out| ["curate", "curate.toml", "--out", out, "-j", "1"];
    let right = std::fs::read(place.path("raw/b-1.jsonl")).unwrap();
    let with_a_bad_line = [&right[..], b"{\n"].concat();
    place.write("raw/b-1.jsonl", &with_a_bad_line);
    place.refuse_run(&words("out"), 4, &["3 of 6 files read", "raw/b-1.jsonl:6"]);
    // Another recipe is refused still.
    place.write("other.toml", RECIPE.replace("eval/*", "eval/tiny"));
    place.refuse_run(&["curate", "other.toml", "--out", "out"], 2, &["was begun with another recipe"]);
    place.write("raw/b-1.jsonl", &right);
    let said = place.run_well(&words("out"));
    assert!(said.contains("what was read of 3 of 6 files stays, 3 are to be read"), "{said}");
    assert!(said.contains("pairs of b ") && !said.contains("pairs of a "), "{said}");
    place.run_well(&words("fresh"));
    assert!(written(&place, "out") == written(&place, "fresh"));
    let asked = |out: &str| std::fs::read(place.path(&format!("{out}/curation.json"))).unwrap();
    assert!(asked("out") == asked("fresh"));
    // What is done is not made of other files.
    place.write("raw/b-1.jsonl", &with_a_bad_line);
    place.refuse_run(&words("out"), 2, &["was begun with other files", "and is done: choose another folder"]);
}

#[test]
fn what_saw_all_files_is_made_anew_when_they_change() {
    let place = scene();
    place.write("curate.toml", RECIPE);
    let command = |out| ["curate", "curate.toml", "--out", out];
    // Ended while it writes: where the dropped pairs should be, there is a file.
    place.run_well(&["curate", "curate.toml", "--out", "out", "--share", "0/2"]);
    place.write("out/dropped", "in the way");
    place.refuse_run(&command("out"), 2, &["out/dropped"]);
    assert!(place.path("out/work/duplicates.json").exists() && place.path("out/rows/a.jsonl.zst").exists());
    // One more file of a, and one of b less: a share finds it as well.
    place.write("raw/a-3.jsonl", format!("{}\n", pair("of a new file", &words(5000, 40))));
    std::fs::remove_file(place.path("raw/b-2.jsonl")).unwrap();
    let said = place.run_well(&["curate", "curate.toml", "--out", "out", "--share", "1/2"]);
    assert!(said.contains("what was read of 0 of 6 files stays, 6 are to be read"), "{said}");
    assert!(!place.path("out/work/duplicates.json").exists() && !place.path("out/dropped").exists());
    place.run_well(&command("out"));
    place.run_well(&command("fresh"));
    assert!(written(&place, "out") == written(&place, "fresh"));
}

#[test]
fn a_value_inside_a_column_is_a_language_or_a_score_in_every_format() {
    use arrow_array::{ArrayRef, Float64Array, RecordBatch, StringArray, StructArray};
    use arrow_schema::{DataType, Field};
    use std::sync::Arc;

    let place = Place::new();
    let texts = ["A b c.", "D e f.", "G h i."];
    let values = [(Some("de"), 0.9), (Some("de"), 0.1), (None, 0.8)];
    // As datatrove writes them.
    let record = |(text, (language, score)): (&str, (Option<&str>, f64))| {
        let metadata = json!({"title": "t", "language": language, "language_score": score});
        format!("{}\n", json!({"text": text, "id": "x", "metadata": metadata}))
    };
    place.write("raw/lines.jsonl", texts.into_iter().zip(values).map(record).collect::<String>());
    let metadata: Vec<(Arc<Field>, ArrayRef)> = vec![
        (Arc::new(Field::new("title", DataType::Utf8, true)), Arc::new(StringArray::from(vec!["t"; 3]))),
        (
            Arc::new(Field::new("language", DataType::Utf8, true)),
            Arc::new(StringArray::from_iter(values.map(|(language, _)| language))),
        ),
        (
            Arc::new(Field::new("language_score", DataType::Float64, true)),
            Arc::new(Float64Array::from_iter(values.map(|(_, score)| Some(score)))),
        ),
    ];
    let columns: [(&str, ArrayRef); 2] =
        [("text", Arc::new(StringArray::from(texts.to_vec()))), ("metadata", Arc::new(StructArray::from(metadata)))];
    let batch = RecordBatch::try_from_iter(columns).unwrap();
    let mut bytes = Vec::new();
    let mut writer = parquet::arrow::ArrowWriter::try_new(&mut bytes, batch.schema(), None).unwrap();
    writer.write(&batch).unwrap();
    writer.close().unwrap();
    place.write("raw/rows.parquet", &bytes);
    // A table's column may be called so.
    let table = "text\tmetadata.title\tmetadata.language\tmetadata.language_score\n\
                 A b c.\tt\tde\t0.9\nD e f.\tt\tde\t0.1\nG h i.\tt\t\t0.8\n";
    place.write("raw/table.tsv", table);
    let source = |file: &str, keys: &str| {
        format!(
            "[[source]]\nname = \"s\"\nkind = \"title-body\"\nquery = \"metadata.title\"\n\
             files = [\"raw/{file}\"]\n{keys}\n"
        )
    };
    let keys = "language = { column = \"metadata.language\" }\nmin = { \"metadata.language_score\" = 0.5 }";
    for file in ["lines.jsonl", "rows.parquet", "table.tsv"] {
        place.write("curate.toml", source(file, keys));
        place.run_well(&["curate", "curate.toml", "--out", file]);
        let rows = place.objects(&format!("{file}/rows/s.jsonl.zst"));
        let found: Vec<(&Value, &Value)> = rows.iter().map(|row| (&row["pos"][0], &row["lang"])).collect();
        let (first, last) = ((json!("A b c."), json!("de")), json!("G h i."));
        assert_eq!(found[0], (&first.0, &first.1), "{file}: {rows:?}");
        assert_eq!((found.len(), found[1].0), (2, &last), "{file}: {rows:?}");
        assert_eq!(place.lines(&format!("{file}/dropped/score-metadata.language_score.jsonl")).len(), 1, "{file}");
        for wrong in ["language = { column = \"meta.language\" }", "min = { \"meta.score\" = 1 }"] {
            place.write("wrong.toml", source(file, wrong));
            place.refuse_run(&["curate", "wrong.toml", "--out", "wrong"], 2, &["source \"s\": no record of ", "meta."]);
        }
    }
}
