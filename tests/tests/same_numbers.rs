//! The proof that a change leaves the numbers alone: twenty steps before and after, and the same bits.
//!
//! `make same-numbers` prints the weights' SHA-256 of four runs: the dense and the unified loss, on one rank and on
//! two, fresh weights from a seed, made-up texts that go the whole way from JSON Lines on, dropout in all layers.
//! `BEFORE` names another build, and the runs are compared; docs/change/testing.md says how it is used.

#![allow(clippy::unwrap_used)]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use tercet_fixtures::ModelConfig;
use tercet_tests::compare::number;
use tercet_tests::place::{Place, recipe, topic_rows};
use tercet_tests::program::{Tercet, program};
use tercet_tests::scene::metrics;
use tercet_tests::tensors;

const STEPS: usize = 20;
const VOCABULARY: usize = 4000;

/// The weights of a model directory: the encoder's, and the heads'.
const WEIGHTS: [&str; 3] = ["model.safetensors", "colbert_linear.pt", "sparse_linear.pt"];

/// What is run: loss and ranks.
const RUNS: [(&str, usize); 4] = [("dense", 1), ("dense", 2), ("unified", 1), ("unified", 2)];

/// A build of `tercet`, and a folder for what it makes.
struct Build {
    program: PathBuf,
    place: Place,
}

/// What a run has left.
struct Trained {
    model: PathBuf,
    /// Loss and gradient norm of each step.
    figures: Vec<[f64; 2]>,
}

impl Build {
    /// Has the program prepare a store of its own: the numbers begin with the texts.
    fn new(program: PathBuf) -> Self {
        let place = Place::new();
        let tokenizer = place.word_tokenizer("model/tokenizer.json", VOCABULARY);
        let shape =
            ModelConfig { num_layers: 3, intermediate_size: 384, ..ModelConfig::of_width(192, VOCABULARY, 512) };
        place.model_config("model/config.json", &ModelConfig { dropout: 0.1, initializer_range: 0.05, ..shape });
        let out = place.path("store");
        let mut prepare = Tercet::of(&program, "prepare").arg("--tokenizer").arg(tokenizer).arg("--out").arg(out);
        for (name, lens) in [
            ("title", (0..120).map(|i| 4 + i % 30).collect::<Vec<_>>()),
            ("section", (0..90).map(|i| if i % 5 == 0 { 130 + i * 37 % 350 } else { 42 + i * 7 % 70 }).collect()),
        ] {
            let rows: String = topic_rows(lens, VOCABULARY).iter().map(|row| format!("{row}\n")).collect();
            prepare = prepare.arg(format!("{name}={}", place.write(&format!("{name}.jsonl"), &rows).display()));
        }
        prepare.succeed();
        Self { program, place }
    }

    fn train(&self, loss: &str, ranks: usize) -> Trained {
        let path = |name: &str| self.place.path(name);
        let run_dir = path(&format!("{loss}-{ranks}"));
        let train = Tercet::of(&self.program, "train").arg(recipe("same-numbers.toml")).ranks(ranks);
        let settings = [
            format!("run_dir={}", run_dir.display()),
            format!("model.config={}", path("model/config.json").display()),
            format!("model.tokenizer={}", path("model/tokenizer.json").display()),
            format!("data.store={}", path("store").display()),
            format!("loss.preset={loss}"),
            // The dense loss has nothing to distil.
            format!("loss.distill_start_step={}", if loss == "dense" { 0 } else { 8 }),
        ];
        settings.iter().fold(train, |train, setting| train.set(setting)).succeed();
        let figures: Vec<_> = metrics(&run_dir).iter().map(|s| [number(&s["loss"]), number(&s["grad_norm"])]).collect();
        assert_eq!(figures.len(), STEPS);
        Trained { model: run_dir.join(format!("step-{STEPS:08}/model")), figures }
    }
}

impl Trained {
    fn bytes(&self) -> Vec<u8> {
        WEIGHTS.iter().flat_map(|file| fs::read(self.model.join(file)).unwrap()).collect()
    }

    /// As `cat model.safetensors colbert_linear.pt sparse_linear.pt | sha256sum` says it.
    fn sha256(&self) -> String {
        let mut child = Command::new("sha256sum")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("sha256sum is missing");
        child.stdin.take().unwrap().write_all(&self.bytes()).unwrap();
        let output = child.wait_with_output().unwrap();
        String::from_utf8(output.stdout).unwrap().split(' ').next().unwrap().to_owned()
    }

    /// How far this is from `before`; none if it is the same to the bit.
    fn difference(&self, before: &Self) -> Option<String> {
        if self.bytes() == before.bytes() && self.figures == before.figures {
            return None;
        }
        let [mut loss, mut gradient] = [0.0f64; 2];
        for (after, before) in self.figures.iter().zip(&before.figures) {
            let off = |which: usize| (after[which] - before[which]).abs() / before[which].abs();
            (loss, gradient) = (loss.max(off(0)), gradient.max(off(1)));
        }
        let first = self.figures.iter().zip(&before.figures).position(|(after, before)| after != before);
        let steps = first.map_or("no step's figures differ".to_owned(), |step| {
            format!("loss by {loss:.1e} and gradient norm by {gradient:.1e} at most, from step {} on", step + 1)
        });
        Some(format!("{steps}; {}", weights_differ(&self.model, &before.model)))
    }
}

/// The tensor of the encoder that differs most, relative to its largest element.
fn weights_differ(after: &Path, before: &Path) -> String {
    let [after, before] = [after, before].map(|model| tensors::read(&model.join(WEIGHTS[0])));
    let names =
        |of: &tensors::Tensors| of.iter().map(|(name, values)| (name.clone(), values.len())).collect::<Vec<_>>();
    if names(&after) != names(&before) {
        return "the weights have other names or sizes".to_owned();
    }
    let off = |(name, before): (&String, &Vec<f64>)| {
        let largest = before.iter().fold(f64::MIN_POSITIVE, |most, x| most.max(x.abs()));
        let off = after[name].iter().zip(before).fold(0.0f64, |most, (a, b)| most.max((a - b).abs()));
        (off / largest, name.clone())
    };
    let (off, name) = before.iter().map(off).max_by(|a, b| a.0.total_cmp(&b.0)).unwrap();
    if off == 0.0 {
        "the encoder's weights are the same".to_owned()
    } else {
        format!("weights by {off:.1e} at most ({name})")
    }
}

#[test]
#[ignore = "a minute, and more with BEFORE; `make same-numbers` runs it"]
fn the_weights_are_those_from_before() {
    let after = Build::new(program("tercet"));
    // Relative to where it was typed, which is the project's folder.
    let before = std::env::var_os("BEFORE").filter(|before| !before.is_empty());
    let before = before.map(|before| Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(before));
    let before = before.map(|before| Build::new(fs::canonicalize(&before).unwrap()));
    let (mut differences, mut hashes) = (BTreeMap::new(), BTreeSet::new());
    for (loss, ranks) in RUNS {
        let trained = after.train(loss, ranks);
        let run = format!("{loss}, {ranks} rank{}", if ranks == 1 { "" } else { "s" });
        println!("{run:18} last loss {:<20} sha256 {}", trained.figures[STEPS - 1][0], trained.sha256());
        // Were there no updates, all four would be the fresh weights.
        assert!(hashes.insert(trained.sha256()), "{run}: the weights of another run");
        if let Some(before) = &before {
            let difference = trained.difference(&before.train(loss, ranks));
            println!("{:18} {}", "", difference.as_deref().unwrap_or("the same as before, to the bit"));
            differences.extend(difference.map(|difference| (run, difference)));
        }
    }
    assert!(differences.is_empty(), "not the same numbers as before: {differences:#?}");
}
