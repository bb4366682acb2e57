//! A benchmark's figures: operations are counted and set against the rate of matrix products.
//!
//! Model operations are those of the tokens, in the encoder and what stands on it, forward and backward once:
//! three forward passes. In pre-training that is the decoder, and the projection to the vocabulary of the words that
//! both sides had to predict. Recomputation does not count, nor do the score matrices, whose lexical part depends
//! on the texts' words.

use anyhow::Context;
use tercet_configs::ModelShape;
use tercet_protocol::says::bench;
use tercet_protocol::says::bench_report::{Report, StepReport};

use crate::plan::{Encoded, Predicted, forward_flops};

/// The report on the recipe of that name, whose model has this shape.
///
/// # Errors
/// No step was timed.
pub fn report(recipe: String, shape: &ModelShape, measured: bench::Report) -> anyhow::Result<Report> {
    let peak = measured.product_flops_per_sec * measured.world_size as f64;
    let steps: Vec<StepReport> = measured.steps.iter().map(|timed| step(shape, timed, peak)).collect();
    Ok(Report {
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
        device_peak_bytes: measured.device_peak_bytes,
        planned_device_bytes: None,
    })
}

/// `peak` is all ranks' together.
fn step(shape: &ModelShape, timed: &bench::Step, peak: f64) -> StepReport {
    let predicted = Predicted {
        encoder_labels: timed.encoder_labels,
        decoder_labels: timed.decoder_labels,
        decoder_pairs: timed.decoder_pairs,
    };
    let encoded = Encoded { tokens: timed.tokens, squares: timed.squares, predicted, ..Encoded::default() };
    let model_flops = 3.0 * forward_flops(shape, &encoded);
    StepReport {
        step_secs: timed.step_secs,
        cpu_secs: timed.cpu_secs,
        phase_secs: timed.phase_secs.clone(),
        tokens: timed.tokens,
        tokens_per_sec: timed.tokens / timed.step_secs,
        model_flops,
        peak_share: model_flops / (timed.step_secs * peak),
    }
}

fn median(steps: &[StepReport]) -> Option<StepReport> {
    let mut by_rate: Vec<&StepReport> = steps.iter().collect();
    by_rate.sort_by(|a, b| a.tokens_per_sec.total_cmp(&b.tokens_per_sec));
    by_rate.get(steps.len().checked_sub(1)? / 2).map(|step| (*step).clone())
}

#[cfg(test)]
pub mod tests {
    use std::collections::BTreeMap;

    use tercet_configs::Precision;

    use super::*;
    use crate::plan::{test_pretraining_shape, test_shape};

    /// Steps of these seconds on two ranks that do 10 kFLOP/s each, 10 tokens in texts of 7 and 3.
    pub fn timed(step_secs: &[f64]) -> Report {
        let of_secs = |secs: f64| bench::Step {
            step_secs: secs,
            cpu_secs: secs,
            phase_secs: [("forward", 0.25), ("recompute", 0.125), ("backward", 0.5), ("loss", 0.125)]
                .map(|(name, share)| (name.to_owned(), share * secs))
                .into(),
            tokens: 10.0,
            squares: 58.0,
            ..bench::Step::default()
        };
        let measured = bench::Report {
            world_size: 2,
            threads: 1,
            precision: Precision::Fp32,
            cpu_matmul: BTreeMap::new(),
            product_flops_per_sec: 10_000.0,
            libtorch_product_flops_per_sec: 8_000.0,
            steps: step_secs.iter().map(|secs| of_secs(*secs)).collect(),
            peak_rss_bytes: 1e6,
            device_peak_bytes: None,
            sub_batch_tokens: 8192,
            kept_graph_tokens: 0,
        };
        report("a".into(), &test_shape(true), measured).unwrap()
    }

    #[test]
    fn the_share_is_three_passes_over_the_tokens_by_hand() {
        // d 8, ffn 16, 2 layers: 1024 a token and layer; attention 32 per square and layer; heads 16 + 64 a token.
        let step = &timed(&[8.0]).median;
        assert_eq!(step.model_flops, 3.0 * (2.0 * (10.0 * 1024.0 + 32.0 * 58.0) + 10.0 * 80.0));
        assert_eq!(step.peak_share, step.model_flops / (8.0 * 20_000.0));
        assert_eq!(step.tokens_per_sec, 1.25);
    }

    #[test]
    fn pre_training_counts_the_decoder_and_the_words_that_were_predicted_by_hand() {
        let timed = bench::Step {
            step_secs: 1.0,
            tokens: 10.0,
            squares: 58.0,
            encoder_labels: 3.0,
            decoder_labels: 6.0,
            decoder_pairs: 38.0,
            ..bench::Step::default()
        };
        let report = step(&test_pretraining_shape(), &timed, 1e6);
        // As plan/flops.rs has it by hand.
        let decoder = 6.0 * 768.0 + 10.0 * 256.0 + 32.0 * 38.0;
        let forward = 2.0 * (10.0 * 1024.0 + 32.0 * 58.0) + decoder + 9.0 * (128.0 + 1600.0);
        assert_eq!(report.model_flops, 3.0 * forward);
    }

    #[test]
    fn the_median_is_one_of_the_steps() {
        assert_eq!(timed(&[4.0, 1.0, 2.0]).median.step_secs, 2.0);
        assert_eq!(timed(&[4.0, 1.0, 2.0, 3.0]).median.step_secs, 3.0);
        assert_eq!(median(&[]), None);
    }
}
