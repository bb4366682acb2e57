//! `tercet prepare` and rows that are wrong in every way: each is named, none is lost with it, nothing panics.
#![allow(clippy::unwrap_used, missing_docs)]

use std::io::Write;

use crate::stand_in::StandIn;
use crate::word_rows::good_rows;

fn lab() -> StandIn {
    let lab = StandIn::without_worker();
    lab.write_tokenizer();
    lab
}

fn row(pos: &str) -> Vec<u8> {
    format!("{{\"query\": \"one\", \"pos\": [{pos}]}}").into_bytes()
}

#[test]
fn every_bad_line_is_named_and_every_good_one_is_kept() {
    let deep = "[".repeat(100_000);
    let long = row(&format!("\"{}\"", "x".repeat(50 << 20)));
    assert!(long.len() > 50_000_000);
    let lines: Vec<(Vec<u8>, Option<&str>)> = vec![
        (row("\"two\""), None),
        (b"{\"query\": \"\xff\xfe\", \"pos\": [\"x\"]}".to_vec(), Some("not UTF-8 from byte 12")),
        (long, None),
        (row(&"\"x\", ".repeat(13 << 20)), Some("the line is longer than 64 MiB")),
        (row(&deep), Some("recursion limit exceeded")),
        (format!("{{\"id\": {deep}").into_bytes(), Some("not valid JSON: EOF while parsing a list")),
        (deep.into_bytes(), Some("not a JSON object")),
        (row(""), Some("\"pos\" is empty")),
        (row("\" \""), Some("\"pos[0]\" has no text")),
        (row("7"), Some("\"pos[0]\" is a number: a string is expected")),
        (b"{\"pos\": [\"one\"]}".to_vec(), Some("\"query\" is missing")),
        (
            b"{\"query\": \"one\", \"pos\": [\"a\"], \"pos_scores\": [NaN]}".to_vec(),
            Some("not valid JSON: expected value"),
        ),
        (
            b"{\"query\": \"one\", \"pos\": [\"a\"], \"pos_scores\": [1e99]}".to_vec(),
            Some("too large for a 32-bit float"),
        ),
        (b"{\"query\": \"\\ud800\", \"pos\": [\"a\"]}".to_vec(), Some("not valid JSON")),
        (b"\x00\x01\x02".to_vec(), Some("not a JSON object")),
        (row("\"three\""), None),
    ];
    let lab = lab();
    let bytes: Vec<&[u8]> = lines.iter().map(|(line, _)| line.as_slice()).collect();
    std::fs::write(lab.path("rows.jsonl"), bytes.join(&b'\n')).unwrap();
    let ran = lab.run("prepare --tokenizer tokenizer.json --out store --on-error skip rows.jsonl", "");
    assert_eq!(ran.code, Some(0), "{}", ran.stderr);
    let list = std::fs::read_to_string(lab.path("store/skipped.jsonl")).unwrap();
    let found: Vec<serde_json::Value> = list.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let expected: Vec<(usize, &str)> =
        lines.iter().enumerate().filter_map(|(i, (_, reason))| Some((i + 1, (*reason)?))).collect();
    assert_eq!(found.len(), expected.len(), "{list}");
    for (entry, (line, reason)) in found.iter().zip(expected) {
        assert_eq!(entry["line"], line, "{entry}");
        assert!(entry["reason"].as_str().unwrap().contains(reason), "{entry}, expected {reason}");
    }
    let rows = ran.stdout.lines().nth(1).unwrap().split_whitespace().nth(1).unwrap();
    assert_eq!(rows, "3", "{}", ran.stdout);
}

#[test]
fn a_file_cut_off_is_named_with_the_last_good_line() {
    let lab = lab();
    let rows = good_rows(2_000);
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    gzip.write_all(rows.as_bytes()).unwrap();
    let gzip = gzip.finish().unwrap();
    std::fs::write(lab.path("cut.jsonl.gz"), &gzip[..gzip.len() / 2]).unwrap();
    std::fs::write(lab.path("cut.parquet"), b"PAR1 and then nothing of use").unwrap();
    std::fs::write(lab.path("cut.arrow"), b"ARROW1\0\0 and then nothing of use").unwrap();
    for (name, message) in [
        ("cut.jsonl.gz", "cannot be read beyond line "),
        ("cut.parquet", "cannot be read beyond row 0: not valid Parquet data"),
        ("cut.arrow", "cannot be read beyond row 0: not valid Arrow data"),
    ] {
        let ran = lab.run(&format!("prepare --tokenizer tokenizer.json --out store --on-error skip a={name}"), "");
        assert_eq!(ran.code, Some(4), "{name}: {}", ran.stderr);
        assert!(ran.stderr.contains(name) && ran.stderr.contains(message), "{name}: {}", ran.stderr);
        assert_eq!(ran.stderr.lines().count(), 1, "{}", ran.stderr);
    }
}
