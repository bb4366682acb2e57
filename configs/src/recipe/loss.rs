//! `[loss]`: the objective.

use serde::{Deserialize, Serialize};

/// `[loss]`: the objective.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct LossSection {
    /// Which heads train, and how their losses add up.
    pub preset: LossPreset,
    /// What the losses of the dense, the lexical and the multi-vector head weigh beside each other (λ); the hybrid
    /// score's weighs 1. Each is 0 or from 1e-6 to 1e6, one at least above 0. Left out: as the preset has it, [1.0,
    /// 0.1, 1.0] or, for `paper-v1`, [1.0, 1.0, 1.0]. Not with `dense`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub head_weights: Option<[f64; 3]>,
    /// What the scores of the dense, the lexical and the multi-vector head weigh in the hybrid score, likewise. Left
    /// out: as the preset has it, [1.0, 0.3, 1.0] or, for `paper-v1`, [1.0, 1.0, 1.0]. Not with `dense`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hybrid_weights: Option<[f64; 3]>,
    /// Every score is divided by it.
    pub temperature: f64,
    /// Self-distillation from the hybrid score (presets `unified` and `paper-v1`).
    pub distill: bool,
    /// Optimizer steps without self-distillation first: the warm-up of the heads.
    pub distill_start_step: u64,
    /// What teacher scores given with the rows do.
    pub teacher: Teacher,
    /// Leaves out of a query's negatives what is known to answer it: the positives of every row of the global batch
    /// that has the same query. The published trainer counts them as negatives.
    pub mask_false_negatives: bool,
}

/// Which heads train, and how their losses add up (docs/know/loss.md has the formulas).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum LossPreset {
    /// The authors' code and the paper's later version.
    #[default]
    Unified,
    /// The paper's first version.
    PaperV1,
    /// `unified` without distillation.
    Independent,
    /// The dense head alone.
    Dense,
    /// Pre-training on single texts: the encoder's masked words, and all words from the sentence vector through a
    /// weak decoder. No head is trained.
    Retromae,
    /// Its encoder's part alone: masked language modelling.
    Mlm,
}

/// What teacher scores given with the rows do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Teacher {
    /// They are ignored.
    #[default]
    None,
    /// Cross-entropy to the softmax of the teacher's scores over the query's own group, added to InfoNCE.
    KlDiv,
    /// Teacher-weighted InfoNCE over the group's passages in turn, in place of InfoNCE.
    M3KdLoss,
}

impl Default for LossSection {
    fn default() -> Self {
        Self {
            preset: LossPreset::Unified,
            head_weights: None,
            hybrid_weights: None,
            temperature: 0.02,
            distill: true,
            distill_start_step: 0,
            teacher: Teacher::None,
            mask_false_negatives: true,
        }
    }
}
