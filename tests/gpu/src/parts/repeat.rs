//! A run of a model with dropout, done twice, and once stopped at half and resumed: the same bits in weights, heads,
//! optimizer and record.

use std::fs;
use std::path::Path;
use std::time::Instant;

use anyhow::Context;
use serde_json::{Value, json};
use tercet_fixtures::RecipeBuilder;
use tercet_tests::place::topic_rows;

use crate::found::Found;
use crate::recipes::{config, metrics, recipe, store, train};
use crate::stage::Stage;

/// Steps of a run, and those after which it has a checkpoint.
const STEPS: u64 = 8;
const HALF: u64 = 4;

/// Files of a checkpoint whose bytes are compared.
const FILES: [&str; 4] =
    ["model/model.safetensors", "model/colbert_linear.pt", "model/sparse_linear.pt", "train/optimizer.safetensors"];

/// Figures of a step that do not depend on the machine's speed.
const TIMELESS: [&str; 6] = ["step", "loss", "terms", "grad_norm", "tokens", "skipped"];

pub fn run(stage: &Stage, found: &mut Found, until: Instant) -> anyhow::Result<()> {
    let (model, len) = (&stage.sizes.repeated, stage.sizes.repeated_len);
    let rows = topic_rows(
        (0..48).map(|i| if i % 3 == 0 { len / 3 + (i * 29) % (len / 2) } else { 4 + i % 20 }),
        model.vocab_size,
    );
    let (store, tokenizer) = store(stage, "repeat", &rows, model.vocab_size, until)?;
    let config = config(stage, "repeat", model)?;
    let builder = RecipeBuilder::new("repeated", STEPS).fresh_model(&config, &tokenizer).data(&store, [16, len], 3);
    let builder = builder.length_groups(&[(len / 3 - 1, 12), (len, 6)]).set("sub_batch_tokens", 4 * len);
    let builder = builder.set("kept_graph_tokens", 4 * len).set("loss.distill_start_step", 3);
    let builder = builder.set("optimizer.learning_rate", 1e-3).set("checkpoint.every_steps", HALF);
    let recipe = recipe(stage, "repeat", &builder.set("checkpoint.keep", 0))?;
    let mut numbers_of_ranks = vec![1];
    if stage.num_gpus > 1 {
        numbers_of_ranks.push(stage.num_gpus.min(4));
    } else {
        found.left_out("the same on several GPUs: there is one");
    }
    let mut all = Vec::new();
    for ranks in numbers_of_ranks {
        // Several GPUs take long to start.
        for precision in &["bf16", "fp32"][..if ranks == 1 { 2 } else { 1 }] {
            let what =
                format!("{precision} on {}", if ranks == 1 { "one GPU".into() } else { format!("{ranks} GPUs") });
            match twice_and_resumed(stage, &recipe, precision, ranks, until) {
                Ok(differences) => {
                    let sentence = if differences.is_empty() { "the same bits" } else { "**other bits**" };
                    found.line(format!("- {what}: {STEPS} steps twice, and {HALF} and {HALF} resumed: {sentence}"));
                    all.push(json!({"precision": precision, "ranks": ranks, "differences": differences}));
                    differences.into_iter().for_each(|difference| found.wrong(format!("{what}: {difference}")));
                }
                Err(error) => found.wrong(format!("{what}: {error:#}")),
            }
        }
    }
    found.figure("runs", all);
    Ok(())
}

/// What differs, in sentences.
fn twice_and_resumed(
    stage: &Stage,
    recipe: &Path,
    precision: &str,
    ranks: usize,
    until: Instant,
) -> anyhow::Result<Vec<String>> {
    let run_dir = |name: &str| stage.path(&format!("repeat/{precision}-{ranks}-{name}"));
    let train = |name: &str, more: &[&str]| -> anyhow::Result<()> {
        let mut command = train(stage, recipe, &run_dir(name), ranks);
        command.args(["--set", &format!("precision={precision}")]).args(more);
        stage.run(command, until)?.succeeded().map(drop)
    };
    train("first", &[])?;
    train("second", &[])?;
    copy_until(&run_dir("first"), &run_dir("resumed"), HALF)?;
    train("resumed", &["--resume"])?;
    let mut differences = Vec::new();
    for (other, what) in [("second", "the second run"), ("resumed", "the resumed run")] {
        for file in FILES {
            let read = |name: &str| {
                let path = run_dir(name).join(format!("step-{STEPS:08}")).join(file);
                fs::read(&path).with_context(|| format!("reading {}", path.display()))
            };
            if read("first")? != read(other)? {
                differences.push(format!("{file} of {what} has other bytes"));
            }
        }
        let record = |name: &str| -> anyhow::Result<Vec<Vec<Value>>> {
            let timeless = |step: &Value| TIMELESS.iter().map(|key| step[key].clone()).collect();
            Ok(metrics(&run_dir(name))?.iter().map(timeless).collect())
        };
        let (first, other) = (record("first")?, record(other)?);
        let step = first.iter().zip(&other).position(|(a, b)| a != b);
        if let Some(step) = step.or_else(|| (first.len() != other.len()).then(|| first.len().min(other.len()))) {
            differences.push(format!("{what} differs from step {} on", step + 1));
        }
    }
    Ok(differences)
}

/// A copy of a run as it was when it had its checkpoint of `step`: what came later is left out.
fn copy_until(from: &Path, to: &Path, step: u64) -> anyhow::Result<()> {
    copy_folder(from, to, &|name| {
        name.strip_prefix("step-").and_then(|of| of.parse::<u64>().ok()).is_none_or(|of| of <= step)
    })
}

fn copy_folder(from: &Path, to: &Path, wanted: &dyn Fn(&str) -> bool) -> anyhow::Result<()> {
    fs::create_dir_all(to).with_context(|| format!("making {}", to.display()))?;
    for entry in fs::read_dir(from).with_context(|| format!("reading {}", from.display()))? {
        let entry = entry?;
        let name = entry.file_name();
        if !wanted(&name.to_string_lossy()) {
            continue;
        }
        let (path, target) = (entry.path(), to.join(&name));
        if path.is_dir() {
            copy_folder(&path, &target, wanted)?;
        } else {
            fs::copy(&path, &target).with_context(|| format!("copying {}", path.display()))?;
        }
    }
    Ok(())
}
