//! The passage → query direction of parallel corpora: each positive is contrasted with every rank's queries.
//!
//! Its score matrix is the transpose of the positives' columns, whose rows lie on all ranks. Transposing over ranks is
//! linear and its own adjoint, so the gradient comes back the same way.
//!
//! Legend: Q local queries, R all ranks' queries, P all ranks' passages.

use tch::{Kind, Tensor};
use tercet_cluster::{Collective, CollectiveError, block_owners, gather_counts, rank_before};
use tercet_configs::{LossSection, Negatives, Teacher};
use tercet_sampler::Share;

use crate::model::representation::offsets;
use crate::scoring::Scores;
use crate::step::contrastive::known_answers::FalseNegatives;
use crate::step::contrastive::loss::{Loss, Terms, loss};
use crate::step::contrastive::targets::Targets;
use crate::tensors::exchange::ring_pass;

/// The mean of `forward` (query → passage) and the loss of the other direction, from which `false_negatives`, entries
/// of [Q, R], are left out. Every rank calls it.
///
/// # Errors
/// A collective that failed.
pub fn add_passage_to_query(
    ranks: &dyn Collective,
    settings: &LossSection,
    share: &Share,
    scores: &Scores,
    false_negatives: FalseNegatives,
    forward: Loss,
    distill: bool,
) -> Result<Loss, CollectiveError> {
    let counts = gather_counts(ranks, share.num_queries)?;
    let group_sizes = gather_counts(ranks, share.group_size)?;
    debug_assert!(group_sizes.iter().all(|&g| g == share.group_size), "a global batch has one group size");
    let first = offsets(counts.iter().copied());
    let options = (Kind::Int64, scores.dense.device());
    // Passages lie in rank order, so every query's positive is G columns after its predecessor's.
    let positives = Tensor::arange(first[counts.len()] as i64, options) * share.group_size as i64; // [R]

    let transposed = scores.as_ref().try_map(|s| transpose(ranks, &s.index_select(1, &positives), &first))?; // [Q, R]
    let own = Tensor::arange(share.num_queries as i64, options) + first[ranks.rank()] as i64;
    let targets = Targets {
        group: own.unsqueeze(-1),
        positive: own,
        false_negatives,
        teacher: None,
        negatives: Negatives::InBatch,
        num_global_queries: share.num_global_queries,
    };
    let section = LossSection { teacher: Teacher::None, ..settings.clone() };
    let backward = loss(&section, &transposed, &targets, distill);

    let returned = backward.d_scores.as_ref().try_map(|d| transpose(ranks, d, &first))?; // [Q, R]
    let add = |d: &Tensor, other: &Tensor| (d / 2.0).index_add(1, &positives, &(other / 2.0));
    let (a, b) = (forward.terms.values(), backward.terms.values());
    Ok(Loss {
        total: (forward.total + backward.total) / 2.0,
        terms: Terms::from_values(std::array::from_fn(|i| a[i].zip(b[i]).map(|(a, b)| (a + b) / 2.0))),
        d_scores: forward.d_scores.as_ref().zip(returned.as_ref()).map(|(d, other)| add(d, other)),
    })
}

/// Transposes the R×R matrix whose rows are spread over the ranks, this rank's being `rows` [Q, R]; returns this rank's
/// rows of the result, [Q, R]. `first` says where each rank's rows start (W + 1 numbers). Every rank calls it.
fn transpose(ranks: &dyn Collective, rows: &Tensor, first: &[usize]) -> Result<Tensor, CollectiveError> {
    let (rank, world) = (ranks.rank(), ranks.world_size());
    let count = |r: usize| (first[r + 1] - first[r]) as i64;
    let mut blocks: Vec<Option<Tensor>> = (0..world).map(|_| None).collect();
    let mut visiting = rows.shallow_clone();
    for owner in block_owners(rank, world) {
        blocks[owner] = Some(visiting.narrow(1, first[rank] as i64, count(rank)).tr());
        let next = rank_before(owner, world);
        if next != rank {
            visiting = ring_pass(ranks, &visiting, &[count(next), first[world] as i64])?;
        }
    }
    Ok(Tensor::cat(&blocks.into_iter().flatten().collect::<Vec<_>>(), 1))
}
