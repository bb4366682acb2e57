//! What the GPU path asks of a device, counted: calls of operators, waits of the host for the device, copies between
//! them. limits.txt beside this file has the bounds, which may only fall.
//!
//! A step is the difference of two runs, of three steps and of two. A part of it is the difference of two steps that
//! differ by it: a layer more, a pass more (graphs that are not kept are computed again), a sub-batch more. Texts are
//! few and equally long. The step of stage 3 has the texts that a rank of 24 has there, which make many similarities,
//! and a miniature for a model: only vectors that are gathered would be more launches in a wide one. Dropout is 0.1.
//!
//! Bytes are those that operators of a pass read and write beside products and attention, which a card's arithmetic
//! holds up and not its memory. They follow from the shapes of what an operator is given and gives, as if nothing
//! stayed in a cache, and are reckoned up linearly, from the model at hand to [`LARGE_TOKENS`] tokens of width
//! [`LARGE_WIDTH`].

use std::collections::BTreeMap;
use std::fmt::Write;
use std::fs;
use std::path::PathBuf;

use serde_json::{Value, json};
use tercet_fixtures::{ModelConfig, RecipeBuilder};
use tercet_tests::place::Place;
use tercet_tests::program::Tercet;
use tercet_tests::stand_in::{Counts, StandIn};
use tercet_tests::text_scene::TextScene;

use super::ranks::over;

const VOCABULARY: usize = 60;
/// Tokens of a text.
const LEN: usize = 12;
/// More than any batch has.
const MOST_TOKENS: usize = 200_000;

/// The texts of a batch, of all ranks.
#[derive(Clone, Copy)]
struct Texts {
    store: &'static str,
    queries: usize,
    /// Passages for each.
    group: usize,
    /// Tokens of a query, and of a passage.
    lens: [usize; 2],
}

const FEW: Texts = Texts { store: "rows", queries: 4, group: 3, lens: [LEN, LEN] };
/// As many tokens for the width as are reckoned up to, so that what goes by tokens and what goes by weights grow alike.
const LONGER: Texts = Texts { store: "rows-longer", queries: 4, group: 3, lens: [32, 32] };
const STAGE_3: Texts = Texts { store: "rows-3", queries: 48, group: 8, lens: [20, 250] };

impl Texts {
    fn num(self) -> usize {
        self.queries * (1 + self.group)
    }
}

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
    Kind { name: "megabytes", counted: "bytes", counts: passes_over_memory },
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
        let scale = (LARGE_TOKENS * LARGE_WIDTH) as f64 / (LONGER.num() * LONGER.lens[1] * WIDTH) as f64;
        part.starts_with("layer ").then(|| (sum as f64 * scale / 1e6).ceil() as i64)
    }
}

/// Not those of products, nor those of the update, which comes once a step and goes by the weights alone.
fn passes_over_memory(operator: &str) -> bool {
    let of_products = ["addmm", "mm", "bmm", "baddbmm"];
    let of_the_update = ["tercet::adamw", "_foreach_norm", "zero_"];
    let name = operator.split('.').next().unwrap();
    !of_products.contains(&name) && !of_the_update.contains(&name)
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
    /// Ranks share AdamW's moments out.
    sharded: bool,
    texts: Texts,
    /// What carries tensors between ranks.
    backend: &'static str,
}

/// All graphs are kept, in one sub-batch.
const PLAIN: Step =
    Step { layers: 2, keeps: true, sub_batches: 1, ranks: 1, sharded: false, backend: "nccl", texts: FEW };

impl Bench {
    fn new() -> Option<Self> {
        let bench = Self { device: StandIn::new(2)?, place: Place::new() };
        [FEW, LONGER, STAGE_3].into_iter().for_each(|texts| bench.store(texts));
        Some(bench)
    }

    /// Rows whose queries all have as many tokens, and whose passages have, two of them for the frame.
    fn store(&self, texts: Texts) {
        let Texts { store, queries, group, lens } = texts;
        let text = |seed: usize, len: usize| {
            let word = |i: usize| format!("w{}", 4 + (seed * 31 + i * 7) % (VOCABULARY - 4));
            (0..len - 2).map(word).collect::<Vec<_>>().join(" ")
        };
        let row = |i: usize| {
            let passages: Vec<String> = (1..=group).map(|p| text(i + p, lens[1])).collect();
            json!({"query": text(i, lens[0]), "pos": passages[..1], "neg": passages[1..]})
        };
        self.place.store_of(store, &(0..10 * queries).map(|i| row(5 * i)).collect::<Vec<Value>>(), VOCABULARY);
    }

    fn recipe(&self, layers: usize, texts: Texts) -> PathBuf {
        let Texts { store, queries, group, lens } = texts;
        let tiny = ModelConfig::of_width(WIDTH, VOCABULARY, lens[1] + 4);
        let config = ModelConfig { num_layers: layers, dropout: 0.1, ..tiny };
        let config = self.place.model_config(&format!("config-{store}-{layers}.json"), &config);
        let tokenizer = self.place.path(&format!("{store}-tokenizer.json"));
        let recipe = RecipeBuilder::new("limits", 1).fresh_model(&config, &tokenizer);
        let recipe = recipe.data(&self.place.path(store), lens, group).length_groups(&[(lens[1], queries)]);
        let recipe = recipe.set("checkpoint.every_steps", 0).set("precision", "bf16").set("loss.distill_start_step", 0);
        self.place.recipe(&format!("recipe-{store}-{layers}.toml"), &recipe.set("sub_batch_tokens", MOST_TOKENS))
    }

    /// What all ranks ask for in one step: three steps less two.
    fn step(&self, step: Step) -> Counts {
        let [three, two] = [3, 2].map(|steps| self.train(step, steps, 0));
        three.less(&two)
    }

    /// What a checkpoint asks for, before the last one.
    fn checkpoint(&self, step: Step) -> Counts {
        let [with, without] = [1, 0].map(|every| self.train(step, 2, every));
        with.less(&without)
    }

    fn train(&self, step: Step, steps: usize, checkpoint_every: usize) -> Counts {
        let Step { layers, keeps, sub_batches, ranks, sharded, backend, texts } = step;
        let kind = format!("{}-{layers}-{keeps}-{sub_batches}-{ranks}-{sharded}-{backend}", texts.store);
        let name = format!("{kind}-{steps}-{checkpoint_every}");
        let path = |what: &str| self.place.path(&format!("{what}-{name}"));
        // Several parts are differences to the same run.
        if path("run").exists() {
            return Counts::read(&path("counts"));
        }
        let train = Tercet::new("train").arg(self.recipe(layers, texts)).ranks(ranks).set(format!("steps={steps}"));
        let train = train.set(format!("run_dir={}", path("run").display()));
        let train = train.set(format!("checkpoint.every_steps={checkpoint_every}"));
        let train = train.set(format!("kept_graph_tokens={}", if keeps { MOST_TOKENS } else { 0 }));
        let train = train.set(format!("optimizer.shard_state={sharded}"));
        let train = train.set(format!("sub_batch_texts={}", texts.num() / ranks / sub_batches));
        let device = self.device.clone().with("STAND_IN_COUNTS", path("counts"));
        match ranks {
            1 => device.under(train).succeed(),
            _ => over(backend, &device, train, &path("calls")).succeed(),
        };
        Counts::read(&path("counts"))
    }

    /// What a step of RetroMAE asks for, of eight texts of one length in one sub-batch.
    fn pretraining(&self) -> Counts {
        let words = |i: usize| (0..LEN).map(move |j| format!("w{}", 4 + (i * 5 + j * j) % 90));
        let scene = TextScene::of((0..48).map(|i| words(i).collect::<Vec<_>>().join(" ")));
        let [three, two] = [3, 2].map(|steps| {
            let recipe = scene.recipe(steps).set("precision", "bf16").set("checkpoint.every_steps", 0);
            // The gap is measured in no step that counts.
            let (run, counts) = (format!("run-{steps}"), scene.place.path(&format!("counts-{steps}")));
            let train = scene.train(&recipe, &run, 1).set(format!("sub_batch_tokens={MOST_TOKENS}"));
            let device = self.device.clone().with("STAND_IN_COUNTS", &counts);
            device.under(train.set("pretrain.gap_every=1000")).succeed();
            Counts::read(&counts)
        });
        three.less(&two)
    }

    /// The parts of a step, each by itself.
    fn parts(&self) -> Vec<(&'static str, Counts)> {
        let plain = self.step(PLAIN);
        let layer = |keeps| {
            let [three, two] = [3, 2].map(|layers| self.step(Step { layers, keeps, texts: LONGER, ..PLAIN }));
            three.less(&two)
        };
        let both = layer(true);
        let forward = layer(false).less(&both);
        vec![
            ("layer backward", both.less(&forward)),
            ("layer forward", forward),
            ("sub-batch", self.step(Step { sub_batches: 2, ..PLAIN }).less(&plain)),
            ("step of stage 3", self.step(Step { texts: STAGE_3, ..PLAIN })),
            ("step of pre-training", self.pretraining()),
            ("step of two ranks", self.step(Step { ranks: 2, ..PLAIN })),
            ("step of two ranks over mpi", self.step(Step { ranks: 2, backend: "mpi", ..PLAIN })),
            ("checkpoint", self.checkpoint(PLAIN)),
            // Each of the two ranks reads a sum of its weights back, to compare them.
            ("checkpoint of a sharded state", self.checkpoint(Step { ranks: 2, sharded: true, ..PLAIN })),
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
