//! What stands on the encoder: the three heads of retrieval, or the parts of pre-training.

use tercet_configs::{EncoderConfig, Pooling, Purpose};

use super::heads::HeadWeights;
use super::parameters::Parameters;
use super::pretraining::Pretraining;

/// What stands on the encoder.
pub enum OnEncoder {
    /// The three heads, and how wide a multi-vector representation is.
    Heads { weights: HeadWeights, multi_vector_dim: usize },
    /// The head that predicts words, and RetroMAE's decoder where one is trained.
    Pretraining(Box<Pretraining>),
}

impl OnEncoder {
    /// What `parameters` have weights of.
    pub fn new(config: &EncoderConfig, parameters: &Parameters, pooling: Pooling, normalize: bool) -> Self {
        if parameters.contains("colbert_linear.weight") {
            let multi_vector_dim = parameters.leaf("colbert_linear.weight").size()[0] as usize;
            Self::Heads { weights: HeadWeights::new(parameters, pooling, normalize), multi_vector_dim }
        } else {
            Self::Pretraining(Box::new(Pretraining::new(config, parameters)))
        }
    }

    /// What the model is for.
    pub fn purpose(&self) -> Purpose {
        match self {
            Self::Heads { .. } => Purpose::Retrieval,
            Self::Pretraining(parts) => Purpose::Pretraining { decoder: parts.has_decoder() },
        }
    }

    /// The width of a multi-vector representation; 0 without that head.
    pub fn multi_vector_dim(&self) -> usize {
        match self {
            Self::Heads { multi_vector_dim, .. } => *multi_vector_dim,
            Self::Pretraining(_) => 0,
        }
    }

    /// The three heads.
    ///
    /// # Panics
    /// If the model is for pre-training.
    pub fn heads(&self) -> &HeadWeights {
        match self {
            Self::Heads { weights, .. } => weights,
            Self::Pretraining(_) => panic!("a model for pre-training has no heads"),
        }
    }

    /// What pre-training puts on the encoder.
    ///
    /// # Panics
    /// If the model is for retrieval.
    pub fn pretraining(&self) -> &Pretraining {
        match self {
            Self::Heads { .. } => panic!("a model for retrieval has no parts of pre-training"),
            Self::Pretraining(parts) => parts,
        }
    }
}
