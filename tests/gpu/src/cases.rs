//! The steps whose numbers are compared: objectives on a small batch, in each precision.

use std::process::Command;

use anyhow::Context;
use tercet_tests::batch::TokenBatch;

use crate::inputs::{self, WIDE_LEN, WIDE_WORDS};
use crate::programs::Programs;
use std::path::{Path, PathBuf};

/// The precisions, most exact first.
pub const PRECISIONS: [&str; 3] = ["fp64", "fp32", "bf16"];

/// A step.
pub struct Case {
    /// What it is called.
    pub name: &'static str,
    /// Whether it is the wide model; else it is the golden one.
    pub wide: bool,
    /// What differs from the recipe.
    pub settings: &'static [&'static str],
    /// Whether `--small` does it.
    pub small: bool,
}

const fn nano(name: &'static str, settings: &'static [&'static str], small: bool) -> Case {
    Case { name, wide: false, settings, small }
}

/// All of them. Texts are cut into sub-batches in several ways, some graphs are kept, some computed again.
pub const CASES: [Case; 12] = [
    nano("unified", &[], true),
    nano("paper-v1", &["loss.preset=paper-v1", "sub_batch_texts=3"], false),
    nano("independent", &["loss.preset=independent"], false),
    nano("dense", &["loss.preset=dense", "kept_graph_tokens=1000000"], false),
    nano("mean pooling", &["model.pooling=mean"], false),
    nano("not normalised", &["model.normalize=false", "loss.temperature=1"], false),
    nano("teacher, KL", &["loss.teacher=kl_div", "sub_batch_texts=1"], true),
    nano("teacher, m3", &["loss.teacher=m3_kd_loss", "loss.distill=false"], false),
    nano("two ways", &["data.two_way=true"], false),
    nano("own negatives", &["data.negatives=own"], false),
    Case {
        name: "wide, unified",
        wide: true,
        settings: &["loss.temperature=0.05", "kept_graph_tokens=600"],
        small: true,
    },
    Case { name: "wide, dense", wide: true, settings: &["loss.preset=dense", "loss.temperature=0.05"], small: false },
];

/// Where the models, batches and the recipe of the cases lie.
pub struct Inputs {
    folder: PathBuf,
}

impl Inputs {
    /// Writes them into `folder`.
    ///
    /// # Errors
    /// They cannot be written.
    pub fn write(folder: &Path) -> anyhow::Result<Self> {
        inputs::nano_model(&folder.join("nano"))?;
        inputs::wide_model(&folder.join("wide"))?;
        TokenBatch::random(1, 4, 3, 32).write(&folder.join("nano.safetensors"));
        let mut batch = TokenBatch::random(2, 4, 3, WIDE_LEN);
        // Two of one length, so that a group of several texts has no mask, and two that differ by one token.
        let even = TokenBatch::even(3, 1, 4, (16, WIDE_LEN - 2), WIDE_WORDS);
        batch.passages[6..10].clone_from_slice(&even.passages);
        batch.passages[9].remove(5);
        batch.write(&folder.join("wide.safetensors"));
        let recipe = "name = \"golden\"\nsub_batch_tokens = 1024\n\n[model]\npooling = \"cls\"\nnormalize = true\ndropout = \
                      0.0\n\n[loss]\npreset = \"unified\"\ntemperature = 0.02\ndistill = true\ndistill_start_step = 0\n";
        inputs::write(&folder.join("golden.toml"), recipe)?;
        Ok(Self { folder: folder.to_owned() })
    }

    /// The command that computes a case on `ranks` ranks.
    pub fn step(&self, programs: &Programs, case: &Case, precision: &str, ranks: usize) -> Command {
        let model = if case.wide { "wide" } else { "nano" };
        let mut command = programs.tercet(["step"]);
        command.arg(self.folder.join("golden.toml")).arg("--model").arg(self.folder.join(model));
        command.arg("--tokens").arg(self.folder.join(format!("{model}.safetensors"))).args(["--json", "-n"]);
        command.arg(ranks.to_string()).arg("--set").arg(format!("precision={precision}"));
        for setting in case.settings {
            command.arg("--set").arg(setting);
        }
        command
    }

    /// The wide model's folder.
    ///
    /// # Errors
    /// Its path is no text.
    pub fn wide(&self) -> anyhow::Result<String> {
        self.folder.join("wide").to_str().map(str::to_owned).context("the folder's path is not UTF-8")
    }
}
