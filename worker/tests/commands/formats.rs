//! Rows and texts are the same in every format that they can be read from.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use tercet_configs::ExitCode;
use tercet_sampler::PackedWriter;

use super::columns::write_parquet;
use super::fixture::{Fixture, lines, words};
use super::job;

/// The same objects as JSON Lines (plain, gzip and zstd) and as Parquet: the first path is that of the plain lines.
fn in_all_formats(fixture: &Fixture, name: &str, objects: &[Value]) -> [PathBuf; 4] {
    let text = lines(objects.iter().cloned());
    let packed = ["jsonl", "jsonl.gz", "jsonl.zst"].map(|ending| {
        let name = format!("{name}.{ending}");
        let mut writer = PackedWriter::new(Path::new(&name), Vec::new()).unwrap();
        writer.write_all(text.as_bytes()).unwrap();
        fixture.write(&name, writer.finish().unwrap())
    });
    let columns = fixture.path(&format!("{name}.parquet"));
    write_parquet(&columns, objects);
    let [plain, gzip, zstd] = packed;
    [plain, gzip, zstd, columns]
}

fn rows(num: usize) -> Vec<Value> {
    let row = |i: usize| {
        json!({"query": words(i, 3), "pos": [words(i, 20), words(i + 1000, 9)], "neg": [words(i + 500, 12)],
               "neg_scores": [0.5], "pos_scores": [1.0, 0.1], "type": "x", "extra": {"n": i}, "id": i})
    };
    (0..num).map(row).collect()
}

fn texts(num: usize) -> Vec<Value> {
    (0..num).map(|i| json!({"_id": format!("t{i}"), "title": words(i, 2), "text": words(i + 2000, 8)})).collect()
}

#[test]
fn every_format_of_rows_and_of_passages_is_mined_to_the_same_bytes() {
    let fixture = Fixture::new();
    let all_rows = in_all_formats(&fixture, "rows", &rows(12));
    let all_passages = in_all_formats(&fixture, "corpus", &texts(40));
    let mine = |rows: &Path, corpus: &Path| {
        let (model, out) = (fixture.path("model"), fixture.path("mined.jsonl"));
        let paths = format!("--model {} --rows {} --out {}", model.display(), rows.display(), out.display());
        job::run(2, &format!("mine {paths} --corpus {} --negatives 3 --range 0-10", corpus.display())).unwrap();
        let mined = fs::read_to_string(&out).unwrap();
        for written in [out, fixture.path("mined.jsonl.mine.json")] {
            fs::remove_file(written).unwrap(); // it would not be written over
        }
        mined
    };
    let plain = mine(&all_rows[0], &all_passages[0]);
    assert!(plain.lines().count() == 12 && plain.contains(r#""pos_scores":[1.0,0.1]"#), "{plain}");
    for (rows, passages) in all_rows.iter().zip(&all_passages).skip(1) {
        assert_eq!(mine(rows, passages), plain, "{} and {}", rows.display(), passages.display());
    }
}

#[test]
fn every_format_of_texts_is_encoded_to_the_same_bytes_and_evaluated_alike() {
    let fixture = Fixture::new();
    let model = fixture.path("model");
    let encode = |input: &Path| {
        let out = fixture.path("out.jsonl");
        let (model, input) = (model.display(), input.display());
        job::run(1, &format!("encode --model {model} --input {input} --out {}", out.display())).unwrap();
        let encoded = fs::read(&out).unwrap();
        fs::remove_file(&out).unwrap();
        encoded
    };
    let [plain, others @ ..] = in_all_formats(&fixture, "texts", &texts(9));
    let encoded = encode(&plain);
    assert!(String::from_utf8_lossy(&encoded).starts_with("{\"id\":\"t0\",\"dense\":["));
    for input in others {
        assert!(encode(&input) == encoded, "{}", input.display());
    }

    let data = fixture.write_beir("small", 40, 5);
    let evaluate = |name: &str| {
        let out = fixture.path(name);
        let (model, data) = (model.display(), data.display());
        job::run(1, &format!("eval --model {model} --data {data} --out {}", out.display())).unwrap();
        fs::read(out.join("metrics.json")).unwrap()
    };
    let plain = evaluate("plain");
    for name in ["corpus", "queries"] {
        let lines = data.join(format!("{name}.jsonl"));
        write_parquet(&data.join(format!("{name}.parquet")), &super::read_lines(&lines));
        fs::remove_file(lines).unwrap();
    }
    assert_eq!(evaluate("columns"), plain);
}

#[test]
fn what_is_wrong_with_a_packed_file_or_with_columns_is_said_with_its_place() {
    let fixture = Fixture::new();
    let model = fixture.path("model").display().to_string();
    let out = fixture.path("out.jsonl").display().to_string();
    let error = |arguments: String| {
        let (code, message) = job::run(1, &format!("{arguments} --model {model} --out {out}")).unwrap_err();
        assert_eq!(code, ExitCode::Data.code(), "{message}");
        message
    };
    for (command, objects) in [("mine --rows", rows(300)), ("encode --input", texts(300))] {
        let [_, gzip, ..] = in_all_formats(&fixture, "whole", &objects);
        let bytes = fs::read(&gzip).unwrap();
        let torn = fixture.write("torn.jsonl.gz", &bytes[..bytes.len() / 2]);
        let message = error(format!("{command} {}", torn.display()));
        let place = "torn.jsonl.gz: cannot be read beyond line 1";
        assert!(message.contains(place) && message.contains("the gzip data ends early"), "{message}");
    }

    let mut bad = rows(3);
    bad[1]["pos"] = json!([words(1, 2), " "]);
    let [.., columns] = in_all_formats(&fixture, "bad", &bad);
    let message = error(format!("mine --rows {}", columns.display()));
    assert!(message.contains("bad.parquet: row 2: \"pos[1]\" has no text"), "{message}");
    let [.., columns] = in_all_formats(&fixture, "texts", &texts(3));
    let message = error(format!("mine --rows {}", columns.display()));
    assert!(message.contains("texts.parquet: \"query\" is missing among the columns \"_id\", \"text\""), "{message}");
    let mut bad = texts(3);
    bad[2]["text"] = Value::Null;
    let [.., columns] = in_all_formats(&fixture, "bad", &bad);
    let table = fixture.write("e.csv", "id,text\n1,w5 w6\n");
    let message = error(format!("encode --input {}", table.display()));
    assert!(message.contains("e.csv:1: a table, by its name (.csv)"), "{message}");
    let old = fixture.write("old.txt", "w4\rw5\r");
    let message = error(format!("encode --input {}", old.display()));
    assert!(message.contains("old.txt:1: its lines end with CR alone"), "{message}");
    let message = error(format!("encode --input {}", columns.display()));
    assert!(message.contains("bad.parquet: row 3: \"text\" is null: a string is expected"), "{message}");
}
