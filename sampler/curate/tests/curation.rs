//! `tercet curate` as a whole: every pair accounted for, the same bytes whoever reads what in whatever order, and
//! recipes and folders that are refused.

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
    // Typed again it says the same, and reads nothing.
    std::fs::remove_file(place.path("out/rows/a.jsonl.zst")).unwrap();
    assert!(place.run_well(&["curate", "curate.toml", "--out", "out"]).contains("is done already"));
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
fn what_cannot_be_curated_is_refused() {
    let place = scene();
    let refused = |recipe: &str, code: i32, expected: &[&str]| {
        place.write("wrong.toml", recipe);
        place.refuse_run(&["curate", "wrong.toml", "--out", "wrong"], code, expected);
    };
    refused("", 2, &["wrong.toml", "source"]);
    refused("source = []", 2, &["there is none", "[[source]]"]);
    refused(&RECIPE.replace("kind = \"title-body\"", "kinds = \"title-body\""), 2, &["wrong.toml", "kinds", "`kind`"]);
    refused(&RECIPE.replace("name = \"b\"", "name = \"a\""), 2, &["source \"a\": name", "two sources have it"]);
    refused(&RECIPE.replace("name = \"b\"", "name = \"b/c\""), 2, &["source \"b/c\": name"]);
    refused(&RECIPE.replace("raw/a-*", "raw/x-*"), 2, &["source \"a\": files", "raw/x-*"]);
    refused(&RECIPE.replace("eval/*", "nothing/*"), 2, &["duplicates.against", "nothing/*"]);
    refused(&format!("{RECIPE}\n[filters]\nmin_charz = 3\n"), 2, &["source \"a\": filters", "min_charz"]);
    place.refuse_run(&["curate", "absent.toml", "--out", "wrong"], 2, &["absent.toml"]);
    place.write("right.toml", RECIPE);
    place.refuse_run(&["curate", "right.toml", "--out", "raw"], 2, &["is not a curation's"]);
    place.refuse_run(&["curate", "wrong.toml", "--out", "x", "--share", "3/3"], 2, &["I/N"]);

    place.write("curate.toml", RECIPE);
    place.write("raw/b-1.jsonl", "{\"title\": 3, \"text\": \"x\"}\n");
    let (code, said) = place.run(&["curate", "curate.toml", "--out", "out"]);
    assert_eq!(code, 4, "{said}");
    assert!(said.contains("raw/b-1.jsonl:1") && said.contains("title"), "{said}");
    // Mended, it is another file of another size: it is said, not mixed in silence.
    place.write("raw/b-1.jsonl", "{\"title\": \"mended\", \"text\": \"x\"}\n");
    place.refuse_run(&["curate", "curate.toml", "--out", "out"], 2, &["other files"]);
}
