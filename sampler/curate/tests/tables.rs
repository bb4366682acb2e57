//! Tables of ids: what their first line says, runs, and what is there twice.

use serde_json::json;

use crate::Place;

/// Documents 0 to 3, and queries 1 and 2.
fn tables() -> Place {
    let place = Place::new();
    place.write("c.tsv", "0\tzero text\n1\tone text\n2\ttwo text\n3\tthree text\n");
    place.write("q.tsv", "1\tfirst\n2\tsecond\n");
    place
}

#[test]
fn a_first_line_that_names_another_order_is_refused() {
    let place = tables();
    let refuse = |kind: &str, text: &str, expected: &str| {
        place.write("list.tsv", text);
        let words = ["tsv", "--collection", "c.tsv", "--queries", "q.tsv", kind, "list.tsv", "--out", "rows.jsonl"];
        place.refuse(&words, 4, &["list.tsv:1: the columns are ", expected, "put them in that order"]);
    };
    refuse("--triples", "qid\tneg\tpos\n1\t1\t2\n", "\"neg\", \"pos\"");
    refuse("--qrels", "pid\tqid\trel\n1\t2\t1\n", "\"pid\", \"qid\"");
    refuse("--qrels", "qid\trel\tpid\n1\t1\t2\n", "\"rel\", \"pid\"");
}

#[test]
fn a_first_line_says_where_text_and_title_stand() {
    let place = tables();
    place.write("dpr.tsv", "id\ttext\ttitle\n1\tAaron is a prophet.\tAaron\n");
    place.write("qrels.tsv", "1\t1\t1\n");
    let import = |collection: &'static str| {
        ["tsv", "--collection", collection, "--queries", "q.tsv", "--qrels", "qrels.tsv", "--out", "rows.jsonl"]
    };
    place.succeed(&import("dpr.tsv"));
    assert_eq!(place.objects("rows.jsonl"), [json!({"query": "first", "pos": ["Aaron Aaron is a prophet."]})]);
    place.write("other.tsv", "id\tabstract\tlang\n1\ta\ten\n");
    place.refuse(&import("other.tsv"), 4, &["other.tsv:1: the first line names no text", "--collection-fields"]);
}

#[test]
fn a_run_is_known_by_its_six_columns_and_is_sorted() {
    let place = tables();
    place.write("qrels.tsv", "1\t1\t1\n");
    let words = |run: &'static str| {
        let texts = ["tsv", "--collection", "c.tsv", "--queries", "q.tsv", "--qrels", "qrels.tsv"];
        [&texts[..], &["--negatives", run, "--out", "rows.jsonl"]].concat()
    };
    for second in ["0", "Q0", "q0", "1"] {
        place.write("run", format!("1 {second} 3 1 0.9 t\n1 {second} 2 2 0.8 t\n"));
        place.succeed(&words("run"));
        let expected = json!({"query": "first", "pos": ["one text"], "neg": ["three text", "two text"]});
        assert_eq!(place.objects("rows.jsonl"), [expected], "{second}");
        std::fs::remove_file(place.path("rows.jsonl")).unwrap();
    }
    place.write("run", "1 Q0 2 2 0.1 t\n1 Q0 3 1 0.9 t\n");
    place.refuse(&words("run"), 4, &["run:2: query \"1\" has the score 0.9 behind 0.1", "sort it"]);
    place.write("run", "1 Q0 2 1 nan t\n");
    place.refuse(&words("run"), 4, &["run:1: the score \"nan\" is no finite number"]);
}

#[test]
fn what_is_judged_twice_otherwise_and_columns_of_one_name_are_refused() {
    let place = tables();
    place.write("qrels.tsv", "1\t1\t1\n1\t1\t0\n");
    let words = ["tsv", "--collection", "c.tsv", "--queries", "q.tsv", "--qrels", "qrels.tsv", "--out", "rows.jsonl"];
    place.refuse(&words, 4, &["qrels.tsv:2: query \"1\" and document \"1\": is judged otherwise by an earlier line"]);
    place.write("a.csv", "q,p,p\na,b,c\n");
    let columns = ["columns", "a.csv", "--query", "q", "--pos", "p", "--out", "rows.jsonl"];
    place.refuse(&columns, 4, &["a.csv:1: the first line names two columns \"p\""]);
    place.write("b.tsv", "sentence1\tsentence2\tlabel\na b\tc d\t1\n");
    place.succeed(&["columns", "b.tsv", "--query", "1", "--pos", "2", "--out", "rows.jsonl"]);
    assert_eq!(place.objects("rows.jsonl"), [json!({"query": "a b", "pos": ["c d"]})]);
}
