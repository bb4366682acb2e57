//! Score matrices of the three heads, local queries × all ranks' passages, and their gradients.
//!
//! Blocks of passages travel round a ring, and while a rank scores one block the next one arrives, so no rank ever
//! holds more than three ranks' passages. Gradients travel likewise: a rank holds those that it computes, those that
//! arrive to be added to them, and those that leave. The scores are not yet divided by the temperature.
//!
//! Legend: Q local queries, P all ranks' passages (in rank order), W ranks.

pub mod dense;
pub mod lexical;
pub mod multi_vector;
mod ring;

use tch::{Device, Kind, Tensor};
use tercet_cluster::{Collective, CollectiveError, block_owners, rank_before};
use tercet_configs::{PerHead, RingPrecision};

use crate::model::representation::{Gradients, Representations, offsets, zero_gradients};
use crate::tensors::exchange::Passing;
use ring::{Block, Blocks};

/// One matrix [Q, P] per head: scores, or gradients with respect to them.
pub type Scores = PerHead<Tensor>;

/// What of scoring is bfloat16.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rounding {
    /// What winners of multi-vectors are found by.
    pub finds: bool,
    /// Passages, and their gradients on the way from rank to rank.
    pub passages: bool,
}

impl Rounding {
    /// None of it.
    pub const NONE: Self = Self { finds: false, passages: false };

    /// Where an encoder computes in `compute` on `device`, and a recipe says `ring`.
    pub fn of(compute: Kind, device: Device, ring: RingPrecision) -> Self {
        Self { finds: compute == Kind::BFloat16 && device.is_cuda(), passages: ring == RingPrecision::Bf16 }
    }

    /// A rank's own passages as all ranks have them.
    pub fn of_passages(self, own: Representations) -> Representations {
        if self.passages { own.rounded(Kind::BFloat16) } else { own }
    }
}

/// The two ring trips of one step. Between them it keeps what the first leaves for the second.
pub struct RingScoring<'a> {
    ranks: &'a dyn Collective,
    queries: &'a Representations,
    blocks: Blocks<'a>,
    lexical_queries: Option<lexical::Queries>,
    multi_vector_queries: Option<multi_vector::Queries<'a>>,
    /// By the rank that owns the block.
    found: Vec<Found>,
}

/// What scoring a block saves for its gradients.
#[derive(Default)]
struct Found {
    tiles: Option<lexical::Tiles>,
    winners: Option<multi_vector::Winners>,
}

impl<'a> RingScoring<'a> {
    /// Prepares scoring of this rank's queries against all ranks' passages; its own are rounded already, if any are
    /// ([`Rounding::of_passages`]). Every rank calls it.
    ///
    /// # Errors
    /// A collective that failed.
    pub fn new(
        ranks: &'a dyn Collective,
        queries: &'a Representations,
        passages: &'a Representations,
        rounding: Rounding,
    ) -> Result<Self, CollectiveError> {
        let travels = if rounding.passages { Kind::BFloat16 } else { passages.dense.kind() };
        let multi_vector_queries = queries.multi_vector.as_ref();
        Ok(Self {
            ranks,
            queries,
            blocks: Blocks::gather(ranks, passages, travels)?,
            lexical_queries: queries.lexical.as_ref().map(lexical::Queries::new),
            multi_vector_queries: multi_vector_queries.map(|own| multi_vector::Queries::new(own, rounding.finds)),
            found: (0..ranks.world_size()).map(|_| Found::default()).collect(),
        })
    }

    /// The start of each rank's passages among all (W + 1 numbers).
    pub fn first_passage(&self) -> Vec<usize> {
        offsets(self.blocks.num_texts())
    }

    /// The score matrices, [Q, P] each. Every rank calls it.
    ///
    /// # Errors
    /// A collective that failed.
    pub fn forward(&mut self) -> Result<Scores, CollectiveError> {
        let (rank, world) = (self.ranks.rank(), self.ranks.world_size());
        let mut by_owner: Vec<Option<Scores>> = (0..world).map(|_| None).collect();
        let mut block = self.blocks.own();
        for owner in block_owners(rank, world) {
            let mut next = self.pass(&block, owner)?;
            let (scores, found) = self.score(block.passages(), &mut || poll(&mut next));
            by_owner[owner] = Some(scores);
            self.found[owner] = found;
            if let Some(next) = next {
                block = self.blocks.arrived(next, self.before(owner))?;
            }
        }
        let blocks: Vec<Scores> = by_owner.into_iter().flatten().collect();
        Ok(PerHead::of(self.queries.heads(), |head| {
            Tensor::cat(&blocks.iter().filter_map(|block| block.get(head)).collect::<Vec<_>>(), 1)
        }))
    }

    /// Gradients of this rank's queries and passages from `d_scores`, [Q, P] each. Every rank calls it, after
    /// [`RingScoring::forward`].
    ///
    /// # Errors
    /// A collective that failed.
    pub fn backward(self, d_scores: &Scores) -> Result<(Gradients, Gradients), CollectiveError> {
        let (rank, world) = (self.ranks.rank(), self.ranks.world_size());
        let first = self.first_passage();
        let mut d_queries = zero_gradients(self.queries);
        let mut block = self.blocks.own();
        let mut d_block = self.blocks.zero_gradients(rank);
        let mut arriving: Option<Passing> = None;
        for owner in block_owners(rank, world) {
            let mut next = self.pass(&block, owner)?;
            let (from, len) = (first[owner] as i64, (first[owner + 1] - first[owner]) as i64);
            let d = d_scores.as_ref().map(|d| d.narrow(1, from, len));
            self.score_backward(block.passages(), owner, &d, &mut d_queries, &mut d_block.parts, &mut || {
                poll(&mut arriving);
                poll(&mut next);
            });
            if let Some(arriving) = arriving.take() {
                self.blocks.add_arrived(arriving, &mut d_block)?;
            }
            if world > 1 {
                // After `world` hops a block's gradients are back at its owner; the block itself need not return.
                arriving = Some(self.blocks.pass_gradients(&d_block, self.before(owner))?);
                d_block = self.blocks.zero_gradients(self.before(owner));
            }
            if let Some(next) = next {
                block = self.blocks.arrived(next, self.before(owner))?;
            }
        }
        if let Some(home) = arriving {
            self.blocks.add_arrived(home, &mut d_block)?;
        }
        Ok((d_queries, d_block.parts))
    }

    /// The rank before `rank`, whose blocks follow `rank`'s.
    fn before(&self, rank: usize) -> usize {
        rank_before(rank, self.ranks.world_size())
    }

    /// Starts to exchange `owner`'s block for the next one, unless it is a trip's last.
    fn pass(&self, block: &Block, owner: usize) -> Result<Option<Passing<'a>>, CollectiveError> {
        let next = self.before(owner);
        (next != self.ranks.rank()).then(|| self.blocks.pass(block, next)).transpose()
    }

    /// Scores this rank's queries against one block; `between` is called after each head.
    fn score(&self, block: &Representations, between: &mut dyn FnMut()) -> (Scores, Found) {
        let dense = dense::forward(&self.queries.dense, &block.dense);
        between();
        let lexical = self.lexical_queries.as_ref().zip(block.lexical.as_ref());
        let (lexical, tiles) = lexical.map(|(q, p)| q.forward(p)).unzip();
        between();
        let multi_vector = self.multi_vector_queries.as_ref().zip(block.multi_vector.as_ref());
        let (multi_vector, winners) = multi_vector.map(|(q, p)| q.forward(p)).unzip();
        between();
        (Scores { dense, lexical, multi_vector }, Found { tiles, winners })
    }

    fn score_backward(
        &self,
        block: &Representations,
        owner: usize,
        d_scores: &Scores,
        d_queries: &mut Gradients,
        d_block: &mut Gradients,
        between: &mut dyn FnMut(),
    ) {
        let embeddings = (&self.queries.dense, &block.dense);
        dense::backward(embeddings, &d_scores.dense, (&mut d_queries.dense, &mut d_block.dense));
        between();
        if let (Some(queries), Some(own), Some(d), Some(dq), Some(dp), Some(tiles)) = (
            &self.lexical_queries,
            &block.lexical,
            &d_scores.lexical,
            &mut d_queries.lexical,
            &mut d_block.lexical,
            &self.found[owner].tiles,
        ) {
            queries.backward((own, tiles), d, (dq, dp));
        }
        between();
        if let (Some(queries), Some(own), Some(d), Some(dq), Some(dp), Some(winners)) = (
            &self.multi_vector_queries,
            &block.multi_vector,
            &d_scores.multi_vector,
            &mut d_queries.multi_vector,
            &mut d_block.multi_vector,
            &self.found[owner].winners,
        ) {
            queries.backward((own, winners), d, (dq, dp));
        }
        between();
    }
}

/// Advances the messages on their way, which MPI does only when it is called.
fn poll(passing: &mut Option<Passing>) {
    if let Some(passing) = passing {
        passing.poll();
    }
}
