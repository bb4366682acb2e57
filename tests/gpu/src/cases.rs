//! The steps whose numbers are compared: objectives on a small batch, in each precision.

use std::process::Command;

use anyhow::Context;
use tercet_fixtures::ModelConfig;
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
    /// What it is of.
    pub model: Model,
    /// What differs from the recipe.
    pub settings: &'static [&'static str],
    /// Whether `--small` does it.
    pub small: bool,
}

/// A model.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Model {
    /// The golden one, of width 16.
    Nano,
    /// Of width 128, with heads that take the kernels that real models take.
    Wide,
    /// Of a large model's width, 1,024, in which several warps of a block share a row. Its hidden states have dropout.
    Broad,
    /// Of width 90: nothing in it can be read four numbers at a time. Its hidden states have dropout.
    Odd,
    /// The golden one of pre-training, of width 32, with a decoder.
    Pretrained,
}

impl Model {
    const ALL: [Self; 5] = [Self::Nano, Self::Wide, Self::Broad, Self::Odd, Self::Pretrained];

    /// The name of its folder.
    fn name(self) -> &'static str {
        match self {
            Self::Nano => "nano",
            Self::Wide => "wide",
            Self::Broad => "broad",
            Self::Odd => "odd",
            Self::Pretrained => "pretrained",
        }
    }

    fn write(self, folder: &Path) -> anyhow::Result<()> {
        let of_width = |width| ModelConfig { num_heads: 2, ..ModelConfig::of_width(width, WIDE_WORDS, WIDE_LEN) };
        match self {
            Self::Nano => inputs::nano_model(folder),
            Self::Wide => inputs::model(folder, &of_width(128), 0.0),
            Self::Broad => inputs::model(folder, &ModelConfig { num_heads: 16, num_layers: 1, ..of_width(1024) }, 0.1),
            Self::Odd => inputs::model(folder, &ModelConfig { intermediate_size: 182, ..of_width(90) }, 0.1),
            Self::Pretrained => inputs::pretrained_model(folder),
        }
    }

    /// The name of the texts that it reads.
    fn texts(self) -> &'static str {
        match self {
            Self::Nano | Self::Pretrained => self.name(),
            Self::Wide | Self::Broad | Self::Odd => Self::Wide.name(),
        }
    }
}

const fn nano(name: &'static str, settings: &'static [&'static str], small: bool) -> Case {
    Case { name, model: Model::Nano, settings, small }
}

/// One of a model whose own config.json has dropout.
const fn dropped(name: &'static str, model: Model) -> Case {
    Case { name, model, settings: &["loss.temperature=1", "kept_graph_tokens=600"], small: false }
}

/// All of them. Texts are cut into sub-batches in several ways, some graphs are kept, some computed again.
pub const CASES: [Case; 15] = [
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
        model: Model::Wide,
        settings: &["loss.temperature=0.05", "kept_graph_tokens=600"],
        small: true,
    },
    Case {
        name: "wide, dense",
        model: Model::Wide,
        settings: &["loss.preset=dense", "loss.temperature=0.05"],
        small: false,
    },
    dropped("1,024 wide, dropout", Model::Broad),
    dropped("90 wide, dropout", Model::Odd),
    Case {
        name: "RetroMAE",
        model: Model::Pretrained,
        settings: &["loss.preset=retromae", "sub_batch_texts=3"],
        small: false,
    },
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
        for model in Model::ALL {
            model.write(&folder.join(model.name()))?;
        }
        inputs::write(&folder.join("pretrained.safetensors"), inputs::MASKED_TEXTS)?;
        TokenBatch::random(1, 4, 3, 32).write(&folder.join("nano.safetensors"));
        let mut batch = TokenBatch::random(2, 4, 3, WIDE_LEN);
        // Two of one length, and two that differ by one token.
        let even = TokenBatch::even(3, 1, 4, (16, WIDE_LEN - 2), WIDE_WORDS);
        batch.passages[6..10].clone_from_slice(&even.passages);
        batch.passages[9].remove(5);
        batch.write(&folder.join("wide.safetensors"));
        let recipe = "name = \"golden\"\nsub_batch_tokens = 1024\n\n[model]\npooling = \"cls\"\nnormalize = true\n\n[loss]\n\
                      preset = \"unified\"\ntemperature = 0.02\ndistill = true\ndistill_start_step = 0\n";
        inputs::write(&folder.join("golden.toml"), recipe)?;
        Ok(Self { folder: folder.to_owned() })
    }

    /// The command that computes a case on `ranks` ranks.
    pub fn step(&self, programs: &Programs, case: &Case, precision: &str, ranks: usize) -> Command {
        let mut command = programs.tercet(["step"]);
        command.arg(self.folder.join("golden.toml")).arg("--model").arg(self.folder.join(case.model.name()));
        let texts = self.folder.join(format!("{}.safetensors", case.model.texts()));
        command.arg("--tokens").arg(texts).args(["--json", "-n"]);
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
        self.folder.join(Model::Wide.name()).to_str().map(str::to_owned).context("the folder's path is not UTF-8")
    }
}
