//! Recipes of runs, and the stores and models that they need.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use anyhow::Context;
use serde_json::Value;
use tercet_fixtures::{ModelConfig, RecipeBuilder};

use crate::inputs::{self, lines, write};
use crate::stage::Stage;

/// Prepares `rows`, which are words of a tokenizer of `vocabulary` words, as the store `name`; the store and the
/// tokenizer.
///
/// # Errors
/// `tercet prepare` did not succeed.
pub fn store(
    stage: &Stage,
    name: &str,
    rows: &[Value],
    vocabulary: usize,
    until: Instant,
) -> anyhow::Result<(PathBuf, PathBuf)> {
    let tokenizer = write(&stage.path(&format!("{name}/tokenizer.json")), inputs::tokenizer(vocabulary))?;
    let file = write(&stage.path(&format!("{name}/rows.jsonl")), lines(rows))?;
    let store = stage.path(&format!("{name}/store"));
    let mut command = stage.programs.tercet(["prepare", "--tokenizer"]);
    command.arg(&tokenizer).arg("--out").arg(&store).arg(named("rows", &file));
    stage.run(command, until)?.succeeded()?;
    Ok((store, tokenizer))
}

/// A model's config.json.
///
/// # Errors
/// It cannot be written.
pub fn config(stage: &Stage, name: &str, config: &ModelConfig) -> anyhow::Result<PathBuf> {
    write(&stage.path(&format!("{name}/config.json")), config.json().to_string())
}

/// Writes a recipe.
///
/// # Errors
/// It cannot be written.
pub fn recipe(stage: &Stage, name: &str, recipe: &RecipeBuilder) -> anyhow::Result<PathBuf> {
    write(&stage.path(&format!("{name}/recipe.toml")), recipe.to_string())
}

/// `tercet train` of a recipe into the run folder `run`, on `ranks` ranks.
pub fn train(stage: &Stage, recipe: &Path, run: &Path, ranks: usize) -> Command {
    let mut command = stage.programs.tercet(["train"]);
    command.arg(recipe).args(["-n", &ranks.to_string(), "--set"]).arg(named("run_dir", run));
    command
}

/// The lines of a run's metrics.jsonl.
///
/// # Errors
/// They cannot be read.
pub fn metrics(run: &Path) -> anyhow::Result<Vec<Value>> {
    let path = run.join("metrics.jsonl");
    let text = std::fs::read_to_string(&path).with_context(|| format!("reading {}", path.display()))?;
    text.lines().map(|line| serde_json::from_str(line).with_context(|| format!("reading {}", path.display()))).collect()
}

/// `KEY=PATH`.
fn named(key: &str, path: &Path) -> std::ffi::OsString {
    let mut word = std::ffi::OsString::from(format!("{key}="));
    word.push(path);
    word
}
