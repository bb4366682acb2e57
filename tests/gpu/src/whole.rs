//! The whole test: one part after the other, and the report.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime};

use anyhow::{Context, ensure};
use serde_json::Value;
use tercet_protocol::says::card::{self, FORMAT, Figures, Outcome, Report};
use tercet_protocol::says::probe;

use crate::args::Args;
use crate::found::{Found, NothingToDo};
use crate::inputs::write;
use crate::look;
use crate::numbers::CpuNumbers;
use crate::parts::{PARTS, Part, cpu_runs, cpu_steps};
use crate::programs::Programs;
use crate::report::{summary, write_both};
use crate::sizes::Sizes;
use crate::stage::Stage;

/// What is kept of the whole's time for the report.
const FOR_THE_REPORT: Duration = Duration::from_secs(2);

/// Small commands side by side, at most: each holds half a gigabyte of a GPU.
const AT_ONCE: usize = 4;

/// Does what was asked for; the code to end with.
///
/// # Errors
/// Nothing could be tried.
pub fn run(args: &Args) -> anyhow::Result<i32> {
    let known = |name: &String| PARTS.iter().any(|part| part.name == name);
    if let Some(name) = args.only.iter().find(|name| !known(name)) {
        let names: Vec<&str> = PARTS.iter().map(|part| part.name).collect();
        anyhow::bail!("there is no part {name:?}; there are {}", names.join(", "));
    }
    let (began, started) = (now(), Instant::now());
    let folder = args.out.clone().unwrap_or_else(|| PathBuf::from(format!("runs/test-gpu-{began}")));
    ensure!(!folder.exists(), "{} is there already: name another with --out", folder.display());
    let programs = Programs::beside_this(folder.join("logs"))?;
    if let Some(file) = &args.write_cpu_numbers {
        return write_cpu_numbers(programs, &folder, file).map(|()| 0);
    }
    let looked = look::gpus(&programs);
    if looked.is_err() {
        // Nothing was tried, so nothing is left behind.
        _ = std::fs::remove_dir_all(&folder);
    }
    let (num_gpus, free_bytes) = looked?;
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let at_once = if look::is_exclusive() { 1 } else { AT_ONCE.min(cores.div_ceil(2)) };
    let stage = Stage {
        programs,
        sizes: Sizes::of(free_bytes, args.small),
        work: folder.join("work"),
        num_gpus,
        free_bytes,
        numbers: CpuNumbers::kept()?,
        at_once,
    };
    let until =
        started + Duration::from_secs(args.limit_secs) - FOR_THE_REPORT.min(Duration::from_secs(args.limit_secs));
    let (mut parts, mut lines) = (Vec::new(), Vec::new());
    for part in &PARTS {
        let is_wanted = args.only.is_empty() || args.only.iter().any(|name| name == part.name);
        if !is_wanted {
            parts.push(nothing(part, Outcome::NotAskedFor, "it was not asked for (--only)"));
            lines.push(Vec::new());
            continue;
        }
        if Instant::now() >= until {
            parts.push(nothing(part, Outcome::NotReached, "the time of the whole was over"));
            lines.push(Vec::new());
            continue;
        }
        eprintln!("[{:4.0} s] {}: {}", started.elapsed().as_secs_f64(), part.name, part.question);
        let (done, on_page) = one(part, &stage, until);
        for line in done.why.iter().chain(&done.left_out) {
            eprintln!("         {line}");
        }
        eprintln!("[{:4.0} s] {}: {}", started.elapsed().as_secs_f64(), part.name, done.outcome.words());
        parts.push(done);
        lines.push(on_page);
    }
    // Models and runs of a card's size are gigabytes.
    _ = std::fs::remove_dir_all(&stage.work);
    let all_right = parts.iter().all(|part| part.outcome.is_no_fault());
    let report = Report {
        format: FORMAT,
        tercet: env!("CARGO_PKG_VERSION").to_owned(),
        small: args.small,
        all_right,
        began,
        secs: started.elapsed().as_secs_f64(),
        shape: stage.sizes.shape.to_owned(),
        config: stage.sizes.model.json().as_object().cloned().unwrap_or_default(),
        timed: stage.sizes.timed,
        cpu_numbers: stage.numbers.made.clone(),
        parts,
    };
    let [page, json] = write_both(&report, &lines, &folder)?;
    println!("{}: {}", if all_right { "all right" } else { "SOMETHING IS NOT RIGHT" }, summary(&report));
    println!("to read: {}\nto send: {}", page.display(), json.display());
    Ok(i32::from(!all_right))
}

/// Does a part, whatever happens in it is its outcome; and what the page has of it.
fn one(part: &Part, stage: &Stage, until: Instant) -> (card::Part, Vec<String>) {
    let started = Instant::now();
    let mut found = Found::default();
    let result = (part.run)(stage, &mut found, until.min(started + Duration::from_secs(part.limit_secs)));
    let mut why = found.wrong;
    let outcome = match result {
        Ok(()) if why.is_empty() => Outcome::Ok,
        Ok(()) => Outcome::Wrong,
        Err(error) => {
            let nothing_to_do = error.is::<NothingToDo>();
            why.push(format!("{error:#}"));
            if nothing_to_do { Outcome::NotRun } else { Outcome::Failed }
        }
    };
    let done = card::Part {
        outcome,
        why,
        left_out: found.left_out,
        secs: started.elapsed().as_secs_f64(),
        figures: found.figures,
        ..nothing(part, outcome, "")
    };
    (done, found.lines)
}

/// A part that was not begun.
fn nothing(part: &Part, outcome: Outcome, why: &str) -> card::Part {
    card::Part {
        name: part.name.to_owned(),
        question: part.question.to_owned(),
        outcome,
        why: vec![why.to_owned()],
        left_out: Vec::new(),
        secs: 0.0,
        limit_secs: part.limit_secs,
        figures: Figures::default(),
    }
}

/// Computes what a GPU's numbers are compared with, on this machine's processors, and writes it to `file`.
fn write_cpu_numbers(programs: Programs, folder: &Path, file: &Path) -> anyhow::Result<()> {
    const LIMIT: Duration = Duration::from_secs(3600);
    let until = Instant::now() + LIMIT;
    let sizes = Sizes::of(0, false);
    let (work, numbers) = (folder.join("work"), CpuNumbers::default());
    let stage = Stage { programs, sizes, work, num_gpus: 0, free_bytes: 0, numbers, at_once: 1 };
    let report: probe::Report = stage.json(stage.programs.worker(["probe", "--lens", "1"]), until)?;
    ensure!(report.num_gpus == 0, "this machine has a GPU: the CPU's numbers are made on one that has none");
    let doctor: Value = stage.json(stage.programs.tercet(["doctor", "--json", "-"]), until)?;
    let mut made = std::collections::BTreeMap::new();
    made.insert("command".to_owned(), "tercet-test-gpu --write-cpu-numbers tests/gpu/cpu-numbers.json".to_owned());
    made.insert("seconds_since_1970".to_owned(), now().to_string());
    made.insert("processor".to_owned(), processor());
    for name in ["tercet", "libtorch"] {
        let version =
            doctor["ranks"][0]["versions"][name].as_str().context("tercet doctor does not tell the versions")?;
        made.insert(name.to_owned(), version.to_owned());
    }
    let numbers = CpuNumbers { made, steps: cpu_steps(&stage, until)?, training: cpu_runs(&stage, until)? };
    write(file, numbers.text()?)?;
    std::fs::remove_dir_all(folder).with_context(|| format!("removing {}", folder.display()))?;
    println!("written: {}", file.display());
    Ok(())
}

/// The name of this machine's processor.
fn processor() -> String {
    let text = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let named = text.lines().find_map(|line| line.strip_prefix("model name")?.split_once(':'));
    named.map_or_else(|| std::env::consts::ARCH.to_owned(), |(_, name)| name.trim().to_owned())
}

/// Seconds since 1970.
fn now() -> u64 {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_secs())
}
