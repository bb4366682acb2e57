//! What `tercet plan` says that a step needs, what the allocator had at most, and what `memory_budget = "auto"` makes
//! of the card.

use std::time::Instant;

use anyhow::Context;
use serde_json::Value;
use tercet_protocol::says::Phase;

use super::speed::{head, recipe_of, row, timed};
use crate::compare::number;
use crate::found::Found;
use crate::stage::Stage;

/// A plan may be so much below what was measured: the allocator rounds.
const PLAN_TOO_LOW: f64 = 0.95;

/// A budget that leaves more than half of the card unused, while graphs are still computed twice, has gone wrong. It is
/// not judged where the whole step fits into less.
const LEAST_USE: f64 = 0.5;

pub fn run(stage: &Stage, found: &mut Found, until: Instant) -> anyhow::Result<()> {
    let len = stage.sizes.usual_len;
    let recipe = recipe_of(stage, len, 1, until)?;
    let mut command = stage.programs.tercet(["plan"]);
    command.arg(&recipe).args(["--json", "-", "--world", "1", "--device", "cuda"]);
    let plan: Value = stage.json(command, until)?;
    let planned = plan["memory"]["total_bytes"].as_f64().context("tercet plan does not tell the memory")?;
    // The program's own memory is not the allocator's.
    let of_tensors = planned - part(&plan, "program");
    let fixed = timed(stage, len, 1, &[], until)?;
    let auto = timed(stage, len, 1, &["memory_budget=\"auto\""], until)?;
    let measured = fixed.device_peak_bytes;
    let mut rows = vec![head(), row(&format!("{len}, as the recipe says"), &fixed)];
    rows.push(row(&format!("{len}, memory_budget = \"auto\""), &auto));
    found.table(&rows);
    found.line(format!("planned: {:.2} GB, the program and its context included ({})\n", planned / 1e9, parts(&plan)));
    let free = stage.free_bytes as f64;
    match measured {
        Some(bytes) if bytes * PLAN_TOO_LOW > of_tensors => {
            found.wrong(format!(
                "the plan's {:.2} GB of tensors are less than the {:.2} GB that were measured",
                of_tensors / 1e9,
                bytes / 1e9
            ));
        }
        Some(_) => {}
        None => found.wrong("tercet bench --json does not tell the peak of the GPU's memory"),
    }
    let recomputed = auto.median.secs_of(&[Phase::Recompute]);
    if let Some(bytes) = auto.device_peak_bytes {
        found.line(format!("the budget uses {:.0} % of what was free, {:.1} GB\n", 100.0 * bytes / free, free / 1e9));
        if bytes > free {
            found.wrong(format!("{:.1} GB of tensors in {:.1} GB of free memory", bytes / 1e9, free / 1e9));
        }
        if bytes < LEAST_USE * free && recomputed > 0.0 {
            found.wrong(format!(
                "a budget of \"auto\" uses {:.0} % of the card and computes graphs twice",
                100.0 * bytes / free
            ));
        }
    }
    found.figure("planned", plan["memory"].clone());
    found.figures.bench = [("as_the_recipe_says".to_owned(), fixed), ("auto".to_owned(), auto)].into();
    Ok(())
}

/// The bytes of the plan's parts whose names begin so.
fn part(plan: &Value, name: &str) -> f64 {
    let parts = plan["memory"]["parts"].as_array().into_iter().flatten();
    let own = parts.filter(|part| part["name"].as_str().is_some_and(|own| own.starts_with(name)));
    own.map(|part| number(&part["bytes"])).sum()
}

/// The plan's largest parts.
fn parts(plan: &Value) -> String {
    let mut parts: Vec<(&str, f64)> = plan["memory"]["parts"]
        .as_array()
        .into_iter()
        .flatten()
        .map(|part| (part["name"].as_str().unwrap_or_default(), number(&part["bytes"])))
        .collect();
    parts.sort_by(|a, b| b.1.total_cmp(&a.1));
    parts.iter().take(5).map(|(name, bytes)| format!("{name} {:.2}", bytes / 1e9)).collect::<Vec<_>>().join(", ")
}
