//! What attends in a model's shapes on this card, what it costs, and what each new shape costs first.

use std::time::Instant;

use anyhow::ensure;
use tercet_configs::{Device, Precision};
use tercet_protocol::says::probe::Report;

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
    let report: Report = stage.json(command, until)?;
    ensure!(report.device == Report::name_of(Device::Cuda), "the worker computed on {}, not on a GPU", report.device);
    let head = ["precision", "texts × tokens", "dropout", "kernel", "first call", "then", "TFLOP/s"];
    let mut rows = vec![head.map(str::to_owned).to_vec()];
    let mut seen = Vec::new();
    for attention in &report.attention {
        let (first, then) = (attention.first_secs, attention.secs);
        let (precision, kernel) = (attention.precision, &attention.kernel);
        if seen.contains(&(kernel, precision)) && first - then > MOST_FOR_A_SHAPE_SECS && !stage.sizes.small {
            found.wrong(format!(
                "the {kernel} kernel takes {first:.2} s for a new shape ({} texts of {} tokens) and {then:.4} s for a known one",
                attention.texts, attention.len
            ));
        }
        if precision == Precision::Bf16 && kernel != "flash" {
            found.wrong(format!(
                "in bf16 the {kernel} attends, and not libtorch's flash kernel: it is many times slower"
            ));
        }
        seen.push((kernel, precision));
        rows.push(vec![
            precision.name().to_owned(),
            format!("{} × {}", attention.texts, attention.len),
            attention.dropout.to_string(),
            kernel.clone(),
            format!("{:.2} ms", first * 1e3),
            format!("{:.2} ms", then * 1e3),
            format!("{:.1}", attention.flops_per_sec / 1e12),
        ]);
    }
    found.line(format!("{} heads of 64 dimensions, forward and backward:\n", stage.sizes.model.num_heads));
    found.table(&rows);
    found.figures.attention = report.attention;
    Ok(())
}
