//! `tercet bench` of a real model's shape with fresh weights, at several lengths.

use std::path::PathBuf;
use std::time::Instant;

use tercet_fixtures::RecipeBuilder;
use tercet_protocol::says::bench_report::Report;
use tercet_protocol::says::card::Timed;

use crate::found::Found;
use crate::inputs;
use crate::recipes::{config, recipe, store};
use crate::sizes::TOKENIZER_WORDS;
use crate::stage::Stage;

pub fn run(stage: &Stage, found: &mut Found, until: Instant) -> anyhow::Result<()> {
    let mut rows = vec![head()];
    found.line(format!(
        "{}, fresh weights, {PRECISION}, {} tokens a step, {} a sub-batch, all three heads:\n",
        stage.sizes.shape, stage.sizes.step_tokens, stage.sizes.timed.sub_batch_tokens
    ));
    for &len in &stage.sizes.lens {
        match timed(stage, len, 1, &[], until) {
            Ok(report) => {
                rows.push(row(&len.to_string(), &report));
                judge(len, &report, found);
                found.figures.bench.insert(len.to_string(), report);
            }
            Err(error) => found.wrong(format!("{len} tokens: {error:#}")),
        }
    }
    found.table(&rows);
    Ok(())
}

/// What real runs compute in.
const PRECISION: &str = "bf16";

/// A table's head.
pub fn head() -> Vec<String> {
    ["tokens a text", "tokens/s", "step", "share of matrix products", "products, TFLOP/s", "peak on the GPU"]
        .map(str::to_owned)
        .to_vec()
}

/// A report's row.
pub fn row(name: &str, report: &Report) -> Vec<String> {
    let median = &report.median;
    let peak = report.device_peak_bytes.map_or_else(|| "not told".into(), |bytes| format!("{:.2} GB", bytes / 1e9));
    vec![
        name.to_owned(),
        format!("{:.0}", median.tokens_per_sec),
        format!("{:.3} s", median.step_secs),
        format!("{:.1} %", 100.0 * median.peak_share),
        format!("{:.1}", report.peak_flops_per_sec / 1e12),
        peak,
    ]
}

/// A rate that is no number, or a share above what the card can do, is a fault of the measurement.
fn judge(len: usize, report: &Report, found: &mut Found) {
    let share = report.median.peak_share;
    if !(share > 0.0 && share < 1.0) {
        found.wrong(format!("{len} tokens: the share of the matrix products is {share}"));
    }
}

/// `tercet bench --json` at a length.
///
/// # Errors
/// It did not succeed.
pub fn timed(stage: &Stage, len: usize, ranks: usize, settings: &[&str], until: Instant) -> anyhow::Result<Report> {
    let recipe = recipe_of(stage, len, ranks, until)?;
    let mut command = stage.programs.tercet(["bench"]);
    command.arg(recipe).args(["--json", "--steps", &stage.sizes.timed_steps.to_string(), "-n", &ranks.to_string()]);
    settings.iter().for_each(|setting| _ = command.args(["--set", setting]));
    stage.json(command, until)
}

/// The recipe of steps with texts of one length; it is made when it is first asked for.
///
/// # Errors
/// The store cannot be prepared.
pub fn recipe_of(stage: &Stage, len: usize, ranks: usize, until: Instant) -> anyhow::Result<PathBuf> {
    let name = format!("speed-{len}-{ranks}");
    let made = stage.path(&format!("{name}/recipe.toml"));
    if made.is_file() {
        return Ok(made);
    }
    let Timed { query_len, group_size, sub_batch_tokens } = stage.sizes.timed;
    let query = len.min(query_len);
    // All ranks have as many rows.
    let rows = ranks * (stage.sizes.step_tokens / (query + group_size * len)).max(1);
    let made = inputs::rows(2 * rows, [query, len], TOKENIZER_WORDS);
    let (store, tokenizer) = store(stage, &name, &made, TOKENIZER_WORDS, until)?;
    let config = config(stage, &name, &stage.sizes.model)?;
    let builder = RecipeBuilder::new(&name, 100).set("precision", PRECISION).fresh_model(&config, &tokenizer);
    let builder = builder.data(&store, [query, len], group_size).length_groups(&[(len, rows)]);
    recipe(stage, &name, &builder.set("sub_batch_tokens", sub_batch_tokens))
}
