//! Pre-training on single texts: RetroMAE (Xiao et al., 2022, arXiv 2205.12035), or its encoder's part alone.
//!
//! The loss is a mean over what all ranks' texts have to predict, so it depends neither on ranks nor on sub-batches.
//! Nothing couples texts: each goes once through encoder and decoder, forward and backward.

pub mod masks;

use tch::{Device, Kind, Tensor};
use tercet_cluster::{Collective, CollectiveError, ReduceOp};
use tercet_configs::PretrainSection;
use tercet_configs::limits::LABEL_COUNTS;
use tercet_sampler::Share;

use crate::machine::card;
use crate::machine::phase::{Phase, during};
use crate::model::pretraining::{PretrainingBatch, PretrainingTexts, Scales, Told};
use crate::model::{M3Model, Purpose};
use crate::step::ahead::made_ahead;
use crate::step::dropout_seed::dropout_seed;
use crate::step::inspect::Inspect;
use crate::step::outcome::{Outcome, Predicted, Predictions, Told as ToldOf};
use crate::step::pretraining::masks::Masks;
use crate::step::reduce::GradientReducer;
use crate::step::settings::Trainee;

/// Adds the gradient of this rank's texts to the flat buffer, and lets `sum` start on what is final. The outcome's loss
/// is this rank's share. Every rank calls it.
///
/// # Errors
/// A collective that failed.
pub fn compute(
    of: &Trainee,
    section: &PretrainSection,
    masks: &Masks,
    ranks: &dyn Collective,
    share: &Share,
    sum: &mut GradientReducer,
    see: &mut dyn Inspect,
) -> Result<Outcome, CollectiveError> {
    let model = of.model;
    let masker = masks.of(model, section, share);
    let with_decoder = model.purpose() == Purpose::Pretraining { decoder: true };
    let words = during(Phase::Input, || masker.words());
    let mut labels: [i64; LABEL_COUNTS] = [words.labels.iter().map(Vec::len).sum::<usize>() as i64, 0];
    if with_decoder {
        labels[1] = masker.num_decoder_labels() as i64;
    }
    ranks.all_reduce(labels.as_mut_slice().into(), ReduceOp::Sum)?;
    let [encoder, decoder] = labels.map(|count| 1.0 / count.max(1) as f64);
    let scales = Scales { encoder, decoder };

    let texts = PretrainingTexts::new(&share.texts, &words, of.settings.sub_batch, model.framing());
    let (early, num) = (!see.looks_at_gradients(), texts.sub_batches().len());
    let looks = section.gap_every > 0 && (share.step + 1).is_multiple_of(section.gap_every);
    let mut sums = Sums::new(model.options().1);
    let mut gap = (looks && with_decoder).then(Gap::default);
    let stage = |i| {
        let places = |text: usize| masker.places(text);
        texts.stage(i, with_decoder.then_some(&places as &dyn Fn(usize) -> _))
    };
    let mut pass = |i: usize, batch: PretrainingBatch| {
        let seed = dropout_seed(of.settings.seed, share.step, ranks.rank(), i);
        let mut ready = |first| {
            if early && i + 1 == num {
                during(Phase::Reduce, || sum.final_from(first));
            }
        };
        let told = model.pretrain(&batch, section.decoder_query, scales, seed, &mut ready);
        if let Some(gap) = &mut gap {
            during(Phase::Decoder, || gap.look(model, section, &batch, &told, seed, &mut sums));
        }
        sums.add(Side::Encoder, told.encoder.as_ref());
        sums.add(Side::Decoder, told.decoder.as_ref());
        see.gradient_of(&batch.texts);
    };
    let all: Vec<usize> = (0..num).collect();
    made_ahead(model.options().1, &all, stage, |next| {
        (0..num).for_each(|i| pass(i, during(Phase::Input, || PretrainingBatch::sent(next()))));
    });

    let sums = sums.read();
    let of_side = |side: Side, count: i64| {
        let [loss, correct] = sums[side as usize];
        let scale = 1.0 / count.max(1) as f64;
        Predictions { loss: loss * scale, num_labels: count, accuracy: correct * scale }
    };
    let encoder = of_side(Side::Encoder, labels[0]);
    let decoder = with_decoder.then(|| of_side(Side::Decoder, labels[1]));
    let looked_at = gap.map(|gap| [sums[Side::Own as usize][0], sums[Side::Other as usize][0], gap.num_labels as f64]);
    Ok(Outcome {
        loss: encoder.loss + decoder.map_or(0.0, |decoder| decoder.loss),
        told: ToldOf::Pretraining(Predicted { encoder, decoder, looked_at }),
        num_tokens: texts.sub_batches().num_tokens(),
        device: model.options().1,
    })
}

/// What is summed over a rank's texts.
#[derive(Clone, Copy)]
enum Side {
    Encoder,
    Decoder,
    /// The decoder with the texts' own vectors, where others' were tried.
    Own,
    /// The same with other texts' vectors.
    Other,
}

/// Sums of −log probability and of labels predicted first, on the device until the end: reading them waits for it.
struct Sums(Tensor);

impl Sums {
    fn new(device: Device) -> Self {
        Self(Tensor::zeros([4, 2], (Kind::Double, device)))
    }

    fn add(&mut self, side: Side, sums: Option<&Tensor>) {
        if let Some(sums) = sums {
            let _ = self.0.get(side as i64).g_add_(sums);
        }
    }

    fn read(self) -> [[f64; 2]; 4] {
        let all = card::numbers(&self.0.flatten(0, -1));
        std::array::from_fn(|side| [all[2 * side], all[2 * side + 1]])
    }
}

/// The check of what the sentence vector carries: the decoder's loss with another text's vector.
///
/// A text takes the vector of the text before it in its sub-batch, and the first text that of the last. The only text
/// of a sub-batch takes that of the last text of the sub-batch before.
#[derive(Default)]
struct Gap {
    /// The last text's vector so far, [1, d].
    before: Option<Tensor>,
    /// The number of labels of the texts that were tried.
    num_labels: i64,
}

impl Gap {
    fn look(
        &mut self,
        model: &M3Model,
        section: &PretrainSection,
        batch: &PretrainingBatch,
        told: &Told,
        seed: Option<u64>,
        sums: &mut Sums,
    ) {
        let num_texts = told.cls.size()[0];
        let others = match (&self.before, num_texts) {
            (_, 2..) => Some(told.cls.roll([1i64], [0i64])),
            (before, _) => before.as_ref().map(Tensor::shallow_clone),
        };
        self.before = Some(told.cls.narrow(0, num_texts - 1, 1));
        let other = others.and_then(|others| model.decode(&others, batch, section.decoder_query, seed));
        if let (Some(other), Some(own), Some(rows)) = (other, &told.decoder, &batch.decoder) {
            sums.add(Side::Own, Some(own));
            sums.add(Side::Other, Some(&other));
            self.num_labels += rows.label.size()[0];
        }
    }
}
