//! What a step computes with.

use tercet_configs::{LossSection, OptimizerSection, PretrainSection, Purpose, Recipe, RingPrecision};
use tercet_sampler::SubBatchLimit;

use crate::model::M3Model;
use crate::scoring::Rounding;
use crate::step::pretraining::masks::Masks;

/// What is trained, and how.
#[derive(Clone, Copy)]
pub struct Trainee<'a> {
    /// The model. A step leaves its gradient in the flat buffer; an update changes the weights.
    pub model: &'a M3Model,
    /// Everything else that a step's numbers depend on, except the batch and the optimizer's state.
    pub settings: &'a StepSettings,
}

/// How a recipe's steps are computed.
#[derive(Debug, Clone)]
pub struct StepSettings {
    /// What is trained for.
    pub objective: Objective,
    /// How much goes through the encoder at a time.
    pub sub_batch: SubBatchLimit,
    /// The largest number of tokens whose graphs the first pass keeps.
    pub kept_graph_tokens: usize,
    /// The type in which ranks give each other passages.
    pub ring_precision: RingPrecision,
    /// Seeds dropout.
    pub seed: u64,
    /// How the weights are updated.
    pub optimizer: OptimizerSection,
    /// Steps of the whole run, which the learning rate depends on.
    pub num_steps: u64,
}

/// What a step computes between its batch and the sum of the gradient over ranks.
#[derive(Debug, Clone)]
pub enum Objective {
    /// Queries against the passages of all ranks, through cached gradients.
    Contrastive(LossSection),
    /// Single texts, of which something is hidden.
    Pretraining(PretrainSection, Masks),
}

impl Objective {
    /// What the recipe trains for; masks are drawn.
    pub fn of(recipe: &Recipe) -> Self {
        match Purpose::of(recipe.loss.preset) {
            Purpose::Pretraining { .. } => Self::Pretraining(recipe.pretrain.clone(), Masks::Drawn),
            Purpose::Retrieval => Self::Contrastive(recipe.loss.clone()),
        }
    }
}

impl StepSettings {
    /// What of scoring is rounded where `model` encodes.
    pub fn rounding(&self, model: &M3Model) -> Rounding {
        Rounding::of(model.parameters.compute_kind(), model.options().1, self.ring_precision)
    }

    /// As the recipe says.
    pub fn of(recipe: &Recipe) -> Self {
        Self {
            objective: Objective::of(recipe),
            sub_batch: SubBatchLimit { tokens: recipe.sub_batch_tokens, texts: recipe.sub_batch_texts },
            kept_graph_tokens: recipe.kept_graph_tokens.unwrap_or(0),
            ring_precision: recipe.ring_precision,
            seed: recipe.seed,
            optimizer: recipe.optimizer.clone(),
            num_steps: recipe.steps,
        }
    }
}
