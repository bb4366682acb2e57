//! The gradient does not depend on how a rank cuts its texts and which graphs it keeps, element by element; and it is
//! the derivative of the loss.
//!
//! One rank; several are tests/tests/ranks_agree.rs's part.

#![allow(clippy::unwrap_used)]

use std::path::Path;

use tch::{Device, Kind, Tensor};
use tercet_cluster::Solo;
use tercet_configs::{LossPreset, LossSection, Negatives, OptimizerSection, RingPrecision, Teacher};
use tercet_sampler::{Share, SpecialTokens, SubBatchLimit, TextIds, TextInput, text_id};
use tercet_worker::model::{M3Model, ModelOptions};
use tercet_worker::step::gradients;
use tercet_worker::step::inspect::Unseen;
use tercet_worker::step::settings::{Objective, StepSettings, Trainee};

/// Tokens per sub-batch, texts per sub-batch, tokens whose graphs are kept.
const CUTS: [(usize, usize, usize); 6] =
    [(10_000, 1, 0), (10_000, 1, 100), (10_000, 3, 0), (10_000, 3, 10_000), (64, 0, 100), (10_000, 0, 10_000)];

/// All texts at once, encoded twice.
const WHOLE: (usize, usize, usize) = (10_000, 0, 0);

/// The model's.
const SPECIAL: SpecialTokens = SpecialTokens { cls: 0, eos: 2, pad: 1, unk: 3, mask: None };

const NUM_QUERIES: usize = 6;
const GROUP_SIZE: usize = 3;

fn model(kind: Kind, dropout: f64) -> M3Model {
    model_computing_in(kind, kind, dropout)
}

fn model_computing_in(compute: Kind, kind: Kind, dropout: f64) -> M3Model {
    // Too small to share.
    tch::set_num_threads(1);
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/golden/nano_xlmr/hf");
    let options = ModelOptions { dropout: Some(dropout), ..Default::default() };
    let mut model = M3Model::load(&dir, &options, Device::Cpu, kind).unwrap();
    model.enable_gradients(compute);
    model
}

/// Ragged texts with repeated words, one of them without any; some queries are the same, and some passages are known
/// answers of queries that they are not the positive of: of their own, of the same query's and of another's.
fn batch(negatives: Negatives, two_way: bool) -> Share {
    // Not of libtorch's generator, which models of other tests seed meanwhile.
    let mut state = 11u64;
    let mut word = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        3 + (state >> 33) as i64 % 27
    };
    let mut texts: Vec<TextInput> = (0..NUM_QUERIES * (1 + GROUP_SIZE))
        .map(|i| {
            let words: Vec<i64> = (0..(i * 7) % 29).map(|_| word()).collect();
            TextInput::new([vec![0], words, vec![2]].concat(), &SPECIAL)
        })
        .collect();
    texts[10] = TextInput::new(vec![0, 2], &SPECIAL);
    for (text, same_as) in [(12, 13), (4, 2), (17, 9), (21, 15)] {
        texts[text] = texts[same_as].clone();
    }
    let ids: Vec<u64> =
        texts.iter().map(|text| text_id(&text.ids.iter().map(|&id| id as u32).collect::<Vec<_>>())).collect();
    let (queries, passages) = ids.split_at(NUM_QUERIES);
    let mut positives: Vec<Vec<u64>> = passages.iter().step_by(GROUP_SIZE).map(|&id| vec![id]).collect();
    positives[0].push(passages[5]);
    Share {
        step: 3,
        text_ids: TextIds { queries: queries.to_vec(), positives, passages: passages.to_vec() },
        texts,
        row_keys: Vec::new(),
        num_queries: NUM_QUERIES,
        group_size: GROUP_SIZE,
        num_global_queries: NUM_QUERIES,
        teacher_scores: Some((0..NUM_QUERIES * GROUP_SIZE).map(|i| (i % 4) as f32).collect()),
        negatives,
        two_way,
    }
}

/// No text is another.
fn distinct() -> TextIds {
    let passages: Vec<u64> = (0..(NUM_QUERIES * GROUP_SIZE) as u64).collect();
    let positives = passages.iter().step_by(GROUP_SIZE).map(|&id| vec![id]).collect();
    TextIds { queries: passages[..NUM_QUERIES].to_vec(), positives, passages }
}

/// What is trained with: a name, the loss, the batch.
fn objectives() -> Vec<(&'static str, LossSection, Share)> {
    let loss = |preset, teacher, distill| LossSection { preset, teacher, distill, ..Default::default() };
    let all = || batch(Negatives::All, false);
    vec![
        ("unified", loss(LossPreset::Unified, Teacher::None, true), all()),
        ("paper-v1", loss(LossPreset::PaperV1, Teacher::None, true), all()),
        ("independent", loss(LossPreset::Independent, Teacher::None, false), all()),
        ("dense", loss(LossPreset::Dense, Teacher::None, false), all()),
        ("two-way", loss(LossPreset::Unified, Teacher::None, true), batch(Negatives::All, true)),
        ("own negatives", loss(LossPreset::Unified, Teacher::None, false), batch(Negatives::Own, false)),
        ("kl_div", loss(LossPreset::Unified, Teacher::KlDiv, false), all()),
        ("m3_kd_loss", loss(LossPreset::Unified, Teacher::M3KdLoss, false), all()),
    ]
}

/// Loss and gradient.
fn step(model: &M3Model, loss: &LossSection, batch: &Share, cut: (usize, usize, usize)) -> (f64, Tensor) {
    let (tokens, texts, kept_graph_tokens) = cut;
    let settings = StepSettings {
        objective: Objective::Contrastive(loss.clone()),
        sub_batch: SubBatchLimit { tokens, texts },
        kept_graph_tokens,
        ring_precision: RingPrecision::Full,
        seed: 5,
        optimizer: OptimizerSection::default(),
        num_steps: 1,
    };
    let trainee = Trainee { model, settings: &settings };
    let outcome = gradients(&trainee, &Solo::new(), batch, &mut Unseen).unwrap();
    (outcome.loss, model.parameters.flat_grad().copy())
}

fn norm(t: &Tensor) -> f64 {
    t.norm().double_value(&[])
}

/// Loss, and each parameter's gradient relative to its own norm; where it is what is left of larger ones that cancel (a
/// key's bias has none at all), to a thousandth, and in float32 a hundredth, of the whole gradient's.
fn same_in(kind: Kind, tolerance: f64, small: f64) {
    let _turn = crate::generator();
    let model = model(kind, 0.0);
    for (name, loss, batch) in objectives() {
        let (expected_loss, expected) = step(&model, &loss, &batch, WHOLE);
        let unmasked = Share { text_ids: distinct(), ..batch.clone() };
        assert_ne!(step(&model, &loss, &unmasked, WHOLE).0, expected_loss, "{name}: nothing is masked");
        let total = norm(&expected);
        for cut in CUTS {
            let (found_loss, found) = step(&model, &loss, &batch, cut);
            let error = (found_loss - expected_loss).abs() / expected_loss;
            assert!(error <= tolerance, "{name}, {cut:?}: loss off by {error:e}");
            let pairs = model.parameters.named_views(&found).zip(model.parameters.named_views(&expected));
            for ((parameter, found), (_, expected)) in pairs {
                let error = norm(&(found - &expected)) / norm(&expected).max(small * total);
                assert!(error <= tolerance, "{name}, {cut:?}: gradient of {parameter} off by {error:e}");
            }
        }
    }
}

#[test]
fn any_cut_gives_the_same_in_float64() {
    same_in(Kind::Double, 1e-10, 1e-3);
}

#[test]
fn any_cut_gives_the_same_in_float32() {
    // 1e-5 of a hundredth is float32's last bit of the whole gradient.
    same_in(Kind::Float, 1e-5, 1e-2);
}

/// With dropout a cut has its own masks, but the second pass draws those of the first: kept or encoded again is the
/// same.
#[test]
fn both_passes_draw_the_same_masks() {
    let _turn = crate::generator();
    let (_, loss, batch) = objectives().swap_remove(0);
    for (kind, tolerance) in [(Kind::Double, 1e-12), (Kind::Float, 1e-6)] {
        let model = model(kind, 0.2);
        for texts in [1, 3, 0] {
            let (kept_loss, kept) = step(&model, &loss, &batch, (10_000, texts, 10_000));
            let (loss, again) = step(&model, &loss, &batch, (10_000, texts, 0));
            assert_eq!(loss, kept_loss);
            assert!(norm(&(again - &kept)) <= tolerance * norm(&kept), "{kind:?}, {texts} texts a sub-batch");
        }
        let (plain, _) = step(&self::model(kind, 0.0), &loss, &batch, WHOLE);
        let (dropped, _) = step(&model, &loss, &batch, WHOLE);
        assert_ne!(plain, dropped, "dropout is on");
    }
}

/// In float32 kernels compute what libtorch's operations compute in float64, where the golden numbers are: dropout's
/// masks are the same. At a temperature of 0.1 a score's rounding counts tenfold, and twenty roundings follow each
/// other.
#[test]
fn float32_by_kernels_is_float64_by_libtorch() {
    let _turn = crate::generator();
    for dropout in [0.0, 0.2] {
        let (exact, rounded) = (model(Kind::Double, dropout), model(Kind::Float, dropout));
        for (name, loss, batch) in objectives() {
            let loss = LossSection { temperature: 0.1, ..loss };
            for cut in [WHOLE, (64, 0, 100)] {
                let (expected_loss, expected) = step(&exact, &loss, &batch, cut);
                let (found_loss, found) = step(&rounded, &loss, &batch, cut);
                let error = (found_loss - expected_loss).abs() / expected_loss;
                let gradient_error = norm(&(found.to_kind(Kind::Double) - &expected)) / norm(&expected);
                eprintln!("{name}, dropout {dropout}: loss off by {error:e}, gradient by {gradient_error:e}");
                assert!(error <= 1e-5, "{name}, dropout {dropout}: loss off by {error:e}");
                assert!(gradient_error <= 1e-5, "{name}, dropout {dropout}: gradient off by {gradient_error:e}");
            }
        }
    }
}

/// Along its own direction the gradient is what the loss changes by, dropout included. Distillation is left out: its
/// teacher is held fixed, which the loss's difference would not see.
#[test]
fn the_gradient_is_the_losss_derivative() {
    let _turn = crate::generator();
    let model = model(Kind::Double, 0.1);
    for (name, loss, batch) in objectives() {
        // At a higher temperature the loss is smooth enough for a difference.
        let loss = LossSection { distill: false, temperature: 0.5, ..loss };
        let (_, gradient) = step(&model, &loss, &batch, (64, 0, 100));
        let length = norm(&gradient);
        let direction = gradient / length;
        let at = |distance: f64| {
            let mut weights = model.parameters.flat.shallow_clone();
            let _ = tch::no_grad(|| weights.g_add_(&(&direction * distance)));
            let (loss, _) = step(&model, &loss, &batch, (64, 0, 100));
            let _ = tch::no_grad(|| weights.g_sub_(&(&direction * distance)));
            loss
        };
        let h = 1e-5;
        let slope = (at(h) - at(-h)) / (2.0 * h);
        let error = (slope - length).abs() / length;
        assert!(error <= 1e-6, "{name}: the loss rises by {slope}, the gradient says {length}: off by {error:e}");
    }
}

/// bfloat16 has 8 bits, so each of an encoder's some twenty roundings is off by up to 2⁻⁹; at a temperature of 0.1 a
/// score's error counts tenfold. Rounded weights alone, in float64, are off by as much. What is summed in float32 does
/// not add to it, however finely a batch is cut.
#[test]
fn bfloat16_is_float32_but_for_its_rounding() {
    let _turn = crate::generator();
    let (exact, rough) = (model(Kind::Float, 0.0), model_computing_in(Kind::BFloat16, Kind::Float, 0.0));
    for (name, loss, batch) in objectives() {
        let loss = LossSection { temperature: 0.1, ..loss };
        let (expected_loss, expected) = step(&exact, &loss, &batch, WHOLE);
        for cut in [WHOLE, (10_000, 1, 0), (64, 0, 100), (10_000, 0, 10_000)] {
            let (found_loss, found) = step(&rough, &loss, &batch, cut);
            assert_eq!(found.kind(), Kind::Float);
            let error = (found_loss - expected_loss).abs() / expected_loss;
            let gradient_error = norm(&(found - &expected)) / norm(&expected);
            eprintln!("{name}, {cut:?}: loss off by {error:e}, gradient by {gradient_error:e}");
            assert!(error <= 2e-2, "{name}, {cut:?}: loss off by {error:e}");
            assert!(gradient_error <= 1e-1, "{name}, {cut:?}: gradient off by {gradient_error:e}");
            assert!(error > 0.0, "{name}: nothing was rounded");
        }
    }
}
