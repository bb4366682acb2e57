//! What a curation costs, from a million rows to a hundred million: filters, duplicates, and writing.
//!
//! ```text
//! cargo bench -p tercet-curate --bench curation -- [--rows N]… [--words N] [--detect yes] [--dir DIR]
//! ```
//!
//! For each N it writes rows of a query of 8 words and a passage of `--words` (default: 60) into packed files of half a
//! million, of which a tenth are exact and a tenth near-duplicates of rows before them, and has `tercet-curate` make
//! rows of them: Gopher's, C4's and FineWeb's rules and both kinds of duplicates; with `--detect yes` whatlang tells
//! the language of each, which the source states otherwise. Bounds that made-up words break are wide open, so that most
//! rows come to the duplicates. Time, memory and disk are the program's alone. The files in DIR (default: the system's
//! temporary folder) are removed: 100 million rows of 25 words take up to 40 GB there.

#![allow(missing_docs, clippy::unwrap_used)]

#[path = "duplicates/made.rs"]
mod made;

use std::fs::{self, File};
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use made::Made;
use serde_json::{Value, json};

const ROWS_OF_A_FILE: u64 = 500_000;

const RECIPE: &str = r#"
[[source]]
name = "made"
kind = "title-body"
files = ["made/*.jsonl.zst"]
LANGUAGE
[filters]
rules = ["gopher", "c4", "fineweb"]
filter_no_terminal_punct = false
passage_chars = [20, 200_000]
document_words = 0
min_doc_words = 10
min_stop_words = 0
min_num_sentences = 0
line_punct_thr = 0.0
short_line_thr = 1.0
top_n_grams = [[2, 1.0], [3, 1.0], [4, 1.0]]
max_avg_word_length = 15.0
"#;

fn main() {
    let (mut all, mut words, mut detect, mut dir) = (Vec::new(), 60, false, std::env::temp_dir());
    let mut args = std::env::args().skip(1).filter(|arg| arg != "--bench");
    while let Some(arg) = args.next() {
        let value = args.next().unwrap_or_else(|| panic!("{arg} needs a value"));
        let number = |value: &str| value.replace('_', "").parse::<u64>().expect("a number");
        match arg.as_str() {
            "--rows" => all.push(number(&value)),
            "--words" => words = number(&value),
            "--detect" => detect = value == "yes",
            "--dir" => dir = PathBuf::from(value),
            other => panic!("unknown argument {other}"),
        }
    }
    if all.is_empty() {
        all.push(1_000_000);
    }
    println!("| rows | s | s of processors | rows/s | peak memory, MiB | input, GB | most in --out, GB | kept |");
    println!("|---|---|---|---|---|---|---|---|");
    all.into_iter().for_each(|rows| measure(&Made { rows, texts: 0, words }, detect, &dir));
}

fn measure(made: &Made, detect: bool, dir: &Path) {
    let dir = dir.join(format!("tercet-curation-{}", made.rows));
    _ = fs::remove_dir_all(&dir);
    fs::create_dir_all(dir.join("made")).unwrap();
    let language = if detect { "" } else { "language = \"en\"\n" };
    fs::write(dir.join("curate.toml"), RECIPE.replace("LANGUAGE\n", language)).unwrap();
    write(made, &dir.join("made"));

    let before = children();
    let begun = Instant::now();
    let out = dir.join("out");
    let log = File::create(dir.join("log")).unwrap();
    let mut program = Command::new(env!("CARGO_BIN_EXE_tercet-curate"));
    program.args(["curate", "curate.toml", "--out", "out"]).current_dir(&dir);
    let mut program = program.stdout(log.try_clone().unwrap()).stderr(log).spawn().unwrap();
    let mut most = 0;
    let ended = loop {
        most = most.max(bytes_below(&out));
        match program.try_wait().unwrap() {
            Some(ended) => break ended,
            None => std::thread::sleep(Duration::from_millis(500)),
        }
    };
    let (seconds, after) = (begun.elapsed().as_secs_f64(), children());
    assert!(ended.success(), "{}", fs::read_to_string(dir.join("log")).unwrap());
    let report: Value = serde_json::from_slice(&fs::read(out.join("report.json")).unwrap()).unwrap();
    let gigabytes = |bytes: u64| bytes as f64 / 1e9;
    println!(
        "| {} | {seconds:.0} | {:.0} | {:.0} | {:.0} | {:.1} | {:.1} | {} |",
        made.rows,
        after.0 - before.0,
        made.rows as f64 / seconds,
        after.1,
        gigabytes(bytes_below(&dir.join("made"))),
        gigabytes(most),
        report["all"]["kept"]
    );
    println!("  dropped: {}", report["all"]["dropped"]);
    fs::remove_dir_all(&dir).unwrap();
}

/// Writes the rows, on all cores.
fn write(made: &Made, dir: &Path) {
    let files = AtomicU64::new(0);
    let one = || {
        loop {
            let number = files.fetch_add(1, Ordering::Relaxed);
            let rows = number * ROWS_OF_A_FILE..((number + 1) * ROWS_OF_A_FILE).min(made.rows);
            if rows.is_empty() {
                return;
            }
            let file = File::create(dir.join(format!("{number:05}.jsonl.zst"))).unwrap();
            let mut file = zstd::Encoder::new(BufWriter::new(file), 1).unwrap();
            for row in rows {
                let line = made.row(row, |query, passage, _| json!({"title": query, "text": passage}));
                writeln!(file, "{line}").unwrap();
            }
            file.finish().unwrap().flush().unwrap();
        }
    };
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| (0..threads).for_each(|_| drop(scope.spawn(one))));
}

/// Processor time of ended children in seconds, and the most memory that one of them had in MiB.
fn children() -> (f64, f64) {
    // SAFETY: the structure is plain numbers, for which zeros are values, and the call only writes it.
    let usage = unsafe {
        let mut usage = std::mem::zeroed();
        assert_eq!(libc::getrusage(libc::RUSAGE_CHILDREN, &mut usage), 0);
        usage
    };
    let seconds = |time: libc::timeval| time.tv_sec as f64 + time.tv_usec as f64 / 1e6;
    (seconds(usage.ru_utime) + seconds(usage.ru_stime), usage.ru_maxrss as f64 / 1024.0)
}

fn bytes_below(dir: &Path) -> u64 {
    let entries = fs::read_dir(dir).into_iter().flatten().flatten();
    let bytes = entries.map(|entry| match entry.file_type() {
        Ok(kind) if kind.is_dir() => bytes_below(&entry.path()),
        _ => entry.metadata().map_or(0, |file| file.len()),
    });
    bytes.sum()
}
