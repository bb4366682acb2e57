//! What the GPU path asks of a device, counted: calls of operators, waits of the host for the device, copies between
//! them. limits.txt beside this file has the bounds, which may only fall.
//!
//! A step is the difference of two runs, of three steps and of two. A part of it is the difference of two steps that
//! differ by it: a layer more, a pass more (graphs that are not kept are computed again), a sub-batch more. All texts
//! are equally long, so that every sub-batch is one group of equal texts. Dropout is 0.1.

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
    /// What carries tensors between ranks.
    backend: &'static str,
}

/// All graphs are kept, in one sub-batch.
const PLAIN: Step = Step { layers: 2, keeps: true, sub_batches: 1, ranks: 1, backend: "nccl" };

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
        let tiny = ModelConfig::of_width(32, VOCABULARY, LEN + 4);
        let config = ModelConfig { num_layers: layers, dropout: 0.1, ..tiny };
        let config = self.place.model_config(&format!("config-{layers}.json"), &config);
        let recipe = RecipeBuilder::new("limits", 1).fresh_model(&config, &self.place.path("rows-tokenizer.json"));
        let recipe = recipe.data(&self.place.path("rows"), [LEN, LEN], GROUP).length_groups(&[(LEN, QUERIES)]);
        let recipe = recipe.set("checkpoint.every_steps", 0).set("precision", "bf16").set("loss.distill_start_step", 0);
        self.place.recipe(&format!("recipe-{layers}.toml"), &recipe.set("sub_batch_tokens", 10_000))
    }

    /// What all ranks ask for in one step: three steps less two.
    fn step(&self, step: Step) -> Counts {
        let [three, two] = [3, 2].map(|steps| self.train(step, steps));
        three.less(&two)
    }

    fn train(&self, step: Step, steps: usize) -> Counts {
        let Step { layers, keeps, sub_batches, ranks, backend } = step;
        let name = format!("{layers}-{keeps}-{sub_batches}-{ranks}-{backend}-{steps}");
        let path = |what: &str| self.place.path(&format!("{what}-{name}"));
        let train = Tercet::new("train").arg(self.recipe(layers)).ranks(ranks).set(format!("steps={steps}"));
        let train = train.set(format!("run_dir={}", path("run").display()));
        let train = train.set(format!("kept_graph_tokens={}", if keeps { 10_000 } else { 0 }));
        let train = train.set(format!("sub_batch_texts={}", TEXTS / ranks / sub_batches));
        let device = self.device.clone().with("STAND_IN_COUNTS", path("counts"));
        match ranks {
            1 => device.under(train).succeed(),
            _ => over(backend, &device, train, &path("calls")).succeed(),
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
            ("step of two ranks over mpi", self.step(Step { ranks: 2, backend: "mpi", ..PLAIN })),
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
        for kind in ["launch", "wait", "copy"] {
            let (name, found) = (format!("{part}: {kind}"), counts.sum(kind));
            let limit = known.get(&name).copied();
            println!("{name} {found}: {}", counts.words(kind));
            if limit.is_none_or(|limit| found > limit) && !(blesses && limit.is_none()) {
                writeln!(said, "{name}: {found}, the limit is {limit:?}: {}", counts.words(kind)).unwrap();
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
