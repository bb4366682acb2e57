//! The targets that the loss compares scores with.
//!
//! Legend: Q this rank's queries, P the passages they are contrasted with, G passages per query's own group.

use tch::{Device, Kind, Tensor};
use tercet_configs::Negatives;
use tercet_sampler::Share;

use crate::step::contrastive::known_answers::FalseNegatives;
use crate::tensors::upload::upload;

/// The targets of a rank's queries.
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

impl Targets {
    /// The targets of a share whose first passage has the column `first`.
    pub fn of(share: &Share, first: usize, false_negatives: FalseNegatives, device: Device) -> Self {
        let (q, g) = (share.num_queries as i64, share.group_size as i64);
        let group = (Tensor::arange(q * g, (Kind::Int64, device)) + first as i64).view([q, g]); // [Q, G]
        let teacher = share.teacher_scores.clone().map(|mut teacher| {
            false_negatives.leave_out_of_groups(&mut teacher, first, share.group_size);
            upload(&teacher, device).view([q, g]) // [Q, G]
        });
        Self {
            positive: group.select(1, 0),
            group,
            false_negatives,
            teacher,
            negatives: share.negatives,
            num_global_queries: share.num_global_queries,
        }
    }
}
