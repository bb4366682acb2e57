//! Cards as their data sheets have them, and what of that is taken to be reached.
//!
//! Rates of data sheets are without sparsity, and a link's are in one direction. What is reached of them is assumed,
//! from others' measurements, until `tercet plan --measured` has this card's own: docs/gpu.md has the sources.

use tercet_configs::GpuKind;

/// A kind of card.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Card {
    /// Which it is.
    pub kind: GpuKind,
    /// Words of the name that the driver gives it; all must be there.
    driver_words: &'static [&'static str],
    /// Memory as CUDA reports it.
    pub memory_bytes: f64,
    /// Products in bfloat16.
    pub bf16_flops_per_sec: f64,
    /// Products in float32.
    pub fp32_flops_per_sec: f64,
    /// Its own memory.
    pub memory_bytes_per_sec: f64,
    /// To the other cards of its machine.
    pub nvlink_bytes_per_sec: f64,
    /// A network adapter's rate; NVIDIA's machines of its generation have one for each card.
    pub adapter_bytes_per_sec: f64,
    /// The best products in bfloat16, of what the data sheet says.
    pub best_products: f64,
    /// Attention forward and backward, by the tokens of a text: operations per second.
    pub attention: [(f64, f64); 2],
}

/// Products of the encoder's shapes, of the best products. The CPU's reach 0.9, and an H100's were seen at 0.9 as well.
pub const SHAPES_SHARE: f64 = 0.85;
/// Products in float32, of the data sheet's rate.
pub const FP32_SHARE: f64 = 0.8;
/// Traffic with the card's memory, of the data sheet's rate.
pub const MEMORY_SHARE: f64 = 0.85;
/// Bytes that NCCL sends to other cards of the machine, of the link's rate.
const NVLINK_SHARE: f64 = 0.78;
/// Bytes that NCCL sends to other machines, of the adapters' rate.
const ADAPTER_SHARE: f64 = 0.92;
/// Seconds in which the host asks for one operation.
pub const LAUNCH_SECS: f64 = 4.5e-6;
/// Seconds from asking for an exchange between ranks to its beginning.
pub const EXCHANGE_SECS: f64 = 100e-6;

/// Attention's rate with dropout and in a fixed order, of what its paper shows without.
const ATTENTION_SHARE: f64 = 0.8;

const AMPERE: Card = Card {
    kind: GpuKind::A100Of80,
    driver_words: &["A100", "80GB"],
    memory_bytes: 85.0e9,
    bf16_flops_per_sec: 312e12,
    fp32_flops_per_sec: 19.5e12,
    memory_bytes_per_sec: 2.039e12,
    nvlink_bytes_per_sec: 300e9,
    adapter_bytes_per_sec: 25e9,
    best_products: 0.859,
    attention: [(512.0, ATTENTION_SHARE * 132e12), (16_384.0, ATTENTION_SHARE * 176e12)],
};

const HOPPER: Card = Card {
    kind: GpuKind::H100,
    driver_words: &["H100"],
    memory_bytes: 85.0e9,
    bf16_flops_per_sec: 989e12,
    fp32_flops_per_sec: 67e12,
    memory_bytes_per_sec: 3.35e12,
    nvlink_bytes_per_sec: 450e9,
    adapter_bytes_per_sec: 50e9,
    best_products: 0.801,
    attention: [(512.0, ATTENTION_SHARE * 210e12), (16_384.0, ATTENTION_SHARE * 290e12)],
};

impl Card {
    /// The card of that kind.
    pub fn of(kind: GpuKind) -> Self {
        match kind {
            GpuKind::A100Of80 => AMPERE,
            GpuKind::A100Of40 => {
                Self { kind, driver_words: &["A100"], memory_bytes: 42.4e9, memory_bytes_per_sec: 1.555e12, ..AMPERE }
            }
            GpuKind::A800Of80 => Self { kind, driver_words: &["A800"], nvlink_bytes_per_sec: 200e9, ..AMPERE },
            GpuKind::H100 => HOPPER,
            GpuKind::H200 => {
                Self { kind, driver_words: &["H200"], memory_bytes: 150.0e9, memory_bytes_per_sec: 4.8e12, ..HOPPER }
            }
        }
    }

    /// Bytes per second that NCCL is taken to send to other cards of the machine, and over a network adapter.
    pub fn sends(&self) -> [f64; 2] {
        [NVLINK_SHARE * self.nvlink_bytes_per_sec, ADAPTER_SHARE * self.adapter_bytes_per_sec]
    }

    /// The card that the driver calls so.
    pub fn of_driver(words: &str) -> Option<Self> {
        // The driver's name of the smaller A100 has no size in it, and the larger one comes first.
        GpuKind::ALL.into_iter().map(Self::of).find(|card| card.driver_words.iter().all(|word| words.contains(word)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cards_are_known_by_their_kinds_and_by_the_drivers_names() {
        assert!(GpuKind::ALL.into_iter().all(|kind| Card::of(kind).kind == kind));
        assert_eq!(Card::of(GpuKind::H200).memory_bytes_per_sec, 4.8e12);
        for (driver, name) in [
            ("NVIDIA A100-SXM4-80GB", "a100-80"),
            ("NVIDIA A100 80GB PCIe", "a100-80"),
            ("NVIDIA A100-SXM4-40GB", "a100-40"),
            ("NVIDIA A800-SXM4-80GB", "a800-80"),
            ("NVIDIA H100 80GB HBM3", "h100"),
            ("NVIDIA H200", "h200"),
        ] {
            assert_eq!(Card::of_driver(driver).unwrap().kind.name(), name, "{driver}");
        }
        assert_eq!(Card::of_driver("NVIDIA L40S"), None);
    }
}
