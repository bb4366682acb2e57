//! A step's figures as rank 0 puts them together, and as TensorBoard gets them.

use tercet_protocol::says::StepRecord;
use tercet_sampler::Batch;

use crate::machine::phase::PhaseSecs;

/// What is known before the step is computed.
pub fn of(batch: &Batch, wait_secs: f64) -> StepRecord {
    StepRecord {
        step: batch.share.step + 1,
        epoch: batch.origin.epoch,
        dataset: batch.origin.dataset.clone(),
        length_group: batch.origin.length_group,
        imbalance: batch.origin.imbalance,
        phase_secs: PhaseSecs::default().by_name(),
        wait_secs,
        ..StepRecord::default()
    }
}

/// The same for a step that computes nothing; `skipped` counts it as well.
pub fn left_out(record: StepRecord, skipped: u64) -> StepRecord {
    StepRecord { loss: f64::NAN, grad_norm: f64::NAN, learning_rate: f64::NAN, skipped, ..record }
}

/// TensorBoard's tags and values.
pub fn scalars(record: &StepRecord) -> Vec<(String, f64)> {
    let terms = record.terms.iter().filter_map(|(name, value)| Some((format!("loss/{name}"), (*value)?)));
    let mut scalars: Vec<(String, f64)> = terms.collect();
    for (tag, value) in [
        ("loss/total", record.loss),
        ("optimizer/learning_rate", record.learning_rate),
        ("optimizer/grad_norm", record.grad_norm),
        ("speed/tokens_per_sec", record.tokens_per_sec),
        ("speed/step_secs", record.step_secs),
        ("speed/goodput", record.goodput),
        ("speed/input_wait_share", record.wait_share),
        ("batch/imbalance", record.imbalance),
        ("batch/false_negatives", record.false_negatives as f64),
        ("faults/skipped", record.skipped as f64),
        ("faults/grad_norm_spikes", record.grad_norm_spikes as f64),
        ("speed/checkpoint_stall_secs", record.checkpoint_stall_secs),
        ("memory/rss_bytes", record.rss_bytes as f64),
    ] {
        scalars.push((tag.to_owned(), value));
    }
    let accuracies = record.accuracies.iter().map(|(name, share)| (format!("accuracy/{name}"), *share));
    scalars.extend(accuracies);
    scalars.extend(record.decoder_gap.map(|gap| ("loss/decoder_gap".to_owned(), gap)));
    scalars.extend(record.device_peak_bytes.map(|bytes| ("memory/device_peak_bytes".to_owned(), bytes as f64)));
    scalars.extend(record.phase_secs.iter().map(|(name, secs)| (format!("phase_secs/{name}"), *secs)));
    scalars
}
