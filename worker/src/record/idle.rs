//! Finds steps from which the model, or one of its heads, learns nothing, judged by what they did. Each cause is
//! reported once.

use tch::{Kind, Tensor};
use tercet_configs::Negatives;
use tercet_sampler::Share;

use crate::machine::card;
use crate::step::outcome::{Outcome, Told};

/// The number of consecutive steps that must show a cause that a single step may show by chance.
const IN_A_ROW: u64 = 3;

/// Scores of a query that differ by no more than this count as equal, because rounding alone may differ by more.
const SPREAD: f64 = 1e-6;

/// The signs of a step: those of one rank, or, once the ranks have taken the largest of each, those of all ranks.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Signs {
    /// The largest difference between two dense scores of one query.
    pub spread: f64,
    /// The largest lexical score.
    pub lexical: f64,
    /// The largest difference between two teacher scores of one group.
    pub teacher: f64,
    /// The number of contrasted pairs of query and passage in the global batch, before known answers are left out.
    pub num_negatives: u64,
}

impl Default for Signs {
    /// Signs that show nothing wrong.
    fn default() -> Self {
        Self { spread: 1.0, lexical: 1.0, teacher: 1.0, num_negatives: 0 }
    }
}

impl Signs {
    /// The numbers of this rank's part of a step; `with_teacher` if its teacher scores are used.
    pub fn of(share: &Share, outcome: &Outcome, with_teacher: bool) -> Self {
        let Told::Contrastive(contrasted) = &outcome.told else {
            // Single texts are contrasted with nothing, and there is one thing to learn from each all the same.
            return Self { num_negatives: 1, ..Self::default() };
        };
        let (queries, group) = (share.num_global_queries as u64, share.group_size as u64);
        let per_query = match share.negatives {
            Negatives::Own => group.saturating_sub(1),
            Negatives::All | Negatives::InBatch => (queries * group).saturating_sub(1),
        };
        let scores = &contrasted.scores;
        let [spread, lexical] = numbers([Some(spread(&scores.dense)), scores.lexical.as_ref().map(largest)]);
        let teacher = share.teacher_scores.as_ref().filter(|_| with_teacher && share.group_size > 1);
        let teacher = teacher.map_or(1.0, |scores| largest_spread(scores, share.group_size));
        Self { spread, lexical, teacher, num_negatives: queries * per_query }
    }

    /// The three signs of which the ranks take the largest.
    pub fn largest(&self) -> [f64; 3] {
        [self.spread, self.lexical, self.teacher]
    }
}

/// The largest difference within a row of `scores` [rows, columns], on their device.
fn spread(scores: &Tensor) -> Tensor {
    match scores.numel() {
        0 => scores.sum(scores.kind()),
        _ => (scores.amax([1], false) - scores.amin([1], false)).max(),
    }
}

fn largest(scores: &Tensor) -> Tensor {
    if scores.numel() == 0 { scores.sum(scores.kind()) } else { scores.max() }
}

/// The values of single elements on one device, in one transfer; 1 for a missing one and for one that is not finite,
/// which is reported elsewhere.
fn numbers<const N: usize>(values: [Option<Tensor>; N]) -> [f64; N] {
    let there: Vec<Tensor> = values.iter().flatten().map(|value| value.to_kind(Kind::Double)).collect();
    let found = card::numbers(&Tensor::stack(&there, 0));
    let mut found = found.into_iter().map(|value| if value.is_finite() { value } else { 1.0 });
    values.map(|value| value.and_then(|_| found.next()).unwrap_or(1.0))
}

/// The largest difference between two scores of one group; the groups lie one after another in `scores`.
fn largest_spread(scores: &[f32], group_size: usize) -> f64 {
    let spread = |group: &[f32]| {
        let (least, most) = group.iter().fold((f32::MAX, f32::MIN), |(least, most), &x| (least.min(x), most.max(x)));
        f64::from(most) - f64::from(least)
    };
    scores.chunks_exact(group_size).map(spread).fold(0.0, f64::max)
}

/// Why nothing is learnt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Cause {
    NoRate,
    NoNegatives,
    AllKnown,
    NoGradient,
    AllAlike,
    Lexical,
    Teacher,
}

const CAUSES: [Cause; 7] = [
    Cause::NoRate,
    Cause::NoNegatives,
    Cause::AllKnown,
    Cause::NoGradient,
    Cause::AllAlike,
    Cause::Lexical,
    Cause::Teacher,
];

/// The facts of a step that matter here.
#[derive(Debug, Clone, Copy)]
pub struct Step<'a> {
    /// From 1.
    pub step: u64,
    pub dataset: &'a str,
    pub loss: f64,
    pub grad_norm: f64,
    pub learning_rate: f64,
    pub false_negatives: u64,
    pub signs: Signs,
}

impl Step<'_> {
    fn shows(&self, cause: Cause) -> bool {
        let Self { grad_norm, learning_rate, false_negatives, signs, .. } = *self;
        let no_gradient = grad_norm == 0.0;
        let (none, all_known) = (signs.num_negatives == 0, signs.num_negatives == false_negatives);
        match cause {
            Cause::NoRate => learning_rate == 0.0,
            Cause::NoNegatives => no_gradient && none,
            Cause::AllKnown => no_gradient && !none && all_known,
            Cause::NoGradient => no_gradient && !none && !all_known,
            Cause::AllAlike => !no_gradient && !none && signs.spread <= SPREAD,
            Cause::Lexical => !no_gradient && signs.lexical <= 0.0,
            Cause::Teacher => !no_gradient && signs.teacher == 0.0,
        }
    }
}

/// The occurrences of each cause so far.
#[derive(Debug, Default)]
pub struct Idle {
    num_steps: u64,
    num_without_gradient: u64,
    in_a_row: [u64; CAUSES.len()],
    told: [bool; CAUSES.len()],
}

impl Idle {
    /// Takes the next step, and returns what should be reported. `is_last` tells that no step follows.
    pub fn take(&mut self, step: &Step<'_>, is_last: bool) -> Vec<String> {
        if !(step.loss.is_finite() && step.grad_norm.is_finite()) {
            return Vec::new();
        }
        self.num_steps += 1;
        self.num_without_gradient += u64::from(step.grad_norm == 0.0);
        let mut words = Vec::new();
        for (i, cause) in CAUSES.into_iter().enumerate() {
            self.in_a_row[i] = if step.shows(cause) { self.in_a_row[i] + 1 } else { 0 };
            let by_chance = matches!(cause, Cause::AllAlike | Cause::Lexical | Cause::Teacher);
            let all_so_far = is_last && self.in_a_row[i] == self.num_steps;
            let is_sure =
                self.in_a_row[i] >= if by_chance { IN_A_ROW } else { 1 } || (all_so_far && self.in_a_row[i] > 0);
            if is_sure && !self.told[i] {
                self.told[i] = true;
                words.push(words_for(cause, step));
            }
        }
        if is_last && self.num_without_gradient > 1 {
            let (none, all) = (self.num_without_gradient, self.num_steps);
            words.push(format!("in {none} of {all} steps the gradient was 0: nothing was learnt from them"));
        }
        words
    }
}

fn words_for(cause: Cause, step: &Step<'_>) -> String {
    let Step { step: number, dataset, loss, signs, .. } = step;
    let at = format!("step {number} (data set {dataset})");
    match cause {
        Cause::NoRate => {
            format!("{at}: the learning rate is 0, so the step changes no weight: set optimizer.learning_rate")
        }
        Cause::NoNegatives => {
            format!(
                "{at}: the batch has no negatives, so the loss is 0 and nothing is learnt: raise its global_batch or group_size"
            )
        }
        Cause::AllKnown => format!(
            "{at}: each of the batch's {} negatives is a known answer of its query and is left out, so the loss is 0 \
             and nothing is learnt: its rows have the same query or the same positive, or the tokenizer knows none of \
             their words; give them negatives, mix them with other rows, or set loss.mask_false_negatives=false",
            signs.num_negatives
        ),
        Cause::NoGradient => format!(
            "{at}: the gradient is 0 at a loss of {loss}, so nothing is learnt: positives already score so far above the \
             negatives that nothing is left to do, or the weights give nothing to learn from"
        ),
        Cause::AllAlike => format!(
            "{at}: all passages score alike for each query, so what is learnt is rounding: the passages are all one \
             text, or the model makes the same vector of all texts"
        ),
        Cause::Lexical => format!(
            "{at}: every lexical score is 0, so the lexical head learns nothing: its weights are all 0 after ReLU (a dead head), \
             or no query has a token in common with a passage"
        ),
        Cause::Teacher => format!(
            "{at}: the teacher's scores are the same for all passages of each query, so the teacher says nothing: look at \
             pos_scores and neg_scores, or set loss.teacher=none"
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn step(grad_norm: f64, num_negatives: u64, false_negatives: u64) -> Step<'static> {
        let signs = Signs { num_negatives, ..Signs::default() };
        Step { step: 1, dataset: "d", loss: 0.0, grad_norm, learning_rate: 0.1, false_negatives, signs }
    }

    #[test]
    fn each_cause_is_told_once_and_named() {
        for (idle, words) in [
            (step(0.0, 12, 12), "each of the batch's 12 negatives is a known answer"),
            (step(0.0, 0, 0), "the batch has no negatives"),
            (step(0.0, 12, 3), "the gradient is 0 at a loss"),
            (Step { learning_rate: 0.0, ..step(1.0, 12, 0) }, "the learning rate is 0"),
        ] {
            let mut seen = Idle::default();
            let told = seen.take(&idle, false);
            assert!(told.len() == 1 && told[0].contains(words), "{told:?}");
            assert!(seen.take(&idle, false).is_empty(), "once");
        }
    }

    #[test]
    fn what_may_be_chance_is_told_after_a_few_steps_or_all_of_them() {
        let with = |signs: Signs| Step { signs: Signs { num_negatives: 12, ..signs }, ..step(0.5, 12, 0) };
        let good = step(0.5, 12, 0);
        for (idle, words) in [
            (with(Signs { spread: 1e-8, ..Signs::default() }), "score alike"),
            (with(Signs { lexical: 0.0, ..Signs::default() }), "lexical head learns nothing"),
            (with(Signs { teacher: 0.0, ..Signs::default() }), "teacher says nothing"),
        ] {
            let mut seen = Idle::default();
            assert!(seen.take(&idle, false).is_empty() && seen.take(&idle, false).is_empty());
            assert!(seen.take(&good, false).is_empty());
            assert!(seen.take(&idle, false).is_empty() && seen.take(&idle, false).is_empty());
            assert!(seen.take(&idle, false)[0].contains(words));
            assert!(Idle::default().take(&idle, true)[0].contains(words), "a short run");
        }
        assert!(Idle::default().take(&good, true).is_empty());
    }

    #[test]
    fn the_end_counts_what_taught_nothing_and_no_numbers_count_nothing() {
        let mut seen = Idle::default();
        seen.take(&step(0.0, 12, 12), false);
        seen.take(&step(1.0, 12, 0), false);
        assert!(seen.take(&step(f64::NAN, 12, 12), false).is_empty());
        assert_eq!(
            seen.take(&step(0.0, 12, 12), true),
            ["in 2 of 3 steps the gradient was 0: nothing was learnt from them"]
        );
    }

    #[test]
    fn a_spread_is_the_largest_within_a_row() {
        let scores = Tensor::from_slice(&[1.0f32, 1.0, 5.0, 5.5]).view([2, 2]);
        let none = Tensor::zeros([0, 2], (Kind::Float, tch::Device::Cpu));
        let found = numbers([Some(spread(&scores)), None, Some(spread(&none)), Some(Tensor::from(f64::NAN))]);
        assert_eq!(found, [0.5, 1.0, 0.0, 1.0]);
        assert_eq!(largest_spread(&[1.0, 1.0, 5.0, 5.5], 2), 0.5);
        assert_eq!(largest_spread(&[], 2), 0.0);
    }
}
