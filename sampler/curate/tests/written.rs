//! What is written is whole, and the same command can be typed again.

use std::fs;
use std::process::{Command, Stdio};

use serde_json::json;

use crate::Place;

/// A miniature of MLDR in one language.
fn mldr(place: &Place) {
    place.write("MLDR/mldr-v1.0-th/corpus.jsonl", "{\"docid\": \"d0\", \"text\": \"t\"}\n");
    let query = json!({"query_id": "q", "query": "x", "positive_passages": [{"docid": "d0"}]});
    place.write("MLDR/mldr-v1.0-th/test.jsonl", format!("{query}\n"));
}

#[test]
fn a_folder_that_is_there_is_left_alone() {
    let place = Place::new();
    mldr(&place);
    place.succeed(&["mldr", "MLDR", "--out", "eval"]);
    let before = fs::metadata(place.path("eval/th/corpus.jsonl.zst")).unwrap().modified().unwrap();
    let said = place.succeed(&["mldr", "MLDR", "--out", "eval"]);
    assert_eq!(said, "eval/th: was there already, of the same files\n");
    assert_eq!(fs::metadata(place.path("eval/th/corpus.jsonl.zst")).unwrap().modified().unwrap(), before);
    // The folder is of another corpus, or of somebody else's making.
    place.write("MLDR/mldr-v1.0-th/corpus.jsonl", "{\"docid\": \"d0\", \"text\": \"other\"}\n");
    place.refuse(
        &["mldr", "MLDR", "--out", "eval"],
        2,
        &["eval/th: was imported from other files", "nothing is overwritten"],
    );
    fs::remove_file(place.path("eval/th/import.json")).unwrap();
    place.refuse(&["mldr", "MLDR", "--out", "eval"], 2, &["eval/th: is there: nothing is overwritten"]);
}

#[test]
fn what_a_killed_import_left_is_written_over() {
    let place = Place::new();
    mldr(&place);
    place.write("eval/th.tercet-partial/corpus.jsonl.zst", "half");
    place.write("eval/th.tercet-partial/strange/file", "half");
    place.succeed(&["mldr", "MLDR", "--out", "eval"]);
    assert_eq!(fs::read_dir(place.path("eval")).unwrap().count(), 1);
    assert_eq!(place.objects("eval/th/corpus.jsonl.zst").len(), 1);

    place.write("pairs.jsonl", "{\"a\": \"x\", \"b\": \"y\"}\n");
    place.write("rows.jsonl.tercet-partial", "half of an earlier attempt, longer than the new one");
    place.write("rows.jsonl", "earlier");
    let words = ["columns", "pairs.jsonl", "--query", "a", "--pos", "b", "--out", "rows.jsonl"];
    place.succeed(&words);
    assert_eq!(place.objects("rows.jsonl"), [json!({"query": "x", "pos": ["y"]})]);
    assert!(!place.path("rows.jsonl.tercet-partial").exists());
    // A wrong file leaves the earlier rows as they were.
    place.write("pairs.jsonl", "{\"a\": \"x\", \"b\": \"y\"}\nx\n");
    let (code, _) = place.import(&words);
    assert_eq!((code, place.lines("rows.jsonl").len()), (4, 1));
}

#[test]
fn a_killed_import_leaves_no_output_of_its_name() {
    let place = Place::new();
    // A pipe that never ends holds the command up in the middle of its work.
    let fifo = place.path("pairs.jsonl");
    assert!(Command::new("mkfifo").arg(&fifo).status().unwrap().success());
    let mut command = Command::new(env!("CARGO_BIN_EXE_tercet-curate"));
    command
        .args(["import", "columns", "--query", "a", "--pos", "b"])
        .arg(&fifo)
        .arg("--out")
        .arg(place.path("rows.jsonl"));
    let mut child = command.stderr(Stdio::null()).spawn().unwrap();
    let mut pipe = fs::OpenOptions::new().write(true).open(&fifo).unwrap();
    let line = format!("{}\n", json!({"a": "x", "b": "y".repeat(1000)}));
    std::io::Write::write_all(&mut pipe, line.repeat(1000).as_bytes()).unwrap();
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(!place.path("rows.jsonl").exists());
}

#[test]
fn rows_may_go_into_a_pipe() {
    let place = Place::new();
    place.write("pairs.jsonl", "{\"a\": \"x\", \"b\": \"y\"}\n");
    let said = place.succeed(&["columns", "pairs.jsonl", "--query", "a", "--pos", "b", "--out", "/dev/stdout"]);
    assert!(said.starts_with("{\"query\":\"x\",\"pos\":[\"y\"]}\n"), "{said}");
    let full = ["columns", "pairs.jsonl", "--query", "a", "--pos", "b", "--out", "/dev/full"];
    place.refuse(&full, 3, &["/dev/full: No space left"]);
}
