//! From operations and bytes to seconds.

use serde::Serialize;
use tercet_protocol::says::measure;

use super::flops::{StepFlops, encoder};
use super::load::Encoded;
use super::shape::ModelShape;
use super::traffic::StepTraffic;

/// What a rank achieves. Given on the command line, or measured by `tercet-worker measure`.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Rates {
    /// Floating-point operations per second in the encoder, all ranks at work.
    pub flops_per_sec: f64,
    /// The same in one large matrix product: what the machine could do.
    pub peak_flops_per_sec: Option<f64>,
    /// Bytes per second that a rank sends in an all-reduce, counted as the ring algorithm sends them.
    pub all_reduce_bytes_per_sec: f64,
    /// Bytes per second that a rank sends to its neighbour.
    pub ring_bytes_per_sec: f64,
    /// Seconds of clipping and updating all weights; 0 where nobody has measured it.
    pub update_secs: f64,
}

/// One step's seconds, on its slowest rank.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
pub struct StepSecs {
    /// Encoder and scores.
    pub compute_secs: f64,
    /// Passages on the ring.
    pub ring_secs: f64,
    /// The gradient's sum.
    pub all_reduce_secs: f64,
    /// Clipping and AdamW.
    pub update_secs: f64,
}

impl Rates {
    /// The same rate for every kind of traffic, and an update that costs nothing.
    pub fn given(flops_per_sec: f64, bytes_per_sec: f64) -> Self {
        Self {
            flops_per_sec,
            peak_flops_per_sec: None,
            all_reduce_bytes_per_sec: bytes_per_sec,
            ring_bytes_per_sec: bytes_per_sec,
            update_secs: 0.0,
        }
    }

    /// From what was measured with the model of this shape.
    pub fn measured(shape: &ModelShape, found: &measure::Report) -> Self {
        let [num_texts, text_len] = [found.num_texts, found.text_len].map(|number| number as f64);
        let tokens = num_texts * text_len;
        let texts = Encoded { num_texts, tokens, squares: tokens * text_len };
        Self {
            // Backward is two more forward passes.
            flops_per_sec: 3.0 * encoder(shape, &texts) / found.encoder_secs,
            peak_flops_per_sec: Some(found.product_flops_per_sec),
            all_reduce_bytes_per_sec: found.all_reduce_bytes_per_sec,
            ring_bytes_per_sec: found.ring_bytes_per_sec,
            update_secs: found.update_secs,
        }
    }

    /// What a step takes whose slowest rank computes `flops`. Nothing overlaps, as in the worker.
    pub fn step(&self, flops: &StepFlops, traffic: &StepTraffic, world_size: usize) -> StepSecs {
        let sent = |bytes: f64, rate: f64| if bytes > 0.0 { bytes / rate } else { 0.0 };
        StepSecs {
            compute_secs: flops.total() / self.flops_per_sec,
            ring_secs: sent(traffic.ring_bytes, self.ring_bytes_per_sec),
            all_reduce_secs: sent(traffic.all_reduce_sent_bytes(world_size), self.all_reduce_bytes_per_sec),
            update_secs: self.update_secs,
        }
    }
}

impl StepSecs {
    /// All of it.
    pub fn total(&self) -> f64 {
        self.compute_secs + self.ring_secs + self.all_reduce_secs + self.update_secs
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::shape::tests::shape;

    #[test]
    fn a_step_is_computing_then_sending_then_updating() {
        let flops = StepFlops { forward: 10e9, recomputed: 5e9, backward: 20e9, scores: 5e9 };
        let traffic = StepTraffic { all_reduce_bytes: 4e9, ring_bytes: 1e9, ..StepTraffic::default() };
        let mut rates = Rates::given(20e9, 2e9);
        rates.update_secs = 0.25;
        let secs = rates.step(&flops, &traffic, 4);
        // 40 GFLOP at 20; 2·3/4 of 4 GB at 2 GB/s; 1 GB at 2 GB/s.
        assert_eq!((secs.compute_secs, secs.all_reduce_secs, secs.ring_secs), (2.0, 3.0, 0.5));
        assert_eq!(secs.total(), 5.75);
    }

    #[test]
    fn a_measured_rate_is_three_passes_over_the_time() {
        let found = measure::Report {
            world_size: 1,
            product_flops_per_sec: 1e6,
            num_texts: 2,
            text_len: 5,
            encoder_secs: 0.5,
            update_secs: 0.1,
            all_reduce_bytes_per_sec: 3.0,
            ring_bytes_per_sec: 4.0,
        };
        let rates = Rates::measured(&shape(true), &found);
        // Two layers of 10 tokens at 1024 and attention over 2 · 25 squares at 32; heads at 80 a token.
        assert_eq!(rates.flops_per_sec, 3.0 * (2.0 * (10_240.0 + 1_600.0) + 800.0) / 0.5);
        assert_eq!((rates.peak_flops_per_sec, rates.update_secs), (Some(1e6), 0.1));
    }

    #[test]
    fn one_rank_needs_no_bandwidth() {
        let traffic = StepTraffic { all_reduce_bytes: 4e9, ..StepTraffic::default() };
        let secs = Rates::given(1.0, 0.0).step(&StepFlops::default(), &traffic, 1);
        assert_eq!(secs.total(), 0.0);
    }
}
