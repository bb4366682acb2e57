//! The losses: a pure function of score matrices and targets to a scalar and its gradient with respect to the scores.
//!
//! Nothing here knows where scores come from, what a rank is or how a head works. Formulas and sources: docs/know/loss.md.
//!
//! Legend: Q this rank's queries, P the passages they are contrasted with, G passages per query's own group.

use serde::Serialize;
use tch::{Kind, Tensor};
use tercet_configs::{LossPreset, LossSection, Negatives, Teacher};

use crate::scoring::Scores;
use crate::step::contrastive::known_answers::FalseNegatives;

/// Weight of the lexical head among the heads (λ2 of the authors' code).
const LEXICAL_WEIGHT: f64 = 0.1;

/// What a batch asks of its queries.
pub struct Targets {
    /// Column of each query's positive, int64 `[Q]`.
    pub positive: Tensor,
    /// Columns of each query's own group, its positive first, int64 [Q, G].
    pub group: Tensor,
    /// Entries of [Q, P] that are left out of every softmax.
    pub false_negatives: FalseNegatives,
    /// The teacher's scores of the group's passages, [Q, G]; −∞ for those that are left out.
    pub teacher: Option<Tensor>,
    /// Which passages a query is contrasted with.
    pub negatives: Negatives,
    /// Queries of all ranks: every loss is a mean over them.
    pub num_global_queries: usize,
}

/// The loss's parts, each before its weight; those that the preset has.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Terms {
    /// InfoNCE of the dense head.
    pub dense: Option<f64>,
    /// InfoNCE of the lexical head.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lexical: Option<f64>,
    /// InfoNCE of the multi-vector head.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub multi_vector: Option<f64>,
    /// InfoNCE of the hybrid score.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hybrid: Option<f64>,
    /// Cross-entropy of the dense head to the hybrid score's softmax.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub distill_dense: Option<f64>,
    /// The same for the lexical head.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub distill_lexical: Option<f64>,
    /// The same for the multi-vector head.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub distill_multi_vector: Option<f64>,
}

impl Terms {
    /// The parts in one fixed order.
    pub fn values(&self) -> [Option<f64>; 7] {
        [
            self.dense,
            self.lexical,
            self.multi_vector,
            self.hybrid,
            self.distill_dense,
            self.distill_lexical,
            self.distill_multi_vector,
        ]
    }

    /// The inverse of [`Terms::values`].
    pub fn from_values(v: [Option<f64>; 7]) -> Self {
        Self {
            dense: v[0],
            lexical: v[1],
            multi_vector: v[2],
            hybrid: v[3],
            distill_dense: v[4],
            distill_lexical: v[5],
            distill_multi_vector: v[6],
        }
    }
}

/// This rank's share: the sum over its queries divided by the number of all ranks' queries.
pub struct Loss {
    /// The share of the loss.
    pub total: f64,
    /// The shares of its parts.
    pub terms: Terms,
    /// d total / d score, [Q, P] each.
    pub d_scores: Scores,
}

/// Scores that a loss can be taken of, divided by the temperature; `hybrid` is their weighted sum.
pub fn hybrid(settings: &LossSection, scores: &Scores) -> Option<Tensor> {
    let lexical_weight = if settings.preset == LossPreset::PaperV1 { 1.0 } else { 0.3 };
    let (lexical, multi_vector) = (scores.lexical.as_ref()?, scores.multi_vector.as_ref()?);
    Some(&scores.dense + lexical * lexical_weight + multi_vector)
}

/// The loss of `scores` (undivided, [Q, P] each); `distill` says whether self-distillation is on at this step.
pub fn loss(settings: &LossSection, scores: &Scores, targets: &Targets, distill: bool) -> Loss {
    let leaves = scores.map(|s| s.detach().set_requires_grad(true));
    let tempered = leaves.map(|s| targets.false_negatives.mask(s / settings.temperature));
    // Without in-batch negatives a query sees its own group only, whose first passage is the positive.
    let (seen, positive) = match targets.negatives {
        Negatives::Own => (tempered.map(|s| s.gather(1, &targets.group, false)), targets.positive.zeros_like()),
        Negatives::All | Negatives::InBatch => (tempered.map(Tensor::shallow_clone), targets.positive.shallow_clone()),
    };
    let group = match targets.negatives {
        Negatives::Own => {
            let own = Tensor::arange(targets.group.size()[1], (Kind::Int64, targets.group.device()));
            own.expand_as(&targets.group)
        }
        Negatives::All | Negatives::InBatch => targets.group.shallow_clone(),
    };
    let mean = |per_query: Tensor| per_query.sum(per_query.kind()) / targets.num_global_queries as f64;
    let hard = |s: &Tensor| mean(contrast(settings.teacher, s, &positive, &group, targets.teacher.as_ref()));

    let mut terms = Terms::default();
    let mut take = |slot: fn(&mut Terms) -> &mut Option<f64>, value: Tensor| {
        *slot(&mut terms) = Some(value.double_value(&[]));
        value
    };
    let dense = take(|t| &mut t.dense, hard(&seen.dense));
    let heads = seen.lexical.as_ref().zip(seen.multi_vector.as_ref()).filter(|_| settings.preset != LossPreset::Dense);
    let total = match heads.zip(hybrid(settings, &seen)) {
        None => dense,
        Some(((lexical, multi_vector), hybrid)) => {
            let l_lexical = take(|t| &mut t.lexical, hard(lexical));
            let l_multi_vector = take(|t| &mut t.multi_vector, hard(multi_vector));
            let lambda = if settings.preset == LossPreset::PaperV1 { 1.0 } else { LEXICAL_WEIGHT };
            let hard = match settings.preset {
                LossPreset::PaperV1 => dense + l_lexical + l_multi_vector,
                _ => {
                    let l_hybrid = take(|t| &mut t.hybrid, hard(&hybrid));
                    (dense + l_lexical * lambda + l_multi_vector + l_hybrid) / 4.0
                }
            };
            if !distill || settings.preset == LossPreset::Independent {
                hard
            } else {
                let teacher = hybrid.detach().softmax(-1, None);
                let soft = |s: &Tensor| mean(cross_entropy(&teacher, s));
                let distilled = (take(|t| &mut t.distill_dense, soft(&seen.dense))
                    + take(|t| &mut t.distill_lexical, soft(lexical)) * lambda
                    + take(|t| &mut t.distill_multi_vector, soft(multi_vector)))
                    / 3.0;
                match settings.preset {
                    LossPreset::PaperV1 => hard + distilled,
                    _ => (hard + distilled) / 2.0,
                }
            }
        }
    };
    total.backward();
    let d_scores = leaves.map(|leaf| if leaf.grad().defined() { leaf.grad() } else { leaf.zeros_like() });
    Loss { total: total.double_value(&[]), terms, d_scores }
}

/// What a head's hard loss is with the teacher scores that the rows bring, per query `[Q]`. `group` are columns of `s`.
fn contrast(teacher: Teacher, s: &Tensor, positive: &Tensor, group: &Tensor, scores: Option<&Tensor>) -> Tensor {
    match scores.filter(|_| teacher != Teacher::None).map(|t| t.to_kind(s.kind()).softmax(-1, None)) {
        None => info_nce(s, positive),
        Some(targets) if teacher == Teacher::KlDiv => {
            info_nce(s, positive) + cross_entropy(&targets, &s.gather(1, group, false))
        }
        Some(targets) => ranked_info_nce(s, group, &targets),
    }
}

/// −log of the softmax of `s` at the positive, `[Q]`.
fn info_nce(s: &Tensor, positive: &Tensor) -> Tensor {
    -s.log_softmax(-1, None).gather(1, &positive.unsqueeze(-1), false).squeeze_dim(-1)
}

/// −Σ t · log softmax(s), `[Q]`.
fn cross_entropy(t: &Tensor, s: &Tensor) -> Tensor {
    -(t * s.log_softmax(-1, None)).sum_dim_intlist([-1i64].as_slice(), false, None::<Kind>)
}

/// The published trainer's `m3_kd_loss`: InfoNCE for each passage of the group in turn, weighted by the teacher, the
/// group's earlier passages being left out; `[Q]`.
fn ranked_info_nce(s: &Tensor, group: &Tensor, targets: &Tensor) -> Tensor {
    let mut left = s.shallow_clone();
    let mut sum = Tensor::zeros([s.size()[0]], (s.kind(), s.device()));
    for g in 0..group.size()[1] {
        let column = group.narrow(1, g, 1); // [Q, 1]
        sum += targets.select(1, g) * info_nce(&left, &column.squeeze_dim(-1));
        left = left.scatter_value(1, &column, f64::NEG_INFINITY);
    }
    sum
}
