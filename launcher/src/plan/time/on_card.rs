//! A rank's step on a card: phases as sums of operations.

use tercet_configs::Purpose;

use super::computed::Computed;
use super::layers::Layers;
use super::scoring::Scoring;
use super::speed::Speed;
use super::spent::Spent;
use super::step::StepWork;
use super::update::update;
use super::words;
use crate::plan::work::Encoded;

impl Speed {
    /// What a rank computes in a step.
    pub fn computed(&self, work: &StepWork) -> Computed {
        let load = work.load;
        let [forward, backward] = self.passes(work, &load.encoded, load.num_sub_batches);
        let again = load.encoded.less(&load.kept);
        let [recompute, _] = self.passes(work, &again, load.num_sub_batches - load.num_kept_sub_batches);
        let [_, last_backward] = self.passes(work, &load.last, 1.0);
        let scores = match work.shape.purpose {
            Purpose::Retrieval => self.scores(work),
            Purpose::Pretraining { .. } => [Spent::default(); 2],
        };
        let update = update(self, work.shape, work.world_size, work.shards_state);
        let all = [forward, recompute, backward, scores[0], scores[1], update].map(|of| of.by_kind(self.launch_secs));
        let [forward, recompute, backward, there, back, update] = all.map(|of| of.total());
        Computed {
            forward,
            recompute,
            backward,
            scores: [there, back],
            last_backward: last_backward.by_kind(self.launch_secs).total(),
            update,
            update_gathers: false,
            by_kind: all.into_iter().reduce(|sum, of| sum + of),
        }
    }

    fn passes(&self, work: &StepWork, texts: &Encoded, num_sub_batches: f64) -> [Spent; 2] {
        let layers = Layers { speed: self, shape: work.shape };
        let encoder = layers.passes(texts, num_sub_batches);
        match work.shape.purpose {
            Purpose::Retrieval => encoder,
            Purpose::Pretraining { .. } => {
                let words = words::passes(&layers, texts, num_sub_batches);
                [0, 1].map(|way| encoder[way] + words[way])
            }
        }
    }

    fn scores(&self, work: &StepWork) -> [Spent; 2] {
        let scoring = Scoring {
            speed: self,
            shape: work.shape,
            load: work.load,
            num_global_passages: work.num_global_passages,
            world_size: work.world_size,
            distils: work.distils,
        };
        scoring.passes()
    }
}

#[cfg(test)]
mod tests {
    use tercet_configs::LossPreset;
    use tercet_sampler::{ShareLens, SubBatchLimit};

    use super::*;
    use crate::plan::predicted::Predicted;
    use crate::plan::time::layers::tests::large;
    use crate::plan::time::speed::tests::round;
    use crate::plan::traffic::StepTraffic;
    use crate::plan::work::RankLoad;

    fn computed(preset: LossPreset, kept_graph_tokens: usize) -> Computed {
        let share = ShareLens { queries: vec![64; 40], passages: vec![512; 80], num_positives: 40 };
        let limit = SubBatchLimit { tokens: 16_384, texts: 0 };
        let load = RankLoad::new(&share, limit, kept_graph_tokens, |_| Predicted::default());
        let (shape, traffic) = (large(preset), StepTraffic::default());
        let speed = Speed { launch_secs: 4.5e-6, ..round() };
        speed.computed(&StepWork {
            shape: &shape,
            load: &load,
            num_global_passages: 80.0,
            traffic,
            world_size: 1,
            shards_state: false,
            distils: false,
        })
    }

    #[test]
    fn a_graph_that_is_kept_is_not_computed_again() {
        let [none, some, all] = [0, 20_000, 1_000_000].map(|kept| computed(LossPreset::Unified, kept));
        assert!((none.recompute - none.forward).abs() < 1e-9 && all.recompute == 0.0, "{none:?}");
        // One of three sub-batches of 32 long texts.
        assert!(some.recompute < 0.7 * none.recompute && some.recompute > 0.5 * none.recompute, "{some:?}");
        assert_eq!((none.forward, none.backward, none.scores), (all.forward, all.backward, all.scores));
        let kinds = none.by_kind.unwrap().total();
        let phases = none.forward + none.recompute + none.backward + none.scores[0] + none.scores[1] + none.update;
        assert!((kinds - phases).abs() < 1e-12, "{none:?}");
        assert!(none.last_backward < none.backward);
    }

    #[test]
    fn pre_training_has_no_scores() {
        let computed = computed(LossPreset::Retromae, usize::MAX);
        assert_eq!((computed.scores, computed.recompute), ([0.0; 2], 0.0));
    }
}
