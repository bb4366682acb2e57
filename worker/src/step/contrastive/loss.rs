//! The losses: a pure function of score matrices and targets to a scalar and its gradient with respect to the scores.
//!
//! Nothing here knows where scores come from, what a rank is or how a head works. Formulas and sources:
//! docs/know/loss.md.
//!
//! Legend: Q this rank's queries, P the passages they are contrasted with, G passages per query's own group.

use std::collections::BTreeMap;

use serde::Serialize;
use tch::{Kind, Tensor};
use tercet_configs::{LossSection, NUM_TERMS, Negatives, Teacher};

use crate::machine::card;
use crate::scoring::Scores;
use crate::step::contrastive::targets::Targets;

/// The terms of the loss, each before its weight; none where the preset has no such term.
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
    /// The terms in one fixed order.
    pub fn values(&self) -> [Option<f64>; NUM_TERMS] {
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

    /// The terms that the preset has, by name.
    pub fn by_name(&self) -> BTreeMap<String, Option<f64>> {
        // Plain structs of numbers cannot fail to serialise.
        serde_json::from_value(serde_json::to_value(self).expect("plain data")).expect("numbers by name")
    }

    /// The inverse of [`Terms::values`].
    pub fn from_values(v: [Option<f64>; NUM_TERMS]) -> Self {
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

/// This rank's share of the loss: the sum over its queries divided by the number of all ranks' queries.
pub struct Loss {
    /// The share of the loss.
    pub total: f64,
    /// The shares of its terms.
    pub terms: Terms,
    /// d total / d score, [Q, P] each.
    pub d_scores: Scores,
}

/// The hybrid score [Q, P]: the weighted sum of the heads' `scores`, divided by the temperature; none without all three
/// heads.
pub fn hybrid(settings: &LossSection, scores: &Scores) -> Option<Tensor> {
    let weights = settings.table()?.hybrid_weights;
    Some(weighted_sum([&scores.dense, scores.lexical.as_ref()?, scores.multi_vector.as_ref()?], weights))
}

/// The sum of `parts` in their order. No product is made for a weight of 1, which saves a [Q, P].
fn weighted_sum(parts: [&Tensor; 3], weights: [f64; 3]) -> Tensor {
    let weighted = |i: usize| if weights[i] == 1.0 { parts[i].shallow_clone() } else { parts[i] * weights[i] };
    weighted(0) + weighted(1) + weighted(2)
}

/// The loss of `scores` (not yet divided by the temperature, [Q, P] each); `distill` says whether self-distillation is
/// on at this step.
pub fn loss(settings: &LossSection, scores: &Scores, targets: &Targets, distill: bool) -> Loss {
    let leaves = scores.as_ref().map(|s| s.detach().set_requires_grad(true));
    let tempered = leaves.as_ref().map(|s| targets.false_negatives.mask(s / settings.temperature));
    // Without in-batch negatives a query sees its own group only, whose first passage is the positive.
    let (seen, positive) = match targets.negatives {
        Negatives::Own => {
            (tempered.as_ref().map(|s| s.gather(1, &targets.group, false)), targets.positive.zeros_like())
        }
        Negatives::All | Negatives::InBatch => {
            (tempered.as_ref().map(Tensor::shallow_clone), targets.positive.shallow_clone())
        }
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

    let mut taken: Vec<(Slot, Tensor)> = Vec::new();
    let mut take = |slot: Slot, value: Tensor| {
        taken.push((slot, value.detach()));
        value
    };
    let dense = take(|t| &mut t.dense, hard(&seen.dense));
    let heads = (seen.lexical.as_ref(), seen.multi_vector.as_ref());
    let total = match (heads, settings.table(), hybrid(settings, &seen)) {
        ((Some(lexical), Some(multi_vector)), Some(table), Some(hybrid)) => {
            let l_lexical = take(|t| &mut t.lexical, hard(lexical));
            let l_multi_vector = take(|t| &mut t.multi_vector, hard(multi_vector));
            let heads = weighted_sum([&dense, &l_lexical, &l_multi_vector], table.head_weights);
            let sum = if table.has_hybrid_term { heads + take(|t| &mut t.hybrid, hard(&hybrid)) } else { heads };
            let hard = sum / table.hard_divisor;
            match table.distillation.filter(|_| distill) {
                None => hard,
                Some(distillation) => {
                    let teacher = hybrid.detach().softmax(-1, None);
                    let soft = |s: &Tensor| mean(cross_entropy(&teacher, s));
                    let soft = [
                        &take(|t| &mut t.distill_dense, soft(&seen.dense)),
                        &take(|t| &mut t.distill_lexical, soft(lexical)),
                        &take(|t| &mut t.distill_multi_vector, soft(multi_vector)),
                    ];
                    let distilled = weighted_sum(soft, table.head_weights) / distillation.divisor;
                    (hard + distilled) / distillation.sum_divisor
                }
            }
        }
        _ => dense,
    };
    total.backward();
    let d_scores = leaves.as_ref().map(|leaf| if leaf.grad().defined() { leaf.grad() } else { leaf.zeros_like() });
    let (total, terms) = read(&total.detach(), &taken);
    Loss { total, terms, d_scores }
}

/// The place of one term.
type Slot = fn(&mut Terms) -> &mut Option<f64>;

/// The loss and its terms as numbers, read together so that the host waits for the device once.
fn read(total: &Tensor, taken: &[(Slot, Tensor)]) -> (f64, Terms) {
    let all: Vec<&Tensor> = std::iter::once(total).chain(taken.iter().map(|(_, value)| value)).collect();
    let values = card::numbers(&Tensor::stack(&all, 0));
    let mut terms = Terms::default();
    for ((slot, _), value) in taken.iter().zip(&values[1..]) {
        *slot(&mut terms) = Some(*value);
    }
    (values[0], terms)
}

/// A head's hard loss per query, `[Q]`. `scores`, [Q, G], are the teacher's, if the rows have any, and `group`, [Q, G],
/// are the columns of `s` that they belong to.
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

/// The published trainer's `m3_kd_loss`: InfoNCE for each passage of the group in turn, weighted by the teacher,
/// without the group's earlier passages; `[Q]`.
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
