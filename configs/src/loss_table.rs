//! How a loss's terms are weighed and added up: what a preset stands for (docs/know/loss.md has the formulas).

use crate::purpose::Purpose;
use crate::recipe::{LossPreset, LossSection};

/// Terms of a loss at most: InfoNCE of the three heads and of the hybrid score, and the three heads' distillation.
pub const NUM_TERMS: usize = 7;

/// Weights of the loss's terms. Arrays are in the order of [`Head::ALL`](crate::Head::ALL).
///
/// With H the weighted sum of the hard terms over `hard_divisor` and D that of the distilled ones over its divisor, the
/// loss is H, or with distillation (H + D) over `sum_divisor`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct LossTable {
    /// λ: what a head's InfoNCE and its distillation weigh among the heads'.
    pub head_weights: [f64; 3],
    /// w: what a head's score weighs in the hybrid score, which teaches all heads.
    pub hybrid_weights: [f64; 3],
    /// InfoNCE of the hybrid score is a hard term, too, and weighs 1.
    pub has_hybrid_term: bool,
    /// The sum of the hard terms is divided by it.
    pub hard_divisor: f64,
    /// None where the heads never learn from the hybrid score.
    pub distillation: Option<Distillation>,
}

/// How distillation comes on top of the hard terms.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Distillation {
    /// The sum of the distilled terms is divided by it.
    pub divisor: f64,
    /// The sum of both is divided by it.
    pub sum_divisor: f64,
}

/// What the three heads' scores weigh in the hybrid score where no recipe says it (the paper's section 4.1).
pub const HYBRID_WEIGHTS: [f64; 3] = [1.0, 0.3, 1.0];

const UNIFIED: LossTable = LossTable {
    head_weights: [1.0, 0.1, 1.0],
    hybrid_weights: HYBRID_WEIGHTS,
    has_hybrid_term: true,
    hard_divisor: 4.0,
    distillation: Some(Distillation { divisor: 3.0, sum_divisor: 2.0 }),
};

impl LossPreset {
    /// Whether it pre-trains the encoder on rows of one text each, in place of contrasting queries with passages.
    pub fn is_pretraining(self) -> bool {
        Purpose::of(self) != Purpose::Retrieval
    }

    /// What it stands for; none for the dense head alone, whose InfoNCE is the loss, and for pre-training.
    pub fn table(self) -> Option<LossTable> {
        match self {
            Self::Unified => Some(UNIFIED),
            Self::PaperV1 => Some(LossTable {
                head_weights: [1.0; 3],
                hybrid_weights: [1.0; 3],
                has_hybrid_term: false,
                hard_divisor: 1.0,
                distillation: Some(Distillation { divisor: 3.0, sum_divisor: 1.0 }),
            }),
            Self::Independent => Some(LossTable { distillation: None, ..UNIFIED }),
            Self::Dense | Self::Retromae | Self::Mlm => None,
        }
    }
}

impl LossSection {
    /// The preset's table with this section's weights.
    pub fn table(&self) -> Option<LossTable> {
        self.preset.table().map(|preset| LossTable {
            head_weights: self.head_weights.unwrap_or(preset.head_weights),
            hybrid_weights: self.hybrid_weights.unwrap_or(preset.hybrid_weights),
            ..preset
        })
    }

    /// Whether the heads learn from the hybrid score in `step`, which counts from 0.
    pub fn distils_in(&self, step: u64) -> bool {
        self.distill
            && step >= self.distill_start_step
            && self.table().is_some_and(|table| table.distillation.is_some())
    }

    /// Fills in the weights that the recipe leaves to the preset.
    pub(crate) fn resolve_weights(&mut self) {
        if let Some(LossTable { head_weights, hybrid_weights, .. }) = self.table() {
            (self.head_weights, self.hybrid_weights) = (Some(head_weights), Some(hybrid_weights));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The weight of each term in the whole loss.
    fn shares(table: &LossTable) -> ([f64; 3], f64, [f64; 3]) {
        let Distillation { divisor, sum_divisor } = table.distillation.unwrap();
        let hard = table.head_weights.map(|weight| weight / table.hard_divisor / sum_divisor);
        let hybrid = f64::from(table.has_hybrid_term) / table.hard_divisor / sum_divisor;
        (hard, hybrid, table.head_weights.map(|weight| weight / divisor / sum_divisor))
    }

    #[test]
    fn presets_are_the_formulas_of_their_sources() {
        let unified = LossPreset::Unified.table().unwrap();
        assert_eq!(
            shares(&unified),
            ([1.0, 0.1, 1.0].map(|w| w / 8.0), 1.0 / 8.0, [1.0, 0.1, 1.0].map(|w| w / 3.0 / 2.0))
        );
        let first = LossPreset::PaperV1.table().unwrap();
        assert_eq!(shares(&first), ([1.0; 3], 0.0, [1.0 / 3.0; 3]));
        assert_eq!(LossPreset::Independent.table(), Some(LossTable { distillation: None, ..unified }));
        assert_eq!(LossPreset::Dense.table(), None);
    }

    #[test]
    fn a_section_distils_from_its_step_on_if_its_preset_does() {
        let section =
            |preset, distill| LossSection { preset, distill, distill_start_step: 5, ..LossSection::default() };
        let unified = section(LossPreset::Unified, true);
        assert_eq!([4, 5, 6].map(|step| unified.distils_in(step)), [false, true, true]);
        for other in [section(LossPreset::Unified, false), section(LossPreset::Independent, true)] {
            assert!(!other.distils_in(9));
        }
        assert!(!section(LossPreset::Dense, true).distils_in(9));
    }
}
