//! The tables of predicted times in docs/gpu.md are what `tercet plan` says, and so are numbers in the words around
//! them.
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

/// The setting of stage 3's last line.
const ROUNDED: &str = "ring_precision=\"bf16\"";

fn plan(
    place: &Place,
    stage: u8,
    card: &str,
    world: usize,
    batches: &[(usize, usize)],
    setting: Option<&str>,
) -> Value {
    let (_, store, ..) = STAGES[usize::from(stage) - 1];
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
    let tercet = setting.into_iter().fold(tercet, Tercet::set);
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
    for (stage, .., batches) in STAGES {
        let plans = WORLDS.map(|world| plan(place, stage, CARD, world, batches, None));
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
        writeln!(page, "| the run | {} | |", plans.each_ref().map(run).join(" | ")).unwrap();
        if stage == 3 {
            let rounded = WORLDS.map(|world| run(&plan(place, stage, CARD, world, batches, Some(ROUNDED))));
            writeln!(page, "| the run with `ring_precision = \"bf16\"` | {} | |", rounded.join(" | ")).unwrap();
        }
        page.push('\n');
    }
}

/// `50.1 k`.
fn thousands(tokens: f64) -> String {
    format!("{:.0} k", tokens / 1e3)
}

/// What stage 2's ranks keep of their shares: of the batches of each length group every kind that there is.
fn kept(page: &mut String, stage_2: &Value) {
    head(page, &["stage 2 on 96 cards, texts up to", "tokens of a rank's share, graphs kept"].map(str::to_owned));
    for group in stage_2["lengths"].as_array().unwrap() {
        let cells = stage_2["cells"].as_array().unwrap().iter();
        let dealt =
            |cell: &&Value| cell["up_to_tokens"] == group["up_to_tokens"] && number(&cell["dealt_batches"]) > 0.0;
        let mut kinds: Vec<(u64, String)> = cells
            .filter(dealt)
            .map(|cell| {
                let share = number(&cell["batch"]["tokens"]) / 96.0;
                let kept = percent(&cell["batch"]["kept_share"]);
                (share as u64, format!("{}, {kept}", thousands(share)))
            })
            .collect();
        kinds.sort();
        kinds.dedup_by(|a, b| a.1 == b.1);
        let kinds: Vec<String> = kinds.into_iter().map(|(_, kind)| kind).collect();
        writeln!(page, "| {} | {} |", group["up_to_tokens"], kinds.join("; ")).unwrap();
    }
    page.push('\n');
}

/// The paper's runs on cards of each kind; the plans of stage 2.
fn cards(page: &mut String, place: &Place) -> [Value; CARDS.len()] {
    let runs = STAGES.map(|(stage, _, world, _)| format!("stage {stage}, {world} cards"));
    let kept = "tokens whose graphs a rank keeps in stage 2".to_owned();
    head(page, &[&["card".to_owned()], &runs[..], &[kept]].concat());
    CARDS.map(|card| {
        let [first, second, third] = STAGES.map(|(stage, _, world, _)| plan(place, stage, card, world, &[], None));
        let runs = [&first, &second, &third].map(run);
        let kept = number(&second["fit"]["kept_graph_tokens"]);
        writeln!(page, "| {card} | {} | {} |", runs.join(" | "), thousands(kept)).unwrap();
        second
    })
}

/// What is said in words, of these plans.
fn words(stage_2: &[Value; CARDS.len()], place: &Place) -> Vec<String> {
    let shortest = |card: &str| {
        let plan = &stage_2[CARDS.iter().position(|known| *known == card).unwrap()];
        let steps = plan["cells"].as_array().unwrap().iter().filter(|cell| number(&cell["dealt_batches"]) > 0.0);
        let shortest = steps.map(|cell| number(&total(&cell["batch"]))).fold(f64::INFINITY, f64::min);
        secs(&shortest.into())
    };
    let (.., batches) = STAGES[2];
    let third = plan(place, 3, CARD, 8, batches, None);
    let step = &third["lengths"][0]["batch"];
    let scoring = percent(&(number(&step["secs"]["scoring_secs"]) / number(&total(step))).into());
    vec![
        format!("takes {} on an A100 and {} on an H100", shortest("a100-80"), shortest("h100")),
        format!("their gradients are {scoring} of stage 3's shortest group on 8 cards"),
    ]
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
    let stage_2 = cards(&mut page, &place);
    page += "\n";
    kept(&mut page, &stage_2[CARDS.iter().position(|card| *card == CARD).unwrap()]);

    let path = root().join("docs/gpu.md");
    let text = fs::read_to_string(&path).unwrap();
    let (before, rest) = text.split_once(BEGIN).unwrap();
    let (found, after) = rest.split_once(END).unwrap();
    if std::env::var_os("TERCET_BLESS").is_some() {
        fs::write(&path, format!("{before}{BEGIN}{page}{END}{after}")).unwrap();
    } else {
        let differs = page.lines().zip(found.lines()).find(|(ours, theirs)| ours != theirs);
        assert!(page == found, "docs/gpu.md has other times, first {differs:?}; TERCET_BLESS=1 writes what is planned");
    }
    let in_lines: Vec<&str> = [before, after].iter().flat_map(|text| text.split_whitespace()).collect();
    for words in words(&stage_2, &place) {
        assert!(in_lines.join(" ").contains(&words), "docs/gpu.md does not say: {words}");
    }
}
