//! `tercet curate` with a model, and a launcher that is a script.

use std::fs;
use std::io::{BufRead, BufReader};
use std::os::unix::fs::PermissionsExt;
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::Duration;

use serde_json::json;

use crate::Place;

/// Says that it is there, does not stop when it is asked to, stays until the file `go` is there, and gives the answers
/// in `scores`.
const LAUNCHER: &str = r#"#!/bin/sh
trap '' TERM
here=$(dirname "$0")
echo $$ > "$here/started.part"
mv "$here/started.part" "$here/started"
while [ ! -e "$here/go" ]; do sleep 0.02; done
for word in "$@"; do
  case $word in --out=*) out=${word#--out=} ;; esac
done
mkdir -p "$out"
cp "$here/scores" "$out/000000.jsonl.zst"
"#;

const RECIPE: &str = r#"
[[source]]
name = "s"
kind = "title-body"
files = ["raw.jsonl"]

[relevance]
model = "model"
min_score = 0.5
"#;

/// A place with the program beside that launcher.
fn scene() -> Place {
    let place = Place::new();
    place.write("bin/tercet", LAUNCHER);
    fs::set_permissions(place.path("bin/tercet"), fs::Permissions::from_mode(0o755)).unwrap();
    fs::copy(env!("CARGO_BIN_EXE_tercet-curate"), place.path("bin/tercet-curate")).unwrap();
    place.write("model/config.json", "{}");
    place.write("curate.toml", RECIPE);
    let rows = ["a", "b"].map(|name| format!("{}\n", json!({"title": name, "text": format!("text of {name}")})));
    place.write("raw.jsonl", rows.concat());
    let scores = [0.9, 0.1].map(|score| format!("{}\n", json!({ "pos_scores": [score] }))).concat();
    place.write("bin/scores", zstd::encode_all(scores.as_bytes(), 1).unwrap());
    place
}

fn start(place: &Place) -> Child {
    let mut command = Command::new(place.path("bin/tercet-curate"));
    command.args(["curate", "curate.toml", "--out", "out"]).current_dir(place.path(""));
    command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap()
}

#[test]
fn ranks_that_a_killed_curation_left_are_waited_for() {
    let place = scene();
    let mut first = start(&place);
    let is_told = || fs::read(place.path("out/work/relevance/ranks")).is_ok_and(|who| !who.is_empty());
    while !(place.path("bin/started").exists() && is_told()) {
        assert!(first.try_wait().unwrap().is_none(), "it ended before ranks were started");
        sleep(Duration::from_millis(5));
    }
    let left = fs::read_to_string(place.path("bin/started")).unwrap();
    first.kill().unwrap();
    first.wait().unwrap();
    // The launcher that it started is still there, so that the same command waits.
    let mut second = start(&place);
    let mut lines = BufReader::new(second.stderr.take().unwrap()).lines().map(Result::unwrap);
    let said = lines.find(|line| line.contains("waiting for the end")).expect("it does not wait");
    let expected = format!("tercet score, process {}, which an earlier command started", left.trim());
    assert!(said.contains(&expected), "{said}");
    place.write("bin/go", "");
    lines.for_each(drop);
    assert_eq!(second.wait().unwrap().code(), Some(0));
    let kept: Vec<String> = place.objects("out/rows/s.jsonl.zst").iter().map(|row| row["query"].to_string()).collect();
    assert_eq!(kept, ["\"a\""]);
}
