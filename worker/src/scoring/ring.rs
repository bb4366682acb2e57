//! Passage blocks on their way round the ring of ranks.
//!
//! In W − 1 hops every rank sees every other rank's passages. While it scores one block the next one arrives, so it
//! holds at most two foreign blocks. A block is one message that holds only numbers, because the ranks exchange the
//! lengths of all texts first. On the gradients' trip every rank adds its part to a block's gradients and passes the
//! sum on; after W hops the sum is home. Messages may be in another type than what is computed with.

use tch::{Kind, Tensor};
use tercet_cluster::{Collective, CollectiveError, gather_counts};

use crate::model::representation::{Gradients, Lexical, MultiVector, Representations, offsets};
use crate::tensors::exchange::Passing;

/// The shapes of all ranks' blocks, and the layout of blocks and their gradients in messages.
pub struct Blocks<'a> {
    ranks: &'a dyn Collective,
    own: &'a Representations,
    /// In the order of the owners.
    shapes: Vec<Shape>,
    /// The type of the numbers in messages.
    travels: Kind,
}

/// The shape of one rank's block. Offsets are as in [`Representations`]; a head that does not run has those of no text.
struct Shape {
    num_texts: usize,
    lexical_offsets: Vec<usize>,
    vector_offsets: Vec<usize>,
}

impl Shape {
    fn num_pairs(&self) -> i64 {
        self.lexical_offsets[self.lexical_offsets.len() - 1] as i64
    }

    fn num_vectors(&self) -> i64 {
        self.vector_offsets[self.vector_offsets.len() - 1] as i64
    }
}

/// A block that is being scored.
pub enum Block<'a> {
    /// This rank's own.
    Own(&'a Representations),
    /// Another rank's: its message, and views into it, or into a copy in the type that is computed with.
    Foreign(Tensor, Representations),
}

impl Block<'_> {
    /// The passages.
    pub fn passages(&self) -> &Representations {
        match self {
            Self::Own(passages) => passages,
            Self::Foreign(_, passages) => passages,
        }
    }
}

/// A block's gradients: views of one flat tensor, which is their message.
pub struct BlockGradients {
    flat: Tensor,
    /// The gradients of each head.
    pub parts: Gradients,
}

impl<'a> Blocks<'a> {
    /// Gathers the shapes of all blocks, which travel in the type `travels`. Every rank calls it with its own block.
    ///
    /// # Errors
    /// A collective that failed.
    pub fn gather(ranks: &'a dyn Collective, own: &'a Representations, travels: Kind) -> Result<Self, CollectiveError> {
        let num_texts = gather_counts(ranks, own.num_texts())?;
        let lexical = own.lexical.as_ref().map(|lexical| gather_lengths(ranks, &lexical.offsets, &num_texts));
        let vectors = own.multi_vector.as_ref().map(|vectors| gather_lengths(ranks, &vectors.offsets, &num_texts));
        let (lexical, vectors) = (lexical.transpose()?, vectors.transpose()?);
        let of = |owner: usize, all: &Option<Vec<Vec<usize>>>| all.as_ref().map_or(vec![0], |all| all[owner].clone());
        let shape = |(owner, num_texts)| Shape {
            num_texts,
            lexical_offsets: of(owner, &lexical),
            vector_offsets: of(owner, &vectors),
        };
        Ok(Self { ranks, own, shapes: num_texts.into_iter().enumerate().map(shape).collect(), travels })
    }

    /// The number of texts of every rank's block.
    pub fn num_texts(&self) -> impl Iterator<Item = usize> + '_ {
        self.shapes.iter().map(|shape| shape.num_texts)
    }

    /// This rank's own block, with which each trip begins.
    pub fn own(&self) -> Block<'a> {
        Block::Own(self.own)
    }

    /// Starts to pass `block` on and to receive that of `next_owner`. Every rank calls it.
    ///
    /// # Errors
    /// A collective that failed.
    pub fn pass(&self, block: &Block, next_owner: usize) -> Result<Passing<'a>, CollectiveError> {
        let message = match block {
            Block::Own(own) => packed(own, self.travels),
            Block::Foreign(message, _) => message.shallow_clone(),
        };
        let shape = &self.shapes[next_owner];
        let num_bytes = shape.num_pairs() * Kind::Int64.elt_size_in_bytes() as i64 + self.num_bytes(shape);
        Passing::start(self.ranks, &message, &[num_bytes])
    }

    /// The block of `owner`, which has arrived.
    ///
    /// # Errors
    /// A collective that failed.
    pub fn arrived(&self, passing: Passing, owner: usize) -> Result<Block<'a>, CollectiveError> {
        let message = passing.wait()?;
        let shape = &self.shapes[owner];
        let ids_bytes = shape.num_pairs() * Kind::Int64.elt_size_in_bytes() as i64;
        let token_ids = message.narrow(0, 0, ids_bytes).view_dtype(Kind::Int64);
        let floats = message.narrow(0, ids_bytes, message.size()[0] - ids_bytes).view_dtype(self.travels);
        let floats = floats.to_kind(self.own.dense.kind());
        let parts = self.parts(&floats, shape);
        let offsets = shape.lexical_offsets.clone();
        let lexical = parts.lexical.map(|weights| Lexical { token_ids, host_ids: None, weights, offsets });
        let vectors = parts.multi_vector;
        let multi_vector = vectors.map(|vectors| MultiVector { vectors, offsets: shape.vector_offsets.clone() });
        Ok(Block::Foreign(message, Representations { dense: parts.dense, lexical, multi_vector }))
    }

    /// Zeros for `owner`'s block.
    pub fn zero_gradients(&self, owner: usize) -> BlockGradients {
        let shape = &self.shapes[owner];
        let flat = Tensor::zeros([self.num_floats(shape)], (self.own.dense.kind(), self.own.dense.device()));
        BlockGradients { parts: self.parts(&flat, shape), flat }
    }

    /// Starts to pass a block's gradients on and to receive those of `next_owner`'s block. Every rank calls it.
    ///
    /// # Errors
    /// A collective that failed.
    pub fn pass_gradients(
        &self,
        gradients: &BlockGradients,
        next_owner: usize,
    ) -> Result<Passing<'a>, CollectiveError> {
        // As bytes: not every backend knows every type.
        let message = gradients.flat.to_kind(self.travels).view_dtype(Kind::Uint8);
        Passing::start(self.ranks, &message, &[self.num_bytes(&self.shapes[next_owner])])
    }

    /// Adds the gradients that have arrived.
    ///
    /// # Errors
    /// A collective that failed.
    pub fn add_arrived(&self, passing: Passing, gradients: &mut BlockGradients) -> Result<(), CollectiveError> {
        let _ = gradients.flat.g_add_(&passing.wait()?.view_dtype(self.travels));
        Ok(())
    }

    fn num_floats(&self, shape: &Shape) -> i64 {
        shape.num_texts as i64 * self.own.dense.size()[1] + shape.num_pairs() + shape.num_vectors() * self.vector_dim()
    }

    /// What a block's numbers take in a message.
    fn num_bytes(&self, shape: &Shape) -> i64 {
        self.num_floats(shape) * self.travels.elt_size_in_bytes() as i64
    }

    fn vector_dim(&self) -> i64 {
        self.own.multi_vector.as_ref().map_or(0, |own| own.vectors.size()[1])
    }

    /// The heads' parts of a block's numbers, as views.
    fn parts(&self, floats: &Tensor, shape: &Shape) -> Gradients {
        let (texts, dim) = (shape.num_texts as i64, self.own.dense.size()[1]);
        let (pairs, vectors) = (shape.num_pairs(), shape.num_vectors());
        let parts = floats.split_with_sizes([texts * dim, pairs, vectors * self.vector_dim()], 0);
        Gradients {
            dense: parts[0].view([texts, dim]),
            lexical: self.own.lexical.as_ref().map(|_| parts[1].shallow_clone()),
            multi_vector: self.own.multi_vector.as_ref().map(|_| parts[2].view([vectors, self.vector_dim()])),
        }
    }
}

/// Every rank's offsets, from the lengths of its texts' parts; `num_texts[r]` is rank r's number of texts. Every rank
/// calls it.
fn gather_lengths(
    ranks: &dyn Collective,
    own: &[usize],
    num_texts: &[usize],
) -> Result<Vec<Vec<usize>>, CollectiveError> {
    let lengths: Vec<i64> = own.windows(2).map(|bounds| (bounds[1] - bounds[0]) as i64).collect();
    let mut all = vec![0i64; num_texts.iter().sum()];
    ranks.all_gather(lengths[..].into(), all.as_mut_slice().into(), num_texts)?;
    let mut lengths = all.into_iter().map(|len| len as usize);
    Ok(num_texts.iter().map(|&num| offsets(lengths.by_ref().take(num))).collect())
}

/// The bytes of a block, its numbers in the type `travels`: token ids, dense vectors, lexical weights, multi-vectors.
/// The widest come first, so all are aligned.
fn packed(block: &Representations, travels: Kind) -> Tensor {
    let lexical = block.lexical.as_ref();
    let vectors = block.multi_vector.as_ref().map(|own| &own.vectors);
    let numbers = [Some(&block.dense), lexical.map(|own| &own.weights), vectors].into_iter().flatten();
    let token_ids = lexical.map(|own| own.token_ids.shallow_clone());
    let tensors = token_ids.into_iter().chain(numbers.map(|numbers| numbers.to_kind(travels)));
    let bytes = tensors.map(|tensor| tensor.contiguous().flatten(0, -1).view_dtype(Kind::Uint8));
    Tensor::cat(&bytes.collect::<Vec<_>>(), 0)
}
