//! Steps of every objective in every precision, against the CPU's numbers.
//!
//! In float64 and float32 the two differ by rounding alone. In bfloat16 they round at other places, so each is set
//! against what float64 gives on the CPU: a GPU may be as far from it as the CPU is, and a little further.

use std::collections::BTreeMap;
use std::process::Command;
use std::time::Instant;

use anyhow::Context;
use serde_json::{Value, json};

use crate::cases::{CASES, Case, Inputs, Model, PRECISIONS};
use crate::compare::Distance;
use crate::found::Found;
use crate::programs::Ended;
use crate::stage::Stage;

/// What a difference in float64 may be: sums in another order, through a softmax of scores up to 50.
const FP64: f64 = 1e-9;
/// In float32, of loss, terms and scores: a few times what 2⁻²⁴ makes of scores of 50 in a softmax, which is 3e-6.
const FP32: f64 = 5e-5;
/// In float32, of gradients, which pass more sums and the same softmax.
const FP32_GRADIENT: f64 = 2e-4;
/// How much further from float64 than the CPU's bfloat16 a GPU's may be. Two roundings of the same size at other places
/// are rarely three times apart.
const BF16_TIMES: f64 = 3.0;
/// And so much besides, where the CPU happens to be near: a few units of bfloat16's 2⁻⁸.
const BF16_BESIDES: f64 = 2e-2;

/// Every case on the first GPU, and on each other one a case whose heads take the kernels that real models take: a card
/// that computes wrongly is found wherever it sits.
pub fn run(stage: &Stage, found: &mut Found, until: Instant) -> anyhow::Result<()> {
    let on = |case: &'static Case, gpu| PRECISIONS.map(|precision| Wanted { case, precision, place: Place::Gpu(gpu) });
    let first = CASES.iter().flat_map(|case| on(case, 0));
    let wide = CASES.iter().find(|case| case.model == Model::Wide).context("no case has a wide model")?;
    let others = (1..stage.num_gpus).flat_map(|gpu| on(wide, gpu));
    steps(stage, found, until, first.chain(others).collect())
}

/// Does the cases on `ranks` ranks, and compares them.
///
/// # Errors
/// A program that cannot be started.
pub fn on_ranks(
    stage: &Stage,
    found: &mut Found,
    until: Instant,
    cases: &[&'static Case],
    ranks: usize,
) -> anyhow::Result<()> {
    let on = |precision| cases.iter().map(move |&case| Wanted { case, precision, place: Place::Ranks(ranks) });
    steps(stage, found, until, PRECISIONS.into_iter().flat_map(on).collect())
}

/// A step that is done and compared.
struct Wanted {
    case: &'static Case,
    precision: &'static str,
    place: Place,
}

/// Where a step is done.
#[derive(Clone, Copy)]
enum Place {
    /// On this one of the GPUs that libtorch sees.
    Gpu(usize),
    /// On this number of ranks over NCCL.
    Ranks(usize),
}

impl Wanted {
    fn command(&self, stage: &Stage, inputs: &Inputs) -> Command {
        let ranks = if let Place::Ranks(ranks) = self.place { ranks } else { 1 };
        let mut command = inputs.step(&stage.programs, self.case, self.precision, ranks);
        match self.place {
            Place::Gpu(0) => {}
            Place::Gpu(gpu) => _ = command.env("CUDA_VISIBLE_DEVICES", visible(gpu)),
            Place::Ranks(_) => _ = command.args(["--set", "backend=nccl"]),
        }
        command
    }

    fn name(&self) -> String {
        let Self { case, precision, place } = self;
        match place {
            Place::Gpu(gpu) if *gpu > 0 => format!("{} in {precision} on GPU {gpu}", case.name),
            _ => format!("{} in {precision}", case.name),
        }
    }
}

/// What makes a process see only this one of the GPUs that are seen now.
fn visible(gpu: usize) -> String {
    let list = std::env::var("CUDA_VISIBLE_DEVICES").unwrap_or_default();
    list.split(',').nth(gpu).map_or_else(|| gpu.to_string(), |name| name.trim().to_owned())
}

/// Does steps, and compares them.
fn steps(stage: &Stage, found: &mut Found, until: Instant, mut wanted: Vec<Wanted>) -> anyhow::Result<()> {
    wanted.retain(|wanted| wanted.case.small || !stage.sizes.small);
    let inputs = Inputs::write(&stage.path("golden"))?;
    let commands = wanted.iter().map(|wanted| wanted.command(stage, &inputs));
    let together = wanted.iter().any(|wanted| matches!(wanted.place, Place::Ranks(_)));
    let at_once = if together { 1 } else { stage.at_once };
    let ended = stage.programs.run_all(commands.collect(), at_once, until)?;
    let mut worst: BTreeMap<&str, (Distance, Distance)> = BTreeMap::new();
    let (mut figures, mut compared) = (Vec::new(), 0);
    for (wanted, ended) in wanted.iter().zip(&ended) {
        let Wanted { case, precision, place } = wanted;
        match compare(stage, case, precision, ended) {
            Ok((distance, allowed)) => {
                compared += 1;
                for ((what, by), (_, most)) in distance.named().into_iter().zip(allowed.named()) {
                    if by.is_nan() || by > most {
                        found.wrong(format!("{}: {what} off by {by:.1e}; {most:.1e} is allowed", wanted.name()));
                    }
                }
                let entry = worst.entry(*precision).or_default();
                *entry = (entry.0.max(distance), entry.1.max(allowed));
                let off: BTreeMap<&str, f64> = distance.named().into();
                let mut figure = json!({"case": case.name, "precision": precision, "off": off, "secs": ended.secs});
                if let Place::Gpu(gpu) = place {
                    figure["gpu"] = json!(gpu);
                }
                figures.push(figure);
            }
            Err(error) => found.wrong(format!("{}: {error:#}", wanted.name())),
        }
    }
    // Cards before Ampere are meant to.
    let said = ended.iter().flat_map(|ended| ended.stderr.lines());
    if let Some(line) = said.into_iter().find(|line| line.contains("without kernels of our own")) {
        if line.contains("compute capability") {
            found.line(line);
        } else {
            found.wrong(line);
        }
    }
    found.figure("steps", figures);
    let gpus = if together || stage.num_gpus == 1 { String::new() } else { format!(", on {} GPUs", stage.num_gpus) };
    found.line(format!("{compared} of {} steps compared{gpus}; largest differences, relative:\n", wanted.len()));
    let mut rows =
        vec![["precision", "loss", "terms", "scores", "gradients", "set against"].map(str::to_owned).to_vec()];
    for precision in PRECISIONS {
        let Some((distance, _)) = worst.get(precision) else { continue };
        let against = if precision == "bf16" { "the CPU's fp64" } else { "the CPU's" };
        let cells = distance.named().map(|(_, by)| format!("{by:.1e}"));
        rows.push([&[precision.to_owned()][..], &cells[..], &[against.to_owned()][..]].concat());
    }
    found.table(&rows);
    Ok(())
}

/// How far a step is from the CPU's, and how far it may be.
fn compare(stage: &Stage, case: &Case, precision: &str, ended: &Ended) -> anyhow::Result<(Distance, Distance)> {
    let report: Value = ended.json()?;
    let expected = stage.numbers.step(case.name, precision)?;
    Ok(match precision {
        "fp64" => {
            (Distance::of(&report, expected), Distance { loss: FP64, terms: FP64, scores: FP64, gradients: FP64 })
        }
        "fp32" => {
            let allowed = Distance { loss: FP32, terms: FP32, scores: FP32, gradients: FP32_GRADIENT };
            (Distance::of(&report, expected), allowed)
        }
        _ => {
            let exact = stage.numbers.step(case.name, "fp64")?;
            let cpu = Distance::of(expected, exact);
            let more = |by: f64| BF16_TIMES * by + BF16_BESIDES;
            let allowed = Distance {
                loss: more(cpu.loss),
                terms: more(cpu.terms),
                scores: more(cpu.scores),
                gradients: more(cpu.gradients),
            };
            (Distance::of(&report, exact), allowed)
        }
    })
}

/// Every case in every precision on this machine's processors, for the file that is kept.
///
/// # Errors
/// One of them did not succeed.
pub fn cpu_steps(stage: &Stage, until: Instant) -> anyhow::Result<BTreeMap<String, BTreeMap<String, Value>>> {
    let inputs = Inputs::write(&stage.path("golden"))?;
    let mut all: BTreeMap<String, BTreeMap<String, Value>> = BTreeMap::new();
    for case in &CASES {
        for precision in PRECISIONS {
            let mut command = inputs.step(&stage.programs, case, precision, 1);
            command.env("CUDA_VISIBLE_DEVICES", "");
            let report = stage.json(command, until).with_context(|| format!("{} in {precision}", case.name))?;
            all.entry(case.name.to_owned()).or_default().insert(precision.to_owned(), report);
        }
    }
    Ok(all)
}
