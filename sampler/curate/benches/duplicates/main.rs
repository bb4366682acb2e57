//! What de-duplication costs, from a million rows to a hundred million: time, memory and disk.
//!
//! ```text
//! cargo bench -p tercet-curate --bench duplicates -- [--rows N]… [--threads N] [--texts N] [--dir DIR]
//! ```
//!
//! For each N it makes rows of a query of 8 words and a passage of 100 (some 650 bytes) in units of a million, of which
//! a tenth are exact and a tenth are near-duplicates of rows before them, and one in a thousand has a text of a
//! benchmark with `--texts` texts (default: 100,000; 0: no benchmark). It writes their keys and finds what goes, in a
//! process of its own so that its peak memory (`VmHWM`) is that of one N. Making rows is measured alone, and taken off.
//! What was planted must be found. 100 million rows take 28 GB in DIR (default: the system's temporary folder), which
//! are removed.

#![allow(missing_docs, clippy::unwrap_used)]

mod made;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use made::{Made, Planted};
use tercet_curate::duplicates::{Compared, DuplicatesRecipe, Found, Queries, UnitKeys, benchmarks, dropped_rows, find};

/// Rows of a unit.
const UNIT: u64 = 1_000_000;

struct Asked {
    rows: Vec<u64>,
    threads: usize,
    texts: u64,
    dir: PathBuf,
    is_own: bool,
}

fn main() {
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let mut asked = Asked { rows: Vec::new(), threads, texts: 100_000, dir: std::env::temp_dir(), is_own: false };
    let mut args = std::env::args().skip(1).filter(|arg| arg != "--bench");
    while let Some(arg) = args.next() {
        let mut value = || args.next().unwrap_or_else(|| panic!("{arg} needs a value"));
        let number = |value: String| value.replace('_', "").parse::<u64>().expect("a number");
        match arg.as_str() {
            "--rows" => asked.rows.push(number(value())),
            "--threads" => asked.threads = number(value()) as usize,
            "--texts" => asked.texts = number(value()),
            "--dir" => asked.dir = value().into(),
            "--own" => asked.is_own = true,
            other => panic!("unknown argument {other}"),
        }
    }
    if asked.is_own {
        return measure(&asked, asked.rows[0]);
    }
    if asked.rows.is_empty() {
        asked.rows = vec![1_000_000];
    }
    println!("| rows | threads | keys, s (CPU) | finding, s (CPU) | rows/s | peak memory, MiB | keys, GB | more, GB |");
    println!("|---|---|---|---|---|---|---|---|");
    for rows in &asked.rows {
        let mut own = Command::new(std::env::current_exe().unwrap());
        own.args(["--own", "--rows", &rows.to_string(), "--threads", &asked.threads.to_string()]);
        own.args(["--texts", &asked.texts.to_string()]).arg("--dir").arg(&asked.dir);
        assert!(own.status().unwrap().success());
    }
}

fn measure(asked: &Asked, rows: u64) {
    let dir = asked.dir.join(format!("tercet-duplicates-{rows}"));
    fs::create_dir_all(&dir).unwrap();
    let made = Made { rows, texts: asked.texts, words: 100 };
    let mut recipe = DuplicatesRecipe::default();
    if asked.texts > 0 {
        fs::write(dir.join("texts.txt"), (0..asked.texts).map(|i| made.benchmark(i) + "\n").collect::<String>())
            .unwrap();
        recipe.against = vec!["texts.txt".into()];
    }
    let queries = Queries::of(&benchmarks(&recipe.against, &dir).unwrap()).unwrap();
    let begun = Times::now();
    each_unit(asked.threads, rows, |_, numbers| {
        let bytes: usize = numbers.map(|row| made.row(row, |query, passage, _| query.len() + passage.len())).sum();
        assert!(bytes > 0);
    });
    let making = begun.elapsed();
    let unit = |i: u64| dir.join(format!("{i:05}.keys"));
    let begun = Times::now();
    each_unit(asked.threads, rows, |i, numbers| {
        let mut keys = UnitKeys::create(&unit(i), (&recipe, &queries), Compared::Passage).unwrap();
        numbers.for_each(|row| made.row(row, |query, passage, _| keys.add(query, passage).unwrap()));
        keys.finish().unwrap();
    });
    let keys = begun.elapsed();
    let keys = [0, 1].map(|i| (keys[i] - making[i]).max(0.0));
    let units: Vec<PathBuf> = (0..rows.div_ceil(UNIT)).map(unit).collect();
    let of_keys: u64 = units.iter().map(|unit| fs::metadata(unit).unwrap().len()).sum();
    let begun = Times::now();
    let (found, more) =
        watched(&dir.join("scratch"), || find(&units, &recipe, &dir, &dir.join("scratch"), asked.threads).unwrap());
    let finding = begun.elapsed();
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    let peak: f64 = peak.trim().trim_end_matches(" kB").parse().unwrap();
    let rate = rows as f64 / (keys[0] + finding[0]);
    let gigabytes = |bytes: u64| bytes as f64 / 1e9;
    println!(
        "| {rows} | {} | {:.1} ({:.1}) | {:.1} ({:.1}) | {rate:.0} | {:.0} | {:.2} | {:.2} |",
        asked.threads,
        keys[0],
        keys[1],
        finding[0],
        finding[1],
        peak / 1024.0,
        gigabytes(of_keys),
        gigabytes(more)
    );
    must_be_found(&made, &found);
    fs::remove_dir_all(&dir).unwrap();
}

/// The time of the clock, and of the process.
struct Times(Instant, f64);

impl Times {
    fn now() -> Self {
        Self(Instant::now(), Self::of_process())
    }

    /// Seconds since then, by both.
    fn elapsed(&self) -> [f64; 2] {
        [self.0.elapsed().as_secs_f64(), Self::of_process() - self.1]
    }

    fn of_process() -> f64 {
        let stat = fs::read_to_string("/proc/self/stat").unwrap();
        // After the name, which may have blanks: user and system time are fields 14 and 15, in hundredths of a second.
        let fields = stat.rsplit(')').next().unwrap().split_whitespace().skip(11).take(2);
        fields.map(|ticks| ticks.parse::<f64>().unwrap()).sum::<f64>() / 100.0
    }
}

/// Calls `work` with each unit and its rows' numbers, on all threads.
fn each_unit(threads: usize, rows: u64, work: impl Fn(u64, std::ops::Range<u64>) + Sync) {
    let next = AtomicUsize::new(0);
    let one = || {
        loop {
            let from = next.fetch_add(1, Ordering::Relaxed) as u64 * UNIT;
            if from >= rows {
                return;
            }
            work(from / UNIT, from..(from + UNIT).min(rows));
        }
    };
    std::thread::scope(|scope| (0..threads).for_each(|_| drop(scope.spawn(one))));
}

/// What `work` returns, and the most bytes that files in `dir` had meanwhile.
fn watched<T>(dir: &Path, work: impl FnOnce() -> T) -> (T, u64) {
    let (is_done, most) = (AtomicBool::new(false), AtomicU64::new(0));
    let done = std::thread::scope(|scope| {
        scope.spawn(|| {
            while !is_done.load(Ordering::Relaxed) {
                let entries = fs::read_dir(dir).into_iter().flatten().flatten();
                let bytes = entries.filter_map(|entry| Some(entry.metadata().ok()?.len())).sum();
                most.fetch_max(bytes, Ordering::Relaxed);
                std::thread::sleep(Duration::from_millis(20));
            }
        });
        let done = work();
        is_done.store(true, Ordering::Relaxed);
        done
    });
    (done, most.into_inner())
}

/// Compares what was found with what was planted.
fn must_be_found(made: &Made, found: &Found) {
    let (mut counts, mut missed, mut more) = ([0u64; 4], [0u64; 4], 0u64);
    for (unit, file) in (0..).zip(&found.units) {
        let mut dropped = dropped_rows(file).unwrap().map(Result::unwrap).peekable();
        for row in unit * UNIT..((unit + 1) * UNIT).min(made.rows) {
            let reason = dropped.next_if(|(of_unit, _)| u64::from(*of_unit) == row % UNIT);
            let reason = reason.map(|(_, reason)| found.reasons[usize::from(reason)].as_str());
            let planted = made.row(row, |_, _, planted| planted);
            counts[planted as usize] += 1;
            let is_as_planted = match planted {
                Planted::New => reason.is_none(),
                Planted::Exact => reason.is_some(),
                Planted::Near => reason.is_some(),
                Planted::Benchmark => reason == Some("contaminated-texts.txt"),
            };
            if !is_as_planted {
                missed[planted as usize] += 1;
            }
            more += u64::from(reason.is_some() && planted == Planted::New);
        }
    }
    let [_, exact, near, benchmark] = counts;
    println!(
        "  planted: {exact} exact ({} missed), {near} near ({} missed), {benchmark} of the benchmark ({} missed); {more} \
         others went",
        missed[Planted::Exact as usize],
        missed[Planted::Near as usize],
        missed[Planted::Benchmark as usize],
    );
    assert!(missed[Planted::Exact as usize] == 0 && missed[Planted::Benchmark as usize] == 0 && more == 0);
    // A passage with a word in a hundred changed shares 92 of 101 sequences: 1 − (1 − 0.911^8)^14 is 0.9998.
    assert!(missed[Planted::Near as usize] <= near / 500);
}
