//! A run of several steps from the same weights, without dropout: losses and gradient norms are the CPU's. It goes
//! through what one step does not: the plan, the optimizer, clipping, the schedule.

use std::collections::BTreeMap;
use std::time::Instant;

use anyhow::ensure;
use serde_json::json;
use tercet_fixtures::RecipeBuilder;
use tercet_tests::place::topic_rows;

use crate::cases::{Inputs, PRECISIONS};
use crate::compare::{number, relative};
use crate::found::Found;
use crate::inputs::{WIDE_LEN, WIDE_WORDS};
use crate::recipes::{metrics, recipe, store, train};
use crate::stage::Stage;

/// Steps of the run.
const STEPS: u64 = 6;

/// What float64's sums in another order become in these updates, each of which divides by a gradient's own size.
const FP64: f64 = 1e-7;
/// The same of float32.
const FP32: f64 = 1e-3;
/// As in the part `golden`, of bfloat16.
const BF16_TIMES: f64 = 3.0;
/// And so much besides.
const BF16_BESIDES: f64 = 5e-2;

pub fn run(stage: &Stage, found: &mut Found, until: Instant) -> anyhow::Result<()> {
    let all = runs(stage, until, false)?;
    let mut rows = vec![["precision", "loss", "gradient norm", "losses"].map(str::to_owned).to_vec()];
    for (precision, steps) in &all {
        let exact = stage.numbers.training.get("fp64").map(Vec::as_slice).unwrap_or_default();
        let own = stage.numbers.training.get(precision).map(Vec::as_slice).unwrap_or_default();
        ensure!(
            exact.len() == steps.len() && own.len() == steps.len(),
            "cpu-numbers.json has no such run: make it anew"
        );
        let (against, times, besides) = match precision.as_str() {
            "fp64" => (own, 0.0, FP64),
            "fp32" => (own, 0.0, FP32),
            _ => (exact, BF16_TIMES, BF16_BESIDES),
        };
        let off = |which: usize, a: &[[f64; 2]], b: &[[f64; 2]]| {
            a.iter()
                .zip(b)
                .map(|(a, b)| relative(a[which], b[which]))
                .fold(0.0f64, |worst, x| if x.is_nan() { f64::INFINITY } else { worst.max(x) })
        };
        let mut cells = vec![precision.clone()];
        for (which, what) in ["loss", "gradient norm"].into_iter().enumerate() {
            let (by, most) = (off(which, steps, against), times * off(which, own, exact) + besides);
            if by > most {
                found.wrong(format!("{what} of a step in {precision} off by {by:.1e}; {most:.1e} is allowed"));
            }
            cells.push(format!("{by:.1e}"));
        }
        cells.push(steps.iter().map(|step| format!("{:.4}", step[0])).collect::<Vec<_>>().join(" "));
        rows.push(cells);
    }
    found.figure("losses_and_gradient_norms", json!(all));
    found.line("largest differences from the CPU's run (in bf16: from its fp64 run), relative:\n");
    found.table(&rows);
    Ok(())
}

/// The same runs on this machine's processors, for the file that is kept.
///
/// # Errors
/// One of them did not succeed.
pub fn cpu_runs(stage: &Stage, until: Instant) -> anyhow::Result<BTreeMap<String, Vec<[f64; 2]>>> {
    runs(stage, until, true)
}

fn runs(stage: &Stage, until: Instant, on_cpu: bool) -> anyhow::Result<BTreeMap<String, Vec<[f64; 2]>>> {
    let model = Inputs::write(&stage.path("golden"))?.wide()?;
    let lens = (0..24).map(|i| if i % 3 == 0 { 60 + (i * 37) % (WIDE_LEN - 80) } else { 4 + i % 30 });
    let rows = topic_rows(lens, WIDE_WORDS);
    let (store, _) = store(stage, "training", &rows, WIDE_WORDS, until)?;
    let builder = RecipeBuilder::new("exact", STEPS).set("model.path", model).set("model.dropout", 0.0);
    let builder = builder.data(&store, [16, WIDE_LEN], 3).length_groups(&[(40, 8), (WIDE_LEN, 4)]);
    let builder = builder.set("sub_batch_tokens", 1024).set("kept_graph_tokens", 1024).set("cpu_matmul", "onednn");
    let builder = builder.set("loss.temperature", 0.05).set("loss.distill_start_step", 2);
    let builder = builder.set("optimizer.learning_rate", 1e-3).set("checkpoint.every_steps", 0);
    let recipe = recipe(stage, "training", &builder)?;
    let mut commands = Vec::new();
    let run_dir = |precision: &str| stage.path(&format!("training/{precision}"));
    for precision in PRECISIONS {
        let mut command = train(stage, &recipe, &run_dir(precision), 1);
        command.args(["--set", &format!("precision={precision}")]);
        if on_cpu {
            command.env("CUDA_VISIBLE_DEVICES", "");
        }
        commands.push(command);
    }
    for ended in stage.programs.run_all(commands, stage.at_once, until)? {
        ended.succeeded()?;
    }
    let mut all = BTreeMap::new();
    for precision in PRECISIONS {
        let steps = metrics(&run_dir(precision))?;
        ensure!(steps.len() as u64 == STEPS, "a run in {precision} has recorded {} steps of {STEPS}", steps.len());
        let steps = steps.iter().map(|step| [number(&step["loss"]), number(&step["grad_norm"])]);
        all.insert(precision.to_owned(), steps.collect());
    }
    Ok(all)
}
