//! The weights of the losses and of the hybrid score act as docs/know/loss.md says, in value and gradient.

#![allow(clippy::unwrap_used)]

use tch::{Device, Kind, Tensor};
use tercet_configs::{LossPreset, LossSection, Negatives};
use tercet_worker::scoring::Scores;
use tercet_worker::step::contrastive::known_answers::FalseNegatives;
use tercet_worker::step::contrastive::loss::{Loss, loss};
use tercet_worker::step::contrastive::targets::Targets;

/// Queries, and passages for each of them.
const Q: i64 = 3;
const G: i64 = 2;

fn targets() -> Targets {
    let group = Tensor::arange(Q * G, (Kind::Int64, Device::Cpu)).view([Q, G]);
    Targets {
        positive: group.select(1, 0),
        group,
        false_negatives: FalseNegatives::default(),
        teacher: None,
        negatives: Negatives::All,
        num_global_queries: Q as usize,
    }
}

fn scores() -> Scores {
    let _turn = crate::generator();
    tch::manual_seed(5);
    let random = || Tensor::randn([Q, Q * G], (Kind::Double, Device::Cpu));
    Scores { dense: random(), lexical: Some(random()), multi_vector: Some(random()) }
}

fn section(preset: LossPreset, head_weights: [f64; 3], hybrid_weights: [f64; 3]) -> LossSection {
    let (head_weights, hybrid_weights) = (Some(head_weights), Some(hybrid_weights));
    LossSection { preset, head_weights, hybrid_weights, temperature: 0.5, ..LossSection::default() }
}

fn close(found: f64, expected: f64) {
    assert!((found - expected).abs() < 1e-12 * expected.abs().max(1.0), "{found} for {expected}");
}

fn tensors(scores: &Scores) -> [&Tensor; 3] {
    [&scores.dense, scores.lexical.as_ref().unwrap(), scores.multi_vector.as_ref().unwrap()]
}

/// InfoNCE of given scores: what the dense head alone has of them.
fn info_nce(scores: &Tensor) -> f64 {
    let alone = Scores { dense: scores.shallow_clone(), lexical: None, multi_vector: None };
    let section = LossSection { preset: LossPreset::Dense, temperature: 0.5, ..LossSection::default() };
    loss(&section, &alone, &targets(), false).total
}

#[test]
fn weights_that_are_written_out_are_the_presets_to_the_bit() {
    let scores = scores();
    for preset in [LossPreset::Unified, LossPreset::PaperV1, LossPreset::Independent] {
        let table = preset.table().unwrap();
        let left_out = LossSection { preset, temperature: 0.5, ..LossSection::default() };
        let [a, b] = [left_out, section(preset, table.head_weights, table.hybrid_weights)]
            .map(|section| loss(&section, &scores, &targets(), true));
        assert_eq!((a.total, a.terms), (b.total, b.terms), "{preset:?}");
        assert!(tensors(&a.d_scores).into_iter().zip(tensors(&b.d_scores)).all(|(a, b)| a == b), "{preset:?}");
    }
}

#[test]
fn other_weights_weigh_terms_and_scores() {
    let scores = scores();
    let (heads, hybrid) = ([2.0, 0.5, 0.0], [0.5, 2.0, 1.5]);
    for (preset, has_hybrid, hard_divisor, sum_divisor) in
        [(LossPreset::Unified, 1.0, 4.0, 2.0), (LossPreset::PaperV1, 0.0, 1.0, 1.0)]
    {
        let Loss { total, terms, .. } = loss(&section(preset, heads, hybrid), &scores, &targets(), true);
        let [dense, lexical, multi_vector] = tensors(&scores);
        let mixed = dense * hybrid[0] + lexical * hybrid[1] + multi_vector * hybrid[2];
        let value = |term: Option<f64>| term.unwrap_or(0.0);
        for (term, scores) in [(terms.dense, dense), (terms.lexical, lexical), (terms.multi_vector, multi_vector)] {
            close(value(term), info_nce(scores));
        }
        close(value(terms.hybrid), has_hybrid * info_nce(&mixed));
        let hard =
            heads[0] * value(terms.dense) + heads[1] * value(terms.lexical) + heads[2] * value(terms.multi_vector);
        let hard = (hard + has_hybrid * value(terms.hybrid)) / hard_divisor;
        let soft = heads[0] * value(terms.distill_dense)
            + heads[1] * value(terms.distill_lexical)
            + heads[2] * value(terms.distill_multi_vector);
        close(total, (hard + soft / 3.0) / sum_divisor);
    }
}

#[test]
fn the_gradient_is_that_of_the_weighted_loss() {
    const STEP: f64 = 1e-6;
    let scores = scores();
    // Without distillation: its teacher depends on the scores, and has no gradient.
    let section = section(LossPreset::Unified, [2.0, 0.5, 1.5], [0.5, 2.0, 0.0]);
    let of = |scores: &Scores| loss(&section, scores, &targets(), false);
    let gradient = of(&scores).d_scores;
    for head in 0..3 {
        for at in 0..Q * Q * G {
            let moved = |by: f64| {
                let moved = scores.as_ref().map(Tensor::copy);
                let _ = tensors(&moved)[head].view([-1]).narrow(0, at, 1).g_add_scalar_(by);
                of(&moved).total
            };
            let difference = (moved(STEP) - moved(-STEP)) / (2.0 * STEP);
            let found = tensors(&gradient)[head].view([-1]).double_value(&[at]);
            assert!((found - difference).abs() < 1e-8, "head {head}, score {at}: {found} for {difference}");
        }
    }
}

#[test]
fn a_head_without_any_weight_has_no_gradient() {
    let section = section(LossPreset::Unified, [1.0, 0.0, 1.0], [1.0, 0.0, 1.0]);
    let gradient = loss(&section, &scores(), &targets(), true).d_scores;
    let [dense, lexical, multi_vector] = tensors(&gradient).map(|d| d.abs().max().double_value(&[]));
    assert!(dense > 0.0 && lexical == 0.0 && multi_vector > 0.0);
}
