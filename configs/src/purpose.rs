//! What a model is for: what its encoder carries, and so which weights it has.

use crate::recipe::LossPreset;

/// What a model is for, and so what stands on its encoder.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Purpose {
    /// The three heads.
    #[default]
    Retrieval,
    /// Pre-training: the head that predicts words, and perhaps the decoder.
    Pretraining {
        /// There is a decoder.
        decoder: bool,
    },
}

impl Purpose {
    /// What a loss trains.
    pub fn of(preset: LossPreset) -> Self {
        match preset {
            LossPreset::Retromae => Self::Pretraining { decoder: true },
            LossPreset::Mlm => Self::Pretraining { decoder: false },
            LossPreset::Unified | LossPreset::PaperV1 | LossPreset::Independent | LossPreset::Dense => Self::Retrieval,
        }
    }
}
