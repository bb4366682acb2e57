//! Score matrices of the three heads: local queries × all ranks' passages, and their gradients.
//!
//! No rank ever holds more than two ranks' passages: blocks travel round a ring. Scores here are not yet divided by
//! the temperature.
//!
//! Legend: Q local queries, P all ranks' passages (in rank order), W ranks.

pub mod dense;
pub mod lexical;
pub mod multi_vector;
mod ring;

use tch::Tensor;
use tercet_cluster::{Collective, CollectiveError};

use crate::representation::{Gradients, Representations, offsets};
use ring::BlockSizes;

/// One matrix per head: scores, or gradients with respect to them.
#[derive(Debug)]
pub struct Scores {
    /// [Q, P].
    pub dense: Tensor,
    /// [Q, P], if the head runs.
    pub lexical: Option<Tensor>,
    /// [Q, P], if the head runs.
    pub multi_vector: Option<Tensor>,
}

impl Scores {
    /// `f` of every head's matrix.
    pub fn map(&self, f: impl Fn(&Tensor) -> Tensor) -> Self {
        Self {
            dense: f(&self.dense),
            lexical: self.lexical.as_ref().map(&f),
            multi_vector: self.multi_vector.as_ref().map(&f),
        }
    }

    /// As [`Scores::map`], where `f` can fail.
    ///
    /// # Errors
    /// The first of `f`.
    pub fn try_map<E>(&self, f: impl Fn(&Tensor) -> Result<Tensor, E>) -> Result<Self, E> {
        Ok(Self {
            dense: f(&self.dense)?,
            lexical: self.lexical.as_ref().map(&f).transpose()?,
            multi_vector: self.multi_vector.as_ref().map(&f).transpose()?,
        })
    }
}

/// The two ring trips of one step; between them it remembers what the second needs of the first.
pub struct RingScoring<'a> {
    ranks: &'a dyn Collective,
    queries: &'a Representations,
    passages: &'a Representations,
    sizes: BlockSizes,
    lexical_queries: Option<lexical::Queries>,
    /// By the rank that owns the block.
    winners: Vec<Option<multi_vector::Winners>>,
}

impl<'a> RingScoring<'a> {
    /// Prepares scoring of this rank's queries against all ranks' passages. Every rank calls it.
    ///
    /// # Errors
    /// A collective that failed.
    pub fn new(
        ranks: &'a dyn Collective,
        queries: &'a Representations,
        passages: &'a Representations,
    ) -> Result<Self, CollectiveError> {
        Ok(Self {
            ranks,
            queries,
            passages,
            sizes: BlockSizes::gather(ranks, passages)?,
            lexical_queries: queries.lexical.as_ref().map(lexical::Queries::new),
            winners: (0..ranks.world_size()).map(|_| None).collect(),
        })
    }

    /// Where each rank's passages start among all (W + 1 numbers).
    pub fn first_passage(&self) -> Vec<usize> {
        offsets(self.sizes.num_texts().into_iter())
    }

    /// The score matrices, [Q, P] each. Every rank calls it.
    ///
    /// # Errors
    /// A collective that failed.
    pub fn forward(&mut self) -> Result<Scores, CollectiveError> {
        let (rank, world) = (self.ranks.rank(), self.ranks.world_size());
        let mut by_owner: Vec<Option<Scores>> = (0..world).map(|_| None).collect();
        let mut visiting: Option<Representations> = None;
        for hop in 0..world {
            let owner = (rank + world - hop) % world;
            let (scores, winners) = self.score(visiting.as_ref().unwrap_or(self.passages));
            by_owner[owner] = Some(scores);
            self.winners[owner] = winners;
            if hop + 1 < world {
                let next_owner = (owner + world - 1) % world;
                let block = visiting.as_ref().unwrap_or(self.passages);
                visiting = Some(self.sizes.pass_block(self.ranks, block, next_owner)?);
            }
        }
        let blocks: Vec<Scores> = by_owner.into_iter().flatten().collect();
        let join = |pick: fn(&Scores) -> Option<&Tensor>| -> Option<Tensor> {
            let columns: Vec<&Tensor> = blocks.iter().filter_map(pick).collect();
            (!columns.is_empty()).then(|| Tensor::cat(&columns, 1))
        };
        Ok(Scores {
            dense: join(|s| Some(&s.dense)).expect("the world has at least one rank"),
            lexical: join(|s| s.lexical.as_ref()),
            multi_vector: join(|s| s.multi_vector.as_ref()),
        })
    }

    /// Gradients of this rank's queries and passages from `d_scores`, [Q, P] each. Every rank calls it, after
    /// [`RingScoring::forward`].
    ///
    /// # Errors
    /// A collective that failed.
    pub fn backward(self, d_scores: &Scores) -> Result<(Gradients, Gradients), CollectiveError> {
        let (rank, world) = (self.ranks.rank(), self.ranks.world_size());
        let first = self.first_passage();
        let mut d_queries = Gradients::zeros(self.queries);
        let mut d_passages = Gradients::zeros(self.passages);
        let mut visiting: Option<Representations> = None;
        for hop in 0..world {
            let owner = (rank + world - hop) % world;
            let block = visiting.as_ref().unwrap_or(self.passages);
            let (from, len) = (first[owner] as i64, (first[owner + 1] - first[owner]) as i64);
            let d_block = d_scores.map(|d| d.narrow(1, from, len));
            self.score_backward(block, owner, &d_block, &mut d_queries, &mut d_passages);
            if world > 1 {
                // After `world` hops a block's gradients are back with its owner; the block itself need not return.
                let next_owner = (owner + world - 1) % world;
                d_passages = self.sizes.pass_gradients(self.ranks, &d_passages, next_owner)?;
                if hop + 1 < world {
                    visiting = Some(self.sizes.pass_block(self.ranks, block, next_owner)?);
                }
            }
        }
        Ok((d_queries, d_passages))
    }

    /// This rank's queries against one block.
    fn score(&self, block: &Representations) -> (Scores, Option<multi_vector::Winners>) {
        let lexical = self.lexical_queries.as_ref().zip(block.lexical.as_ref()).map(|(q, p)| q.forward(p));
        let multi_vector = self.queries.multi_vector.as_ref().zip(block.multi_vector.as_ref());
        let (multi_vector, winners) = multi_vector.map(|(q, p)| multi_vector::forward(q, p)).unzip();
        (Scores { dense: dense::forward(&self.queries.dense, &block.dense), lexical, multi_vector }, winners)
    }

    fn score_backward(
        &self,
        block: &Representations,
        owner: usize,
        d_scores: &Scores,
        d_queries: &mut Gradients,
        d_block: &mut Gradients,
    ) {
        let embeddings = (&self.queries.dense, &block.dense);
        dense::backward(embeddings, &d_scores.dense, (&mut d_queries.dense, &mut d_block.dense));
        if let (Some(queries), Some(own), Some(d), Some(dq), Some(dp)) =
            (&self.lexical_queries, &block.lexical, &d_scores.lexical, &mut d_queries.lexical, &mut d_block.lexical)
        {
            queries.backward(own, d, dq, dp);
        }
        if let (Some(q), Some(p), Some(d), Some(dq), Some(dp), Some(winners)) = (
            &self.queries.multi_vector,
            &block.multi_vector,
            &d_scores.multi_vector,
            &mut d_queries.multi_vector,
            &mut d_block.multi_vector,
            &self.winners[owner],
        ) {
            multi_vector::backward((q, p), winners, d, (dq, dp));
        }
    }
}
