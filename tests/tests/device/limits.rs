//! What the GPU path asks of a device, counted: calls of operators, waits of the host for the device, copies between
//! them. limits.txt beside this file has the bounds, which may only fall.
//!
//! A step is the difference of two runs, of three steps and of two. A part of it is the difference of two steps that
//! differ by it: a layer more, a pass more (graphs that are not kept are computed again), a sub-batch more. All texts
//! are equally long, so that every sub-batch is one group of equal texts. Dropout is 0.1.
//!
//! Bytes are those that operators read and write beside products and attention, which a card's arithmetic holds up and
//! not its memory. They follow from the shapes of what an operator is given and gives, as if nothing stayed in a cache,
//! and are reckoned up linearly, from the model at hand to [`LARGE_TOKENS`] tokens of width [`LARGE_WIDTH`].

use std::collections::BTreeMap;
use std::fmt::Write;
use std::fs;
use std::path::PathBuf;

use serde_json::{Value, json};
use tercet_fixtures::{ModelConfig, RecipeBuilder};
use tercet_tests::place::Place;
use tercet_tests::program::Tercet;
use tercet_tests::stand_in::{Counts, StandIn};

use super::ranks::over;

const VOCABULARY: usize = 60;
/// Tokens of a text.
const LEN: usize = 12;
const QUERIES: usize = 4;
const GROUP: usize = 3;
/// Texts of a batch, of all ranks.
const TEXTS: usize = QUERIES + QUERIES * GROUP;

const WIDTH: usize = 32;
/// What bytes are reckoned up to.
const LARGE_TOKENS: usize = 16_384;
const LARGE_WIDTH: usize = 1024;

/// What is counted: its name in limits.txt, the kind of the stand-in's counts, and which of them count.
const KINDS: [Kind; 6] = [
    Kind { name: "launch", counted: "launch", counts: |_| true },
    Kind { name: "wait", counted: "wait", counts: |_| true },
    Kind { name: "copy", counted: "copy", counts: |_| true },
    // The host waits until it is over, or the memory is not page-locked.
    Kind { name: "copy that blocks", counted: "copy", counts: |what| what.contains("(blocks") },
    // The thread that sends has itself gathered what it sends.
    Kind { name: "copy made late", counted: "copy", counts: |what| what.contains("(made late)") },
    Kind { name: "megabytes", counted: "bytes", counts: |what| !is_product(what) },
];

struct Kind {
    name: &'static str,
    counted: &'static str,
    counts: fn(&str) -> bool,
}

impl Kind {
    /// The number in `counts`; of a part for which it means nothing, none.
    fn of(&self, part: &str, counts: &Counts) -> Option<i64> {
        let sum = counts.sum(self.counted, self.counts);
        if self.name != "megabytes" {
            return Some(sum);
        }
        let scale = (LARGE_TOKENS * LARGE_WIDTH) as f64 / (TEXTS * LEN * WIDTH) as f64;
        part.starts_with("layer ").then(|| (sum as f64 * scale / 1e6).ceil() as i64)
    }
}

fn is_product(operator: &str) -> bool {
    ["addmm", "mm", "bmm", "baddbmm"].contains(&operator.split('.').next().unwrap())
}

/// A store, and recipes for models of two and three layers.
struct Bench {
    place: Place,
    device: StandIn,
}

/// What distinguishes one step from another.
#[derive(Clone, Copy)]
struct Step {
    layers: usize,
    keeps: bool,
    sub_batches: usize,
    ranks: usize,
}

/// All graphs are kept, in one sub-batch.
const PLAIN: Step = Step { layers: 2, keeps: true, sub_batches: 1, ranks: 1 };

impl Bench {
    fn new() -> Option<Self> {
        let bench = Self { device: StandIn::new(2)?, place: Place::new() };
        bench.store();
        Some(bench)
    }

    /// Rows whose texts all have [`LEN`] tokens, two of them for the frame.
    fn store(&self) {
        let text = |seed: usize| {
            let word = |i: usize| format!("w{}", 4 + (seed * 31 + i * 7) % (VOCABULARY - 4));
            (0..LEN - 2).map(word).collect::<Vec<_>>().join(" ")
        };
        let row = |i: usize| json!({"query": text(i), "pos": [text(i + 1)], "neg": [text(i + 2), text(i + 3)]});
        self.place.store_of("rows", &(0..40).map(|i| row(5 * i)).collect::<Vec<Value>>(), VOCABULARY);
    }

    fn recipe(&self, layers: usize) -> PathBuf {
        let tiny = ModelConfig::of_width(WIDTH, VOCABULARY, LEN + 4);
        let config = ModelConfig { num_layers: layers, dropout: 0.1, ..tiny };
        let config = self.place.model_config(&format!("config-{layers}.json"), &config);
        let recipe = RecipeBuilder::new("limits", 1).fresh_model(&config, &self.place.path("rows-tokenizer.json"));
        let recipe = recipe.data(&self.place.path("rows"), [LEN, LEN], GROUP).length_groups(&[(LEN, QUERIES)]);
        let recipe = recipe.set("precision", "bf16").set("loss.distill_start_step", 0);
        self.place.recipe(&format!("recipe-{layers}.toml"), &recipe.set("sub_batch_tokens", 10_000))
    }

    /// What all ranks ask for in one step: three steps less two.
    fn step(&self, step: Step) -> Counts {
        let [three, two] = [3, 2].map(|steps| self.train(step, steps, 0));
        three.less(&two)
    }

    /// What a checkpoint asks for, before the last one.
    fn checkpoint(&self) -> Counts {
        let [with, without] = [1, 0].map(|every| self.train(PLAIN, 2, every));
        with.less(&without)
    }

    fn train(&self, step: Step, steps: usize, checkpoint_every: usize) -> Counts {
        let Step { layers, keeps, sub_batches, ranks } = step;
        let name = format!("{layers}-{keeps}-{sub_batches}-{ranks}-{steps}-{checkpoint_every}");
        let path = |what: &str| self.place.path(&format!("{what}-{name}"));
        let train = Tercet::new("train").arg(self.recipe(layers)).ranks(ranks).set(format!("steps={steps}"));
        let train = train.set(format!("run_dir={}", path("run").display()));
        let train = train.set(format!("checkpoint.every_steps={checkpoint_every}"));
        let train = train.set(format!("kept_graph_tokens={}", if keeps { 10_000 } else { 0 }));
        let train = train.set(format!("sub_batch_texts={}", TEXTS / ranks / sub_batches));
        let device = self.device.clone().with("STAND_IN_COUNTS", path("counts"));
        match ranks {
            1 => device.under(train).succeed(),
            _ => over("nccl", &device, train, &path("calls")).succeed(),
        };
        Counts::read(&path("counts"))
    }

    /// The parts of a step, each by itself.
    fn parts(&self) -> Vec<(&'static str, Counts)> {
        let plain = self.step(PLAIN);
        let both = self.step(Step { layers: 3, ..PLAIN }).less(&plain);
        let [three, two] = [3, 2].map(|layers| self.step(Step { layers, keeps: false, ..PLAIN }));
        let forward = three.less(&two).less(&both);
        vec![
            ("layer backward", both.less(&forward)),
            ("layer forward", forward),
            ("sub-batch", self.step(Step { sub_batches: 2, ..PLAIN }).less(&plain)),
            ("step of two ranks", self.step(Step { ranks: 2, ..PLAIN })),
            ("checkpoint", self.checkpoint()),
            ("step", plain),
        ]
    }
}

fn file() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/device/limits.txt")
}

/// The bounds, by "part: kind".
fn limits() -> BTreeMap<String, i64> {
    let text = fs::read_to_string(file()).unwrap_or_default();
    let line = |line: &str| line.rsplit_once(' ').map(|(name, number)| (name.to_owned(), number.parse().unwrap()));
    text.lines().filter(|line| !line.starts_with('#')).filter_map(line).collect()
}

#[test]
fn what_a_step_asks_of_a_device_only_falls() {
    let Some(bench) = Bench::new() else { return };
    let blesses = std::env::var_os("TERCET_BLESS").is_some_and(|bless| bless == "1");
    let (known, mut said, mut table) = (limits(), String::new(), BTreeMap::new());
    for (part, counts) in bench.parts() {
        for kind in KINDS {
            let Some(found) = kind.of(part, &counts) else { continue };
            let name = format!("{part}: {}", kind.name);
            let (limit, words) = (known.get(&name).copied(), counts.words(kind.counted, kind.counts));
            println!("{name} {found}: {words}");
            if limit.is_none_or(|limit| found > limit) && !(blesses && limit.is_none()) {
                writeln!(said, "{name}: {found}, the limit is {limit:?}: {words}").unwrap();
            } else if limit != Some(found) && !blesses {
                writeln!(said, "{name}: {found}, and the limit is still {limit:?}").unwrap();
            }
            table.insert(name, limit.map_or(found, |limit| limit.min(found)));
        }
    }
    if blesses && said.is_empty() {
        let comments: String = fs::read_to_string(file())
            .unwrap()
            .lines()
            .filter(|l| l.starts_with('#'))
            .map(|l| format!("{l}\n"))
            .collect();
        let lines: String = table.iter().map(|(name, number)| format!("{name} {number}\n")).collect();
        fs::write(file(), comments + &lines).unwrap();
    }
    assert!(
        said.is_empty(),
        "limits.txt has what may be asked of a device at most. It may only fall: TERCET_BLESS=1 lowers it to what is \
         found, and raises nothing.\n{said}"
    );
}
