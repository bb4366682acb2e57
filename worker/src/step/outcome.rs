//! The results of a step.

use std::collections::BTreeMap;

use tch::Device;
use tercet_cluster::{Collective, CollectiveError, ReduceOp, Traffic};
use tercet_configs::limits::PREDICTION_NUMBERS;

use crate::scoring::Scores;
use crate::step::contrastive::loss::Terms;

/// The results of computing a gradient.
#[derive(Debug)]
pub struct Outcome {
    /// The global batch's loss: the same on every rank, once it is summed.
    pub loss: f64,
    /// The results of its objective.
    pub told: Told,
    /// Real tokens that this rank encoded.
    pub num_tokens: usize,
    /// Where it was computed.
    pub device: Device,
}

/// The results of one of the objectives.
#[derive(Debug)]
pub enum Told {
    /// Those of contrastive learning.
    Contrastive(Contrasted),
    /// Those of pre-training.
    Pretraining(Predicted),
}

/// The results of contrastive learning.
#[derive(Debug)]
pub struct Contrasted {
    /// The loss's parts: the same on every rank, once they are summed.
    pub terms: Terms,
    /// This rank's scores, not yet divided by the temperature, [Q, P] each.
    pub scores: Scores,
    /// Pairs of this rank's queries and passages that were left out of the loss.
    pub num_false_negatives: usize,
}

/// The results of pre-training: the same on every rank, once they are summed.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Predicted {
    /// The encoder's masked words.
    pub encoder: Predictions,
    /// The decoder's words; none without a decoder.
    pub decoder: Option<Predictions>,
    /// The check of what the sentence vector carries, in a step that makes it: the decoder's −log probability, summed
    /// over labels, with the texts' own vectors; the same with other texts' vectors; and the number of these labels.
    pub looked_at: Option<[f64; 3]>,
}

/// How well all ranks' labels were predicted.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Predictions {
    /// The mean cross-entropy; 0 where nothing was to predict.
    pub loss: f64,
    /// The number of labels.
    pub num_labels: i64,
    /// The share of labels that were predicted first.
    pub accuracy: f64,
}

impl Predicted {
    /// The parts of the loss by name.
    pub fn terms(&self) -> BTreeMap<String, Option<f64>> {
        self.of_sides(|side| Some(side.loss))
    }

    /// The shares of labels that were predicted first, by name.
    pub fn accuracies(&self) -> BTreeMap<String, f64> {
        self.of_sides(|side| side.accuracy)
    }

    /// The numbers of labels, by name.
    pub fn counts(&self) -> BTreeMap<String, i64> {
        self.of_sides(|side| side.num_labels)
            .into_iter()
            .map(|(side, count)| (format!("{side}_labels"), count))
            .collect()
    }

    /// By how much the decoder's loss is larger with other texts' sentence vectors; none in a step that does not check
    /// it.
    pub fn decoder_gap(&self) -> Option<f64> {
        let [own, other, labels] = self.looked_at?;
        (labels > 0.0).then(|| (other - own) / labels)
    }

    fn of_sides<T>(&self, value: impl Fn(&Predictions) -> T) -> BTreeMap<String, T> {
        let sides = [("encoder", Some(&self.encoder)), ("decoder", self.decoder.as_ref())];
        sides.into_iter().filter_map(|(name, side)| Some((name.to_owned(), value(side?)))).collect()
    }

    /// What is summed over ranks: the same number of values in every step, with 0 for those that do not exist.
    fn shares(&self) -> [f64; PREDICTION_NUMBERS - 1] {
        let share = |side: Option<Predictions>| side.map_or([0.0; 2], |side| [side.loss, side.accuracy]);
        let ([a, b], [c, d], [e, f, g]) =
            (share(Some(self.encoder)), share(self.decoder), self.looked_at.unwrap_or_default());
        [a, b, c, d, e, f, g]
    }

    /// The same with the sums over ranks.
    fn with_sums(self, sums: [f64; PREDICTION_NUMBERS - 1]) -> Self {
        let [encoder_loss, encoder_accuracy, decoder_loss, decoder_accuracy, looked_at @ ..] = sums;
        Self {
            encoder: Predictions { loss: encoder_loss, accuracy: encoder_accuracy, ..self.encoder },
            decoder: self.decoder.map(|side| Predictions { loss: decoder_loss, accuracy: decoder_accuracy, ..side }),
            looked_at: self.looked_at.map(|_| looked_at),
        }
    }
}

impl Outcome {
    /// The results of contrastive learning.
    ///
    /// # Panics
    /// If the objective was another.
    pub fn contrasted(&self) -> &Contrasted {
        match &self.told {
            Told::Contrastive(contrasted) => contrasted,
            Told::Pretraining(_) => panic!("the objective was pre-training"),
        }
    }

    /// The parts of the loss by name.
    pub fn terms(&self) -> BTreeMap<String, Option<f64>> {
        match &self.told {
            Told::Contrastive(contrasted) => contrasted.terms.by_name(),
            Told::Pretraining(predicted) => predicted.terms(),
        }
    }

    /// Replaces the loss and its parts by the global ones, the sums of every rank's shares. Every rank calls it.
    ///
    /// # Errors
    /// A collective that failed.
    pub(super) fn summed(mut self, ranks: &dyn Collective) -> Result<Self, CollectiveError> {
        let mut sums = vec![self.loss];
        match &mut self.told {
            Told::Contrastive(contrasted) => {
                sums.extend(contrasted.terms.values().map(|part| part.unwrap_or(0.0)));
                ranks.all_reduce(sums.as_mut_slice().into(), ReduceOp::Sum)?;
                let parts = contrasted.terms.values();
                contrasted.terms = Terms::from_values(std::array::from_fn(|i| parts[i].map(|_| sums[1 + i])));
            }
            Told::Pretraining(predicted) => {
                sums.extend(predicted.shares());
                ranks.all_reduce(sums.as_mut_slice().into(), ReduceOp::Sum)?;
                *predicted = predicted.with_sums(std::array::from_fn(|i| sums[1 + i]));
            }
        }
        self.loss = sums[0];
        Ok(self)
    }
}

/// The results of a training step.
#[derive(Debug)]
pub struct Stepped {
    /// The results of the gradient's computation.
    pub outcome: Outcome,
    /// What this rank handed to collectives for it.
    pub traffic: Traffic,
    /// The gradient's norm before clipping.
    pub grad_norm: f64,
    /// The rate of the update.
    pub learning_rate: f64,
    /// Loss and gradient were finite on all ranks, so the weights were updated.
    pub is_updated: bool,
    /// Some rank asked for the run to stop.
    pub stops: bool,
}
