//! Passage blocks on their way round the ring of ranks.
//!
//! In W − 1 hops every rank sees every other's passages, holding one foreign block at a time. On the way back for
//! gradients a block carries its accumulator and makes W hops, so that it ends where it began.

use tch::Tensor;
use tercet_cluster::{Collective, CollectiveError, gather_counts};

use crate::exchange::ring_pass;
use crate::representation::{Gradients, Lexical, MultiVector, Representations};

/// How large every rank's block is: what a receiver must know before it can receive.
pub struct BlockSizes {
    /// Texts, lexical pairs and vectors of each rank's block.
    sizes: Vec<[i64; 3]>,
}

impl BlockSizes {
    /// Learns all ranks' block sizes. Every rank calls it with its own block.
    ///
    /// # Errors
    /// A collective that failed.
    pub fn gather(ranks: &dyn Collective, own: &Representations) -> Result<Self, CollectiveError> {
        let counts = [
            own.num_texts(),
            own.lexical.as_ref().map_or(0, |l| l.weights.size()[0] as usize),
            own.multi_vector.as_ref().map_or(0, |m| m.vectors.size()[0] as usize),
        ];
        let columns: Vec<Vec<usize>> = counts.iter().map(|&n| gather_counts(ranks, n)).collect::<Result<_, _>>()?;
        let sizes = (0..ranks.world_size()).map(|r| [0, 1, 2].map(|c: usize| columns[c][r] as i64)).collect();
        Ok(Self { sizes })
    }

    /// Texts of every rank's block.
    pub fn num_texts(&self) -> Vec<usize> {
        self.sizes.iter().map(|s| s[0] as usize).collect()
    }

    /// Passes a block on and returns the previous rank's, which is `owner`'s. Every rank calls it.
    ///
    /// # Errors
    /// A collective that failed.
    pub fn pass_block(
        &self,
        ranks: &dyn Collective,
        block: &Representations,
        owner: usize,
    ) -> Result<Representations, CollectiveError> {
        let [texts, pairs, vectors] = self.sizes[owner];
        let pass_offsets = |offsets: &[usize]| -> Result<Vec<usize>, CollectiveError> {
            let offsets = Tensor::from_slice(&offsets.iter().map(|&o| o as i64).collect::<Vec<_>>());
            let received = ring_pass(ranks, &offsets, &[texts + 1])?;
            Ok(Vec::<i64>::try_from(received).expect("one-dimensional int64").iter().map(|&o| o as usize).collect())
        };
        let lexical = block.lexical.as_ref().map(|own| {
            Ok(Lexical {
                token_ids: ring_pass(ranks, &own.token_ids, &[pairs])?,
                weights: ring_pass(ranks, &own.weights, &[pairs])?,
                offsets: pass_offsets(&own.offsets)?,
            })
        });
        let multi_vector = block.multi_vector.as_ref().map(|own| {
            Ok(MultiVector {
                vectors: ring_pass(ranks, &own.vectors, &[vectors, own.vectors.size()[1]])?,
                offsets: pass_offsets(&own.offsets)?,
            })
        });
        let dense = ring_pass(ranks, &block.dense, &[texts, block.dense.size()[1]])?;
        Ok(Representations { dense, lexical: lexical.transpose()?, multi_vector: multi_vector.transpose()? })
    }

    /// Passes a block's gradients on and returns those of the previous rank's block, which is `owner`'s. Every rank
    /// calls it.
    ///
    /// # Errors
    /// A collective that failed.
    pub fn pass_gradients(
        &self,
        ranks: &dyn Collective,
        gradients: &Gradients,
        owner: usize,
    ) -> Result<Gradients, CollectiveError> {
        let [texts, pairs, vectors] = self.sizes[owner];
        let pass = |own: &Option<Tensor>, rows: i64| {
            own.as_ref()
                .map(|own| {
                    let mut shape = own.size();
                    shape[0] = rows;
                    ring_pass(ranks, own, &shape)
                })
                .transpose()
        };
        Ok(Gradients {
            dense: ring_pass(ranks, &gradients.dense, &[texts, gradients.dense.size()[1]])?,
            lexical: pass(&gradients.lexical, pairs)?,
            multi_vector: pass(&gradients.multi_vector, vectors)?,
        })
    }
}
