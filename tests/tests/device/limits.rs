//! What the GPU path asks of a device, counted: calls of operators, waits of the host for the device, copies between
//! them. limits.txt beside this file has the bounds, which may only fall.
//!
//! A part of a step is the difference of two runs that differ by it: a layer more, a pass more (graphs that are not kept
//! are computed again), a sub-batch more, a step more. All texts are equally long, so that every sub-batch is one group.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::fs;
use std::path::PathBuf;

use serde_json::{Value, json};
use tercet_fixtures::{ModelConfig, RecipeBuilder};
use tercet_tests::batch::TokenBatch;
use tercet_tests::place::{Place, recipe};
use tercet_tests::program::Tercet;
use tercet_tests::stand_in::{Counts, StandIn};

use super::ranks::over;

const VOCABULARY: usize = 60;
/// Tokens of a text.
const LEN: usize = 12;
const QUERIES: usize = 4;
const GROUP: usize = 3;
const TEXTS: usize = QUERIES + QUERIES * GROUP;

/// Models of two and three layers, with dropout or without, and a batch.
struct Bench {
    place: Place,
    device: StandIn,
}

/// What distinguishes one run of `tercet step` from another.
#[derive(Clone, Copy)]
struct Run {
    layers: usize,
    dropout: bool,
    keeps: bool,
    sub_batches: usize,
}

const PLAIN: Run = Run { layers: 2, dropout: false, keeps: true, sub_batches: 1 };

impl Bench {
    fn new() -> Option<Self> {
        let bench = Self { device: StandIn::new(2)?, place: Place::new() };
        TokenBatch::even(3, QUERIES, GROUP, (LEN, LEN), VOCABULARY).write(&bench.place.path("batch.safetensors"));
        bench.store();
        for layers in [2, 3] {
            let run_dir = bench.place.path(&format!("layers-{layers}"));
            let train = Tercet::new("train").arg(bench.recipe(layers)).ranks(1).set("steps=0");
            train.set(format!("run_dir={}", run_dir.display())).succeed();
        }
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
        let shape = ModelConfig { num_layers: layers, ..ModelConfig::of_width(32, VOCABULARY, LEN + 4) };
        let config = self.place.model_config(&format!("config-{layers}.json"), &shape);
        let recipe = RecipeBuilder::new("limits", 1).fresh_model(&config, &self.place.path("rows-tokenizer.json"));
        let recipe = recipe.data(&self.place.path("rows"), [LEN, LEN], GROUP).length_groups(&[(LEN, QUERIES)]);
        let recipe = recipe.set("checkpoint.every_steps", 0).set("precision", "bf16").set("loss.distill_start_step", 0);
        let recipe = recipe.set("sub_batch_tokens", 10_000).set("kept_graph_tokens", 10_000);
        self.place.recipe(&format!("recipe-{layers}.toml"), &recipe)
    }

    fn counted(&self, name: &str, command: impl FnOnce(&StandIn) -> Tercet) -> Counts {
        let file = self.place.path(name);
        command(&self.device.clone().with("STAND_IN_COUNTS", &file)).succeed();
        Counts::read(&file)
    }

    fn step(&self, run: Run) -> Counts {
        let Run { layers, dropout, keeps, sub_batches } = run;
        let model = self.place.path(&format!("layers-{layers}/step-00000000/model"));
        let step = Tercet::new("step").arg(recipe("golden.toml")).arg("--json").ranks(1).arg("--model").arg(model);
        let step = step.arg("--tokens").arg(self.place.path("batch.safetensors")).set("precision=bf16");
        let step = step.set(format!("model.dropout={}", if dropout { 0.1 } else { 0.0 }));
        let step = step.set(format!("kept_graph_tokens={}", if keeps { 10_000 } else { 0 }));
        let step = step.set(format!("sub_batch_texts={}", TEXTS / sub_batches)).set("sub_batch_tokens=10000");
        let name = format!("step-{layers}-{dropout}-{keeps}-{sub_batches}");
        self.counted(&name, |device| device.under(step))
    }

    fn train(&self, ranks: usize, steps: usize) -> Counts {
        let name = format!("train-{ranks}-{steps}");
        let run_dir = self.place.path(&format!("{name}-run"));
        let train = Tercet::new("train").arg(self.place.path("recipe-2.toml")).ranks(ranks);
        let train = train.set(format!("steps={steps}")).set(format!("run_dir={}", run_dir.display()));
        let calls = self.place.path("calls");
        self.counted(&name, |device| match ranks {
            1 => device.under(train),
            _ => over("nccl", device, train, &calls),
        })
    }

    /// The parts of a step, each by itself.
    fn parts(&self) -> Vec<(&'static str, Counts)> {
        let [two, three] = [2, 3].map(|layers| self.step(Run { layers, ..PLAIN }));
        let mut parts = Vec::new();
        for (dropout, [forward, backward]) in [
            (false, ["layer forward", "layer backward"]),
            (true, ["layer forward with dropout", "layer backward with dropout"]),
        ] {
            let more = |keeps: bool| {
                let [two, three] = [2, 3].map(|layers| self.step(Run { layers, dropout, keeps, ..PLAIN }));
                three.less(&two)
            };
            let (both, thrice) = if dropout { (more(true), more(false)) } else { (three.less(&two), more(false)) };
            let again = thrice.less(&both);
            parts.extend([(backward, both.less(&again)), (forward, again)]);
        }
        parts.push(("sub-batch", self.step(Run { sub_batches: 2, ..PLAIN }).less(&two)));
        parts.push(("step", self.train(1, 3).less(&self.train(1, 2))));
        parts.push(("step of two ranks", self.train(2, 3).less(&self.train(2, 2))));
        parts
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
        let comments: String =
            fs::read_to_string(file()).unwrap().lines().filter(|l| l.starts_with('#')).map(|l| format!("{l}\n")).collect();
        let lines: String = table.iter().map(|(name, number)| format!("{name} {number}\n")).collect();
        fs::write(file(), comments + &lines).unwrap();
    }
    assert!(
        said.is_empty(),
        "limits.txt has what may be asked of a device at most. It may only fall: TERCET_BLESS=1 lowers it to what is \
         found, and raises nothing.\n{said}"
    );
}
