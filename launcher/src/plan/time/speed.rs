//! How fast a card is at each kind of operation: assumed shares of its data sheet, or measured.

use serde::Serialize;

use super::cards::{Card, FP32_SHARE, LAUNCH_SECS, MEMORY_SHARE, SHAPES_SHARE};
use super::network::Network;

/// A card's rates.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Speed {
    /// The card's name.
    pub card: &'static str,
    /// What a share of the peak is a share of: the data sheet's rate of products in bfloat16.
    pub peak_flops_per_sec: f64,
    /// Products of the encoder's shapes, in bfloat16.
    pub product_flops_per_sec: f64,
    /// Products in float32.
    pub fp32_flops_per_sec: f64,
    /// Traffic with the card's memory.
    pub memory_bytes_per_sec: f64,
    /// Attention, forward and backward together: operations per second by the tokens of a text, ascending.
    pub attention_flops_per_sec: Vec<(f64, f64)>,
    /// Seconds in which the host launches one operation.
    pub launch_secs: f64,
    /// Between the ranks.
    #[serde(flatten)]
    pub network: Network,
    /// Which of these were measured; the others are assumed.
    pub measured: Vec<&'static str>,
}

impl Speed {
    /// What the card is taken to reach of its data sheet.
    pub fn assumed(card: &Card, network: Network) -> Self {
        Self {
            card: card.kind.name(),
            peak_flops_per_sec: card.bf16_flops_per_sec,
            product_flops_per_sec: SHAPES_SHARE * card.best_products * card.bf16_flops_per_sec,
            fp32_flops_per_sec: FP32_SHARE * card.fp32_flops_per_sec,
            memory_bytes_per_sec: MEMORY_SHARE * card.memory_bytes_per_sec,
            attention_flops_per_sec: card.attention.to_vec(),
            launch_secs: LAUNCH_SECS,
            network,
            measured: Vec::new(),
        }
    }

    /// Seconds of a product in bfloat16 that moves this number of bytes.
    pub fn product(&self, flops: f64, bytes: f64) -> f64 {
        (flops / self.product_flops_per_sec).max(self.memory(bytes))
    }

    /// The same in float32.
    pub fn product_in_float32(&self, flops: f64, bytes: f64) -> f64 {
        (flops / self.fp32_flops_per_sec).max(self.memory(bytes))
    }

    /// Seconds of attention to texts of about `len` tokens.
    pub fn attention(&self, len: f64, flops: f64, bytes: f64) -> f64 {
        (flops * self.secs_per_attention_flop(len)).max(self.memory(bytes))
    }

    /// Seconds of moving bytes from or to the card's memory.
    pub fn memory(&self, bytes: f64) -> f64 {
        bytes / self.memory_bytes_per_sec
    }

    /// A text's time has a part for each token and a part for each pair of tokens. So the inverse of the rate is a line
    /// in the inverse of the length, between two lengths that are known and beyond the first; longer texts than any
    /// known are attended to at the last rate.
    fn secs_per_attention_flop(&self, len: f64) -> f64 {
        let known: Vec<(f64, f64)> =
            self.attention_flops_per_sec.iter().map(|(len, rate)| (1.0 / len, 1.0 / rate)).collect();
        let at = 1.0 / len.max(1.0);
        match known.as_slice() {
            [] => 1.0 / self.product_flops_per_sec,
            [(_, secs)] => *secs,
            [.., (last, secs)] if at <= *last => *secs,
            [..] => {
                let pair = known.windows(2).find(|pair| at >= pair[1].0).unwrap_or(&known[known.len() - 2..]);
                let slope = (pair[0].1 - pair[1].1) / (pair[0].0 - pair[1].0);
                // A measurement may be faster for shorter texts; a line must not lead below nothing.
                (pair[1].1 + slope.max(0.0) * (at - pair[1].0)).max(f64::MIN_POSITIVE)
            }
        }
    }
}

#[cfg(test)]
pub mod tests {
    use super::*;

    /// A card of round numbers: 100 TFLOP/s in bfloat16, 10 in float32, 1 TB/s; texts of 100 tokens are attended to at
    /// 25 TFLOP/s, and of 1,000 at 100.
    pub fn round() -> Speed {
        Speed {
            card: "round",
            peak_flops_per_sec: 200e12,
            product_flops_per_sec: 100e12,
            fp32_flops_per_sec: 10e12,
            memory_bytes_per_sec: 1e12,
            attention_flops_per_sec: vec![(100.0, 25e12), (1000.0, 100e12)],
            launch_secs: 0.0,
            network: Network { all_reduce_bytes_per_sec: 1e11, ring_bytes_per_sec: 1e10, exchange_secs: 0.0 },
            measured: Vec::new(),
        }
    }

    #[test]
    fn an_operation_takes_its_operations_or_its_bytes() {
        let speed = round();
        assert_eq!((speed.product(1e14, 1e11), speed.product(1e12, 1e11)), (1.0, 0.1));
        assert_eq!((speed.product_in_float32(1e13, 0.0), speed.memory(1e12)), (1.0, 1.0));
    }

    #[test]
    fn attentions_rate_is_a_line_in_inverse_lengths() {
        let speed = round();
        let close = |len: f64, expected: f64| {
            let found = 1.0 / speed.attention(len, 1.0, 0.0);
            assert!((found / expected - 1.0).abs() < 1e-9, "{len} tokens: {found:e}");
        };
        close(100.0, 25e12);
        close(1000.0, 100e12);
        close(9000.0, 100e12);
        // Halfway between 1/1,000 and 1/100 the seconds are halfway between 10 and 40 fs; at 1/50 as far beyond.
        close(1.0 / 0.0055, 1e15 / 25.0);
        close(50.0, 1e15 / (40.0 + 10.0 * 30.0 / 9.0));
    }
}
