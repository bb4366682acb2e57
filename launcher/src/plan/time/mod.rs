//! From operations and bytes to seconds.
//!
//! Either one rate holds for all operations (`flat`), or a card is reckoned with kind by kind (`on_card`): each
//! operation takes what its operations take at the card's rate for them, or what its bytes take at its memory's, and a
//! phase what the host takes to launch it, whichever is longest. docs/gpu.md has the formulas and what is assumed. What
//! is waited for between ranks is the same for both (`network`).

mod cards;
mod computed;
mod counts;
mod flat;
mod layers;
mod measured;
mod network;
mod on_card;
mod scoring;
mod speed;
mod spent;
mod step;
mod update;
mod words;

use serde::Serialize;

pub use cards::Card;
pub use flat::Flat;
pub use measured::{Compared, Measured};
pub use network::Network;
pub use speed::Speed;
pub use spent::KindSecs;
pub use step::{StepSecs, StepWork};

/// What times rest on.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(untagged)]
pub enum Rates {
    /// One rate for all operations.
    Flat(Flat),
    /// A card's, kind by kind.
    Card(Speed),
}

impl Rates {
    /// What a step takes, and what its computing goes to where that is known.
    pub fn step(&self, work: &StepWork) -> (StepSecs, Option<KindSecs>) {
        let (computed, network) = match self {
            Self::Flat(flat) => (flat.computed(work), &flat.network),
            Self::Card(speed) => (speed.computed(work), &speed.network),
        };
        (StepSecs::of(work, &computed, network), computed.by_kind)
    }

    /// Operations per second that a share of the peak is a share of, where they are known.
    pub fn peak_flops_per_sec(&self) -> Option<f64> {
        match self {
            Self::Flat(flat) => flat.peak_flops_per_sec,
            Self::Card(speed) => Some(speed.peak_flops_per_sec),
        }
    }
}
