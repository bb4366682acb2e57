//! `tercet bench`: how much of the machine a recipe's steps use, and where their time goes.
//!
//! The ranks do the steps that training would do, and say how long each phase took and how fast a matrix product is on
//! the same threads in the same precision, in one run. Here operations are counted and set against that peak.
//!
//! Model operations are those of the real tokens, in encoder and heads, forward and backward once: three forward passes.
//! Neither padding nor recomputation counts, nor do the score matrices, whose lexical part depends on the texts' words.

mod table;

use std::collections::BTreeMap;

use anyhow::Context;
use serde::{Deserialize, Serialize};
use tercet_configs::ModelShape;

use crate::args::BenchArgs;
use crate::plan::{Encoded, encoder_flops};
use crate::run;
use crate::screen::Screen;
use crate::worker_args;

/// What `tercet-worker bench` prints.
#[derive(Debug, Deserialize)]
struct Measured {
    world_size: usize,
    threads: usize,
    precision: String,
    /// A rank's best rate in a large matrix product.
    product_flops_per_sec: f64,
    /// The same by libtorch's `matmul`, which is not always the fastest way.
    libtorch_product_flops_per_sec: f64,
    steps: Vec<MeasuredStep>,
    peak_rss_bytes: f64,
}

/// One step: seconds are the ranks' mean, tokens those of all ranks.
#[derive(Debug, Clone, Deserialize)]
struct MeasuredStep {
    step_secs: f64,
    cpu_secs: f64,
    phase_secs: BTreeMap<String, f64>,
    tokens: f64,
    padded_tokens: f64,
    /// Σ L² of the real lengths.
    squares: f64,
}

/// All that `tercet bench` says; what `--json` prints.
#[derive(Debug, Serialize)]
pub struct Report {
    recipe: String,
    world_size: usize,
    /// Of each rank.
    threads: usize,
    precision: String,
    num_parameters: f64,
    /// A rank's best rate in a large matrix product, on its threads, in this precision, while all ranks do the same.
    peak_flops_per_sec: f64,
    /// The same by libtorch's `matmul`, which is not always the fastest way.
    libtorch_flops_per_sec: f64,
    /// The step whose rate of real tokens is the median; of an even number the slower of the two in the middle.
    median: StepReport,
    steps: Vec<StepReport>,
    /// The largest rank's.
    peak_rss_bytes: f64,
}

/// One timed step.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct StepReport {
    step_secs: f64,
    /// Of all threads of a rank, the ranks' mean.
    cpu_secs: f64,
    /// Sums to `step_secs`.
    phase_secs: BTreeMap<String, f64>,
    /// Real ones, of all ranks.
    tokens: f64,
    tokens_per_sec: f64,
    padding_share: f64,
    /// Of all ranks.
    model_flops: f64,
    /// Of what all ranks' matrix products would have done in the time.
    peak_share: f64,
}

/// Times the recipe's steps and prints a table, or JSON.
///
/// # Errors
/// A recipe that cannot be used, or ranks that did not end well.
pub fn run(args: &BenchArgs) -> anyhow::Result<()> {
    let (recipe, placement) = run::load(&args.recipe, &args.settings, &args.ranks)?;
    let shape = ModelShape::of(&recipe, None)?;
    let screen = Screen::new();
    let mut output = Vec::new();
    run::ranks(&placement, &worker_args::bench(args), &screen, |line| output.extend_from_slice(line))?;
    let measured = serde_json::from_slice(&output).context("reading what tercet-worker bench wrote")?;
    let report = Report::new(recipe.name, &shape, measured)?;
    let text = if args.json { serde_json::to_string_pretty(&report)? + "\n" } else { table::table(&report) };
    screen.pass(text.as_bytes());
    Ok(())
}

impl Report {
    fn new(recipe: String, shape: &ModelShape, measured: Measured) -> anyhow::Result<Self> {
        let peak = measured.product_flops_per_sec * measured.world_size as f64;
        let steps: Vec<StepReport> = measured.steps.iter().map(|step| StepReport::new(shape, step, peak)).collect();
        Ok(Self {
            recipe,
            world_size: measured.world_size,
            threads: measured.threads,
            precision: measured.precision,
            num_parameters: shape.num_parameters as f64,
            peak_flops_per_sec: measured.product_flops_per_sec,
            libtorch_flops_per_sec: measured.libtorch_product_flops_per_sec,
            median: median(&steps).context("tercet-worker bench timed no step")?,
            steps,
            peak_rss_bytes: measured.peak_rss_bytes,
        })
    }
}

impl StepReport {
    /// `peak` is all ranks' together.
    fn new(shape: &ModelShape, step: &MeasuredStep, peak: f64) -> Self {
        let real = Encoded { tokens: step.tokens, squares: step.squares, ..Encoded::default() };
        let model_flops = 3.0 * encoder_flops(shape, &real);
        Self {
            step_secs: step.step_secs,
            cpu_secs: step.cpu_secs,
            phase_secs: step.phase_secs.clone(),
            tokens: step.tokens,
            tokens_per_sec: step.tokens / step.step_secs,
            padding_share: 1.0 - step.tokens / step.padded_tokens,
            model_flops,
            peak_share: model_flops / (step.step_secs * peak),
        }
    }
}

fn median(steps: &[StepReport]) -> Option<StepReport> {
    let mut by_rate: Vec<&StepReport> = steps.iter().collect();
    by_rate.sort_by(|a, b| a.tokens_per_sec.total_cmp(&b.tokens_per_sec));
    by_rate.get(steps.len().checked_sub(1)? / 2).map(|step| (*step).clone())
}

#[cfg(test)]
pub mod tests {
    use super::*;
    use crate::plan::test_shape;

    /// Steps of these seconds on two ranks that do 10 kFLOP/s each, 10 real tokens of 16 in texts of 7 and 3.
    pub fn report(step_secs: &[f64]) -> Report {
        let step = |secs: f64| MeasuredStep {
            step_secs: secs,
            cpu_secs: secs,
            phase_secs: [("forward", 0.25), ("recompute", 0.125), ("backward", 0.5), ("loss", 0.125)]
                .map(|(name, share)| (name.to_owned(), share * secs))
                .into(),
            tokens: 10.0,
            padded_tokens: 16.0,
            squares: 58.0,
        };
        let measured = Measured {
            world_size: 2,
            threads: 1,
            precision: "fp32".into(),
            product_flops_per_sec: 10_000.0,
            libtorch_product_flops_per_sec: 8_000.0,
            steps: step_secs.iter().map(|secs| step(*secs)).collect(),
            peak_rss_bytes: 1e6,
        };
        Report::new("a".into(), &test_shape(true), measured).unwrap()
    }

    #[test]
    fn the_share_is_three_passes_over_the_real_tokens_by_hand() {
        // d 8, ffn 16, 2 layers: 1024 a token and layer; attention 32 per square and layer; heads 16 + 64 a token.
        let step = &report(&[8.0]).median;
        assert_eq!(step.model_flops, 3.0 * (2.0 * (10.0 * 1024.0 + 32.0 * 58.0) + 10.0 * 80.0));
        assert_eq!(step.peak_share, step.model_flops / (8.0 * 20_000.0));
        assert_eq!((step.tokens_per_sec, step.padding_share), (1.25, 0.375));
    }

    #[test]
    fn the_median_is_one_of_the_steps() {
        assert_eq!(report(&[4.0, 1.0, 2.0]).median.step_secs, 2.0);
        assert_eq!(report(&[4.0, 1.0, 2.0, 3.0]).median.step_secs, 3.0);
        assert_eq!(median(&[]), None);
    }
}
