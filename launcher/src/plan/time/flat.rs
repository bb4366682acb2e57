//! One rate for all operations: given on the command line, or measured by `tercet-worker measure`.

use serde::Serialize;
use tercet_configs::{ModelShape, Recipe};
use tercet_protocol::says::measure;

use super::computed::Computed;
use super::network::Network;
use super::step::StepWork;
use crate::plan::flops::{StepFlops, encoder, forward, scores};
use crate::plan::predicted::Predicted;
use crate::plan::work::Encoded;

/// What a rank achieves.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Flat {
    /// Floating-point operations per second in the model, all ranks at work.
    pub flops_per_sec: f64,
    /// The same in one large matrix product: what the machine could do.
    pub peak_flops_per_sec: Option<f64>,
    /// Between the ranks.
    #[serde(flatten)]
    pub network: Network,
    /// Seconds of clipping and updating all weights; 0 where nobody has measured it.
    pub update_secs: f64,
}

impl Flat {
    /// The same rate for every kind of traffic, and an update that costs nothing.
    pub fn given(flops_per_sec: f64, bytes_per_sec: f64) -> Self {
        let network = Network::given(bytes_per_sec);
        Self { flops_per_sec, peak_flops_per_sec: None, network, update_secs: 0.0 }
    }

    /// From what was measured with the model of this shape, as the recipe trains it.
    pub fn measured(recipe: &Recipe, shape: &ModelShape, found: &measure::Report) -> Self {
        let [num_texts, text_len] = [found.num_texts, found.text_len].map(|number| number as f64);
        let tokens = num_texts * text_len;
        let predicted = std::iter::repeat_n(Predicted::of(recipe, found.text_len), found.num_texts).sum();
        let texts = Encoded { num_texts, tokens, squares: tokens * text_len, longest: text_len, predicted };
        Self {
            // Backward is two more forward passes.
            flops_per_sec: 3.0 * forward(shape, &texts) / found.encoder_secs,
            peak_flops_per_sec: Some(found.product_flops_per_sec),
            network: Network {
                all_reduce_bytes_per_sec: found.all_reduce_bytes_per_sec,
                ring_bytes_per_sec: found.ring_bytes_per_sec,
                exchange_secs: 0.0,
            },
            update_secs: found.update_secs,
        }
    }

    /// What a rank computes in a step.
    pub fn computed(&self, work: &StepWork) -> Computed {
        let secs = |flops: f64| flops / self.flops_per_sec;
        let flops = StepFlops::of(work.shape, work.load, work.num_global_passages);
        Computed {
            forward: secs(flops.forward),
            recompute: secs(flops.recomputed),
            backward: secs(flops.backward),
            scores: scores(work.shape, work.load, work.num_global_passages).map(secs),
            last_backward: secs(2.0 * encoder(work.shape, &work.load.last)),
            update: self.update_secs,
            update_gathers: self.update_secs > 0.0,
            by_kind: None,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::plan::shape_of_tests::shape;

    #[test]
    fn a_measured_rate_is_three_forward_passes_of_what_was_timed() {
        let found = measure::Report {
            world_size: 2,
            product_flops_per_sec: 1e6,
            num_texts: 2,
            text_len: 5,
            encoder_secs: 0.5,
            update_secs: 0.1,
            all_reduce_bytes_per_sec: 1.0,
            ring_bytes_per_sec: 1.0,
        };
        let recipe = Recipe::parse("name = \"t\"", Path::new("t.toml"), &[]).unwrap();
        let rates = Flat::measured(&recipe, &shape(true), &found);
        // Two layers of 10 tokens at 1024 and attention over 2 · 25 squares at 32; heads at 80 a token.
        assert_eq!(rates.flops_per_sec, 3.0 * (2.0 * (10_240.0 + 1_600.0) + 800.0) / 0.5);
        assert_eq!((rates.peak_flops_per_sec, rates.update_secs), (Some(1e6), 0.1));
    }
}
