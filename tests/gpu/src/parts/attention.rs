//! What attends in a model's shapes on this card, what it costs, and what each new shape costs first.

use std::time::Instant;

use anyhow::{Context, ensure};
use serde_json::Value;

use crate::compare::number;
use crate::found::Found;
use crate::stage::Stage;

/// A kernel that needs longer than this for a shape it has not met makes training crawl, for most sub-batches have a
/// shape of their own. The first shape of all loads the kernel as well, and is not judged.
const MOST_FOR_A_SHAPE_SECS: f64 = 0.2;

pub fn run(stage: &Stage, found: &mut Found, until: Instant) -> anyhow::Result<()> {
    let lens: Vec<String> = stage.sizes.lens.iter().map(usize::to_string).collect();
    let mut command = stage.programs.worker(["probe", "--lens", &lens.join(",")]);
    command.args(["--tokens", &stage.sizes.attention_tokens.to_string()]);
    command.args(["--heads", &stage.sizes.model.num_heads.to_string()]);
    let report = stage.json(command, until)?;
    let all = report["attention"].as_array().context("tercet-worker probe tells nothing about attention")?;
    ensure!(report["device"] == "cuda", "the worker computed on {}, not on a GPU", report["device"]);
    let head = ["precision", "texts × tokens", "dropout", "kernel", "first call", "then", "TFLOP/s"];
    let mut rows = vec![head.map(str::to_owned).to_vec()];
    let mut seen: Vec<(&Value, &Value)> = Vec::new();
    for attention in all {
        let text = |key: &str| attention[key].as_str().map_or_else(|| attention[key].to_string(), str::to_owned);
        let (first, then) = (number(&attention["first_secs"]), number(&attention["secs"]));
        let kernel = (&attention["kernel"], &attention["precision"]);
        if seen.contains(&kernel) && first - then > MOST_FOR_A_SHAPE_SECS && !stage.sizes.small {
            found.wrong(format!(
                "the {} kernel takes {first:.2} s for a new shape ({} texts of {} tokens) and {then:.4} s for a known one",
                text("kernel"), text("texts"), text("len")
            ));
        }
        if attention["precision"] == "bf16" && text("kernel") != "flash" {
            found.wrong(format!(
                "in bf16 the {} attends, and not libtorch's flash kernel: it is many times slower",
                text("kernel")
            ));
        }
        seen.push(kernel);
        rows.push(vec![
            text("precision"),
            format!("{} × {}", text("texts"), text("len")),
            text("dropout"),
            text("kernel"),
            format!("{:.2} ms", first * 1e3),
            format!("{:.2} ms", then * 1e3),
            format!("{:.1}", number(&attention["flops_per_sec"]) / 1e12),
        ]);
    }
    found.line(format!("{} heads of 64 dimensions, forward and backward:\n", stage.sizes.model.num_heads));
    found.table(&rows);
    found.figure("attention", report["attention"].clone());
    Ok(())
}
