//! The proof that a change leaves the numbers alone: twenty steps before and after, and the same bits.
//!
//! `make same-numbers` prints the weights' SHA-256 of eight runs: the dense and the unified loss, RetroMAE and masked
//! words alone, each on one rank and on two, with fresh weights from a seed, made-up texts that go the whole way from
//! files on, and dropout in all layers. `BEFORE` names another build, and the runs are compared;
//! docs/change/testing.md says how it is used.

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

/// The encoder's weights in a model directory.
const ENCODER: &str = "model.safetensors";

/// What is run on one rank and on two.
const OBJECTIVES: [Objective; 4] = [
    // The dense loss has nothing to distil.
    Objective { preset: "dense", settings: &["loss.distill_start_step=0"], ..CONTRASTIVE },
    Objective { preset: "unified", settings: &["loss.distill_start_step=8"], ..CONTRASTIVE },
    PRETRAINING,
    Objective { preset: "mlm", weights: &[ENCODER, "mlm_head.safetensors"], ..PRETRAINING },
];

const CONTRASTIVE: Objective = Objective {
    preset: "",
    recipe: "same-numbers.toml",
    tokenizer: "model/tokenizer.json",
    store: "store",
    settings: &[],
    weights: &[ENCODER, "colbert_linear.pt", "sparse_linear.pt"],
};

const PRETRAINING: Objective = Objective {
    preset: "retromae",
    recipe: "same-numbers-texts.toml",
    tokenizer: "model/mask-tokenizer.json",
    store: "texts",
    settings: &[],
    weights: &[ENCODER, "mlm_head.safetensors", "decoder.safetensors"],
};

/// What is trained for, and with what.
struct Objective {
    /// The loss's preset.
    preset: &'static str,
    recipe: &'static str,
    tokenizer: &'static str,
    store: &'static str,
    settings: &'static [&'static str],
    /// Files of the model directory.
    weights: &'static [&'static str],
}

/// A build of `tercet`, and a folder for what it makes.
struct Build {
    program: PathBuf,
    place: Place,
}

/// What a run has left.
struct Trained {
    model: PathBuf,
    weights: &'static [&'static str],
    /// Loss and gradient norm of each step.
    figures: Vec<[f64; 2]>,
}

impl Build {
    /// Has the program prepare stores of its own, of pairs and of texts: the numbers begin with the texts.
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
        let tokenizer = place.mask_tokenizer("model/mask-tokenizer.json", VOCABULARY);
        let lens = (0..120).map(|i| if i % 5 == 0 { 130 + i * 37 % 350 } else { 4 + i * 7 % 110 });
        // The last word of the other tokenizer is the mask of this one.
        let rows = topic_rows(lens, VOCABULARY - 1);
        let texts: String = rows.iter().map(|row| row["pos"][0].as_str().unwrap().to_owned() + "\n").collect();
        let texts = format!("texts={}", place.write("texts.txt", &texts).display());
        let prepare = Tercet::of(&program, "prepare").arg("--tokenizer").arg(tokenizer);
        prepare.arg("--out").arg(place.path("texts")).arg("--texts").arg(texts).succeed();
        Self { program, place }
    }

    fn train(&self, objective: &Objective, ranks: usize) -> Trained {
        let path = |name: &str| self.place.path(name);
        let Objective { preset, weights, .. } = *objective;
        let run_dir = path(&format!("{preset}-{ranks}"));
        let train = Tercet::of(&self.program, "train").arg(recipe(objective.recipe)).ranks(ranks);
        let settings = [
            format!("run_dir={}", run_dir.display()),
            format!("model.config={}", path("model/config.json").display()),
            format!("model.tokenizer={}", path(objective.tokenizer).display()),
            format!("data.store={}", path(objective.store).display()),
            format!("loss.preset={preset}"),
        ];
        let settings = settings.iter().map(String::as_str).chain(objective.settings.iter().copied());
        settings.fold(train, |train, setting| train.set(setting)).succeed();
        let figures: Vec<_> = metrics(&run_dir).iter().map(|s| [number(&s["loss"]), number(&s["grad_norm"])]).collect();
        assert_eq!(figures.len(), STEPS);
        Trained { model: run_dir.join(format!("step-{STEPS:08}/model")), weights, figures }
    }
}

impl Trained {
    fn bytes(&self) -> Vec<u8> {
        self.weights.iter().flat_map(|file| fs::read(self.model.join(file)).unwrap()).collect()
    }

    /// As `cat` of the files in their order, `| sha256sum`, says it.
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
    let [after, before] = [after, before].map(|model| tensors::read(&model.join(ENCODER)));
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
#[ignore = "two minutes, and more with BEFORE; `make same-numbers` runs it"]
fn the_weights_are_those_from_before() {
    let after = Build::new(program("tercet"));
    // Relative to where it was typed, which is the project's folder.
    let before = std::env::var_os("BEFORE").filter(|before| !before.is_empty());
    let before = before.map(|before| Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(before));
    let before = before.map(|before| Build::new(fs::canonicalize(&before).unwrap()));
    let (mut differences, mut hashes) = (BTreeMap::new(), BTreeSet::new());
    for (objective, ranks) in OBJECTIVES.iter().flat_map(|objective| [(objective, 1), (objective, 2)]) {
        let trained = after.train(objective, ranks);
        let run = format!("{}, {ranks} rank{}", objective.preset, if ranks == 1 { "" } else { "s" });
        println!("{run:18} last loss {:<20} sha256 {}", trained.figures[STEPS - 1][0], trained.sha256());
        // Were there no updates, all of a kind would be the fresh weights.
        assert!(hashes.insert(trained.sha256()), "{run}: the weights of another run");
        if let Some(before) = &before {
            let difference = trained.difference(&before.train(objective, ranks));
            println!("{:18} {}", "", difference.as_deref().unwrap_or("the same as before, to the bit"));
            differences.extend(difference.map(|difference| (run, difference)));
        }
    }
    assert!(differences.is_empty(), "not the same numbers as before: {differences:#?}");
}
