//! What a step's record says of all ranks.

use std::time::Instant;

use tercet_cluster::{Collective, CollectiveError, ReduceOp};
use tercet_protocol::says::StepRecord;
use tercet_sampler::Share;

use super::idle::Signs;
use crate::machine::memory::{device_peak_bytes, resident_bytes};
use crate::step::outcome::{Stepped, Told};

/// Fills in what a step that began at `started` told, this rank's and all ranks' figures; `with_teacher` if its teacher
/// scores are used. Returns the largest signs of whether anything was learnt. Every rank calls it.
///
/// # Errors
/// A collective that failed.
pub fn share_figures(
    ranks: &dyn Collective,
    share: &Share,
    stepped: &Stepped,
    with_teacher: bool,
    started: Instant,
    record: &mut StepRecord,
) -> Result<Signs, CollectiveError> {
    let Stepped { outcome, traffic, .. } = stepped;
    let signs = Signs::of(share, outcome, with_teacher);
    let num_false_negatives = match &outcome.told {
        Told::Contrastive(contrasted) => contrasted.num_false_negatives,
        Told::Pretraining(predicted) => {
            (record.accuracies, record.decoder_gap) = (predicted.accuracies(), predicted.decoder_gap());
            0
        }
    };
    let counts = [outcome.num_tokens, num_false_negatives];
    let bytes = [traffic.all_reduce_bytes, traffic.ring_bytes, traffic.gather_bytes];
    let mut sums = [0.0; 5];
    sums[..2].copy_from_slice(&counts.map(|count| count as f64));
    sums[2..].copy_from_slice(&bytes.map(|bytes| bytes as f64 / ranks.world_size() as f64));
    ranks.all_reduce(sums.as_mut_slice().into(), ReduceOp::Sum)?;
    let [resident, peak] = resident_bytes().map(|bytes| bytes as f64);
    let [spread, lexical, teacher] = signs.largest();
    let on_device = device_peak_bytes(outcome.device);
    let (secs, device_peak) = (started.elapsed().as_secs_f64(), on_device.unwrap_or(0) as f64);
    let mut maxima = [resident, peak, record.wait_secs, secs, spread, lexical, teacher, device_peak];
    ranks.all_reduce(maxima.as_mut_slice().into(), ReduceOp::Max)?;
    record.loss = outcome.loss;
    record.terms = outcome.terms();
    (record.grad_norm, record.learning_rate) = (stepped.grad_norm, stepped.learning_rate);
    (record.wait_secs, record.step_secs) = (maxima[2], maxima[3]);
    record.wait_share = record.wait_secs / record.step_secs.max(f64::MIN_POSITIVE);
    record.tokens = sums[0] as u64;
    record.tokens_per_sec = sums[0] / record.step_secs;
    record.false_negatives = sums[1] as u64;
    [record.all_reduce_bytes, record.ring_bytes, record.gather_bytes] =
        [sums[2], sums[3], sums[4]].map(|bytes| bytes.round() as u64);
    (record.rss_bytes, record.peak_rss_bytes) = (maxima[0] as u64, maxima[1] as u64);
    record.device_peak_bytes = on_device.map(|_| maxima[7] as u64);
    Ok(Signs { spread: maxima[4], lexical: maxima[5], teacher: maxima[6], ..signs })
}
