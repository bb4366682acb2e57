//! The tables of predicted times in docs/gpu.md are what `tercet plan` says.
//!
//! The runs are those of the paper (configs/stage*.toml), over stores that have the lengths alone which
//! pipelines/m3/config/m3.yaml assumes. `TERCET_BLESS=1 make test T=predicted_times` writes the tables. Python with
//! pyarrow makes the stores; without `.deps/snakemake`, which `make m3-plan` installs, nothing is compared.

#![allow(clippy::unwrap_used)]

use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;
use tercet_tests::compare::number;
use tercet_tests::place::Place;
use tercet_tests::program::Tercet;

const BEGIN: &str = "<!-- predicted: tests/tests/plan_time.rs writes what follows -->\n";
const END: &str = "<!-- predicted: to here -->\n";

/// The card whose length groups are shown, and numbers of it.
const CARD: &str = "a100-80";
const WORLDS: [usize; 3] = [8, 24, 96];
const CARDS: [&str; 5] = ["a100-40", "a100-80", "a800-80", "h100", "h200"];

/// Writes the stores of m3.yaml's section `plan`.
const STORES: &str = "
import sys, yaml
from pathlib import Path
from lengths import Lengths
stores = yaml.safe_load(open('pipelines/m3/config/m3.yaml'))['plan']['stores']
for name in ('texts', 'pairs', 'rows1'):
    folder = Path(sys.argv[1]) / name
    folder.mkdir()
    Lengths.of_config(stores[name]).store(folder)
";

/// A stage, its store, the number of ranks that the paper had, and its batches as multiples of 96.
type Stage = (u8, &'static str, usize, &'static [(usize, usize)]);
const STAGES: [Stage; 3] = [
    (1, "texts", 32, &[(8192, 16_416)]),
    (2, "pairs", 96, &[]),
    (
        3,
        "rows1",
        24,
        &[
            (500, 1152),
            (1000, 768),
            (2000, 480),
            (3000, 480),
            (4000, 384),
            (5000, 384),
            (6000, 288),
            (7000, 288),
            (8192, 192),
        ],
    ),
];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..").canonicalize().unwrap()
}

fn plan(place: &Place, stage: u8, store: &str, card: &str, world: usize, batches: &[(usize, usize)]) -> Value {
    let (root, store) = (root(), place.path(store));
    let mut tercet = Tercet::new("plan").arg(root.join(format!("configs/stage{stage}.toml")));
    for word in ["--gpu", card, "--world", &world.to_string(), "--json", "-"] {
        tercet = tercet.arg(word);
    }
    tercet = tercet.arg("--model-config").arg(root.join("pipelines/m3/config/m3-model.json"));
    tercet = tercet.set(format!("data.store={}", store.display()));
    if !batches.is_empty() {
        let group = |(len, batch): &(usize, usize)| format!("{{max_len={len},global_batch={batch}}}");
        let groups: Vec<String> = batches.iter().map(group).collect();
        tercet = tercet.set(format!("data.length_groups=[{}]", groups.join(",")));
    }
    let plan: Value = serde_json::from_str(&tercet.succeed()).unwrap();
    assert!(plan["rates"]["measured"].as_array().unwrap().is_empty(), "{}", plan["rates"]);
    plan
}

/// `1.89 s`, `450 ms`.
fn secs(value: &Value) -> String {
    match number(value) {
        secs if secs < 0.9995 => format!("{:.0} ms", 1e3 * secs),
        secs if secs < 99.95 => format!("{secs:.1} s"),
        secs => format!("{secs:.0} s"),
    }
}

fn percent(share: &Value) -> String {
    format!("{:.0} %", 100.0 * number(share))
}

fn total(step: &Value) -> Value {
    step["secs"].as_object().unwrap().values().map(number).sum::<f64>().into()
}

/// GPU-hours, to three digits, and the share of the peak.
fn run(plan: &Value) -> String {
    let time = &plan["totals"]["time"];
    let hours = number(&time["rank_hours"]);
    let unit = 10f64.powf(hours.log10().floor() - 2.0);
    let digits = format!("{}", (hours / unit).round() * unit);
    let grouped =
        digits.len().checked_sub(3).filter(|at| *at > 0).map(|at| format!("{},{}", &digits[..at], &digits[at..]));
    format!("{} GPU-hours, {}", grouped.unwrap_or(digits), percent(&time["peak_share"]))
}

fn head(page: &mut String, cells: &[String]) {
    writeln!(page, "| {} |\n|{}", cells.join(" | "), "---|".repeat(cells.len())).unwrap();
}

/// By length groups, for each number of cards.
fn lengths(page: &mut String, place: &Place) {
    for (stage, store, _, batches) in STAGES {
        let plans = WORLDS.map(|world| plan(place, stage, store, CARD, world, batches));
        let groups = plans.each_ref().map(|plan| plan["lengths"].as_array().unwrap());
        let cards = WORLDS.map(|world| format!("{world} cards"));
        head(page, &[&[format!("stage {stage}, texts up to")], &cards[..], &["most of it".to_owned()]].concat());
        for (i, group) in groups[0].iter().enumerate() {
            let cell = |groups: &&Vec<Value>| {
                let (step, rate) = (&groups[i]["batch"], number(&groups[i]["tokens_per_sec_per_rank"]));
                format!("{}, {:.1} k, {}", secs(&total(step)), rate / 1e3, percent(&step["peak_share"]))
            };
            let cells: Vec<String> = groups.iter().map(cell).collect();
            let longest: Vec<&str> = groups.iter().map(|groups| groups[i]["longest_phase"].as_str().unwrap()).collect();
            let same = longest.iter().all(|phase| *phase == longest[0]);
            let longest = if same { longest[0].to_owned() } else { longest.join("; ") };
            writeln!(page, "| {} | {} | {longest} |", group["up_to_tokens"], cells.join(" | ")).unwrap();
        }
        writeln!(page, "| the run | {} | |\n", plans.each_ref().map(run).join(" | ")).unwrap();
    }
}

/// The paper's runs on other cards.
fn cards(page: &mut String, place: &Place) {
    let runs = STAGES.map(|(stage, _, world, _)| format!("stage {stage}, {world} cards"));
    head(page, &[&["card".to_owned()], &runs[..]].concat());
    for card in CARDS {
        let runs = STAGES.map(|(stage, store, world, _)| run(&plan(place, stage, store, card, world, &[])));
        writeln!(page, "| {card} | {} |", runs.join(" | ")).unwrap();
    }
}

#[test]
fn predicted_times_are_those_of_the_documentation() {
    let python = root().join(".deps/snakemake/bin/python");
    if !python.exists() {
        println!("not compared: {} is missing (make m3-plan installs it)", python.display());
        return;
    }
    let place = Place::new();
    let mut make = Command::new(python);
    make.args(["-B", "-c", STORES])
        .arg(place.path(""))
        .current_dir(root())
        .env("PYTHONPATH", root().join("pipelines/m3"));
    let made = make.output().unwrap();
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    let mut page = String::from("\n");
    lengths(&mut page, &place);
    cards(&mut page, &place);
    page += "\n";

    let path = root().join("docs/gpu.md");
    let text = fs::read_to_string(&path).unwrap();
    let (before, rest) = text.split_once(BEGIN).unwrap();
    let (found, after) = rest.split_once(END).unwrap();
    if std::env::var_os("TERCET_BLESS").is_some() {
        fs::write(&path, format!("{before}{BEGIN}{page}{END}{after}")).unwrap();
        return;
    }
    let differs = page.lines().zip(found.lines()).find(|(ours, theirs)| ours != theirs);
    assert!(page == found, "docs/gpu.md has other times, first {differs:?}; TERCET_BLESS=1 writes what is planned");
}
