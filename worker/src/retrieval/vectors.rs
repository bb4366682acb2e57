//! Representations in host memory, and how ranks share them.
//!
//! Ranks share texts in turn: text i of a list is rank i mod world size's ([`share`]), so that neighbours of similar
//! length go to different ranks.

use tch::{Device, Kind, Tensor};
pub use tercet_cluster::gather_ragged as gather;
use tercet_cluster::{Collective, gather_counts};

use crate::files::CommandError;
use crate::model::representation::Representations;

/// Token id → weight, ascending by token id.
pub type TokenWeights = Vec<(i64, f32)>;

/// The representations of N texts, fp32, on the CPU. A head that did not run has an empty list for every text.
#[derive(Debug)]
pub struct TextVectors {
    /// [N, d].
    pub dense: Tensor,
    /// Per text; only what weighs more than 0.
    pub lexical: Vec<TokenWeights>,
    /// Per text, [tokens, dm].
    pub multi_vector: Vec<Tensor>,
}

impl TextVectors {
    /// Copies of what a model made of texts.
    pub fn of(all: &Representations) -> Self {
        let num_texts = all.num_texts();
        let lexical = match &all.lexical {
            Some(lexical) => {
                let pairs = ids(&lexical.token_ids).into_iter().zip(floats(&lexical.weights)).collect::<TokenWeights>();
                let own = |w: &[usize]| pairs[w[0]..w[1]].iter().copied().filter(|pair| pair.1 != 0.0).collect();
                lexical.offsets.windows(2).map(own).collect()
            }
            None => vec![Vec::new(); num_texts],
        };
        let multi_vector = match &all.multi_vector {
            Some(multi_vector) => cut_rows(&to_host(&multi_vector.vectors), &multi_vector.offsets),
            None => (0..num_texts).map(|_| Tensor::zeros([0, 0], (Kind::Float, Device::Cpu))).collect(),
        };
        Self { dense: to_host(&all.dense), lexical, multi_vector }
    }

    /// The texts of all `parts`, of which there is at least one, one after another.
    pub fn concat(parts: Vec<Self>) -> Self {
        let dense = Tensor::cat(&parts.iter().map(|part| &part.dense).collect::<Vec<_>>(), 0);
        let (mut lexical, mut multi_vector) = (Vec::new(), Vec::new());
        for part in parts {
            lexical.extend(part.lexical);
            multi_vector.extend(part.multi_vector);
        }
        Self { dense, lexical, multi_vector }
    }

    /// N.
    pub fn num_texts(&self) -> usize {
        self.lexical.len()
    }

    /// Checks that every value is a number.
    ///
    /// # Errors
    /// [`CommandError::Usage`]: the model cannot be used.
    pub fn check_finite(&self) -> Result<(), CommandError> {
        let weights_are = self.lexical.iter().flatten().all(|(_, weight)| weight.is_finite());
        // A sum is infinite or no number as soon as one value is; the values are far from overflow.
        let vectors_are = std::iter::once(&self.dense)
            .chain(&self.multi_vector)
            .all(|vectors| vectors.sum(Kind::Double).double_value(&[]).is_finite());
        if weights_are && vectors_are {
            return Ok(());
        }
        let message = "the model gives representations that are not finite: its weights are broken, or its training \
                       has diverged; use an earlier checkpoint";
        Err(CommandError::Usage(message.into()))
    }

    /// The representations of all ranks' texts, dealt as [`share`] deals them, on every rank. Every rank calls it.
    ///
    /// # Errors
    /// As the collectives'.
    pub fn gather(&self, ranks: &dyn Collective) -> anyhow::Result<Self> {
        self.gather_runs(1, ranks)
    }

    /// As [`gather`](Self::gather), of texts that were dealt in runs of `len` instead of singly.
    ///
    /// # Errors
    /// As the collectives'.
    pub fn gather_runs(&self, len: usize, ranks: &dyn Collective) -> anyhow::Result<Self> {
        // What follows is in rank order: each rank's texts one after another.
        let num_texts = gather_counts(ranks, self.num_texts())?;
        let dense = gather(ranks, &floats(&self.dense))?.concat();
        let num_weights = gather(ranks, &lens(self.lexical.iter().map(Vec::len)))?.concat();
        let token_ids =
            gather(ranks, &self.lexical.iter().flatten().map(|pair| pair.0).collect::<Vec<i64>>())?.concat();
        let weights = gather(ranks, &self.lexical.iter().flatten().map(|pair| pair.1).collect::<Vec<f32>>())?.concat();
        let num_vectors = gather(ranks, &lens(self.multi_vector.iter().map(|v| v.size()[0] as usize)))?.concat();
        let vectors = gather(ranks, &self.multi_vector.iter().flat_map(floats).collect::<Vec<f32>>())?.concat();

        let total: usize = num_texts.iter().sum();
        let pairs: TokenWeights = token_ids.into_iter().zip(weights).collect();
        let lexical: Vec<&[(i64, f32)]> = offsets(&num_weights).windows(2).map(|w| &pairs[w[0]..w[1]]).collect();
        let total_vectors = num_vectors.iter().sum::<i64>();
        let width = vectors.len() as i64 / total_vectors.max(1);
        let flat = Tensor::from_slice(&vectors).view([total_vectors, width]);
        let multi_vector = cut_rows(&flat, &offsets(&num_vectors));

        // Where each text, in its own order, stands in rank order.
        let first = crate::model::representation::offsets(num_texts.iter().copied());
        let place = |i: usize| {
            let (run, world_size) = (i / len, num_texts.len());
            first[run % world_size] + run / world_size * len + i % len
        };
        let places: Vec<usize> = (0..total).map(place).collect();
        let index = Tensor::from_slice(&lens(places.iter().copied()));
        let dense = Tensor::from_slice(&dense).view([total as i64, self.dense.size()[1]]);
        Ok(Self {
            dense: dense.index_select(0, &index),
            lexical: places.iter().map(|&place| lexical[place].to_vec()).collect(),
            multi_vector: places.iter().map(|&place| multi_vector[place].shallow_clone()).collect(),
        })
    }
}

/// The same as an index has them. Token ids come from a tokenizer, which has no larger ones.
pub fn token_weights(weights: &TokenWeights) -> tercet_retrieval::TokenWeights {
    weights.iter().map(|&(token, weight)| (token as u32, weight)).collect()
}

/// This rank's part of `items`: every world-size-th, from its own number on.
pub fn share<'a, T>(items: &'a [T], ranks: &dyn Collective) -> impl Iterator<Item = &'a T> + use<'a, T> {
    items.iter().skip(ranks.rank()).step_by(ranks.world_size())
}

/// The elements of a tensor, in row-major order.
pub fn floats(tensor: &Tensor) -> Vec<f32> {
    let host = to_host(tensor).contiguous();
    let mut values = vec![0f32; host.numel()];
    host.copy_data(&mut values, host.numel());
    values
}

fn to_host(tensor: &Tensor) -> Tensor {
    tensor.to_device(Device::Cpu).to_kind(Kind::Float)
}

fn ids(tensor: &Tensor) -> Vec<i64> {
    let host = tensor.to_device(Device::Cpu).contiguous();
    let mut values = vec![0i64; host.numel()];
    host.copy_data(&mut values, host.numel());
    values
}

/// Views of consecutive rows of `flat`.
fn cut_rows(flat: &Tensor, offsets: &[usize]) -> Vec<Tensor> {
    offsets.windows(2).map(|w| flat.narrow(0, w[0] as i64, (w[1] - w[0]) as i64)).collect()
}

fn lens(lens: impl Iterator<Item = usize>) -> Vec<i64> {
    lens.map(|len| len as i64).collect()
}

fn offsets(lens: &[i64]) -> Vec<usize> {
    crate::model::representation::offsets(lens.iter().map(|&len| len as usize))
}
