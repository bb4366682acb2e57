//! RetroMAE's losses and gradients: the published classes' own numbers to 1e-9, element by element; the same numbers
//! however texts are cut into sub-batches; and that the gradient is the derivative of the loss, with dropout, too.
//!
//! tests/golden/nano_xlmr_mae/README.md says how the numbers were recorded.

#![allow(clippy::unwrap_used)]

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde_json::Value;
use tch::{Device, Kind, Tensor};
use tercet_cluster::Solo;
use tercet_configs::{DecoderQuery, OptimizerSection, PretrainSection, RingPrecision};
use tercet_sampler::{Share, SpecialTokens, SubBatchLimit, TextInput};
use tercet_worker::machine::allocator;
use tercet_worker::model::pretraining::{DecoderRow, HiddenPlaces};
use tercet_worker::model::{M3Model, ModelOptions, Purpose};
use tercet_worker::step::clip::clip_grad_norm;
use tercet_worker::step::gradients;
use tercet_worker::step::inspect::Unseen;
use tercet_worker::step::outcome::{Outcome, Predicted, Told};
use tercet_worker::step::pretraining::masks::{GivenMasks, Masks};
use tercet_worker::step::settings::{Objective, StepSettings, Trainee};
use tercet_worker::step::update::AdamW;

/// Tokens per sub-batch, texts per sub-batch.
const CUTS: [(usize, usize); 4] = [(10_000, 0), (10_000, 1), (20, 0), (10_000, 3)];

fn golden(relative: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/golden").join(relative)
}

fn model(nano: &str, kind: Kind, compute: Kind, options: ModelOptions) -> M3Model {
    // Too small to share.
    tch::set_num_threads(1);
    let mut model = M3Model::load(&golden(nano).join("hf"), &options, Device::Cpu, kind).unwrap();
    assert!(model.fresh.is_empty(), "{:?}", model.fresh);
    model.enable_gradients(compute);
    model
}

fn options(decoder: bool) -> ModelOptions {
    ModelOptions { purpose: Purpose::Pretraining { decoder }, ..ModelOptions::default() }
}

/// A recorded batch.
struct Case {
    tensors: HashMap<String, Tensor>,
    reference: Value,
    share: Share,
    masks: Masks,
}

impl Case {
    fn read(folder: &str) -> Self {
        let dir = golden(folder);
        let tensors: HashMap<String, Tensor> =
            Tensor::read_safetensors(dir.join("tensors.safetensors")).unwrap().into_iter().collect();
        let reference = serde_json::from_str(&std::fs::read_to_string(dir.join("ref.json")).unwrap()).unwrap();
        let rows = |name: &str| Vec::<Vec<i64>>::try_from(&tensors[name]).unwrap();
        let lens: Vec<usize> = rows("enc.attention_mask").iter().map(|row| row.iter().sum::<i64>() as usize).collect();
        let cut = |name: &str| -> Vec<Vec<i64>> {
            rows(name).into_iter().zip(&lens).map(|(row, &len)| row[..len].to_vec()).collect()
        };
        let labels = |row: &Vec<i64>| -> Vec<(usize, i64)> {
            row.iter().copied().enumerate().filter(|(_, label)| *label != -100).collect()
        };
        let mut given = GivenMasks::default();
        given.words.inputs = cut("enc.input_ids").into_iter().map(TextInput::of_tokens).collect();
        given.words.labels = cut("enc.labels").iter().map(labels).collect();
        // Where only the encoder is recorded, its labels put the text back together.
        let restored = |(input, labels): (&TextInput, &Vec<(usize, i64)>)| {
            let mut ids = input.ids.clone();
            labels.iter().for_each(|&(place, label)| ids[place] = label);
            TextInput::of_tokens(ids)
        };
        let texts: Vec<TextInput> = given.words.inputs.iter().zip(&given.words.labels).map(restored).collect();
        let with_decoder = tensors.contains_key("dec.labels");
        for (b, (labelled, sets_of_rows)) in with_decoder
            .then(|| cut("dec.labels").into_iter().zip(cut("dec.row_set")))
            .into_iter()
            .flatten()
            .enumerate()
        {
            let num_sets = tensors["dec.num_sets"].int64_value(&[b as i64]);
            let sets = tensors["dec.sets"].get(b as i64).narrow(0, 0, num_sets).narrow(1, 0, lens[b] as i64);
            let sets = Vec::<i64>::try_from(sets.reshape(-1)).unwrap().into_iter().map(|hidden| hidden == 1).collect();
            let row = |(place, label)| DecoderRow { place, label, set: sets_of_rows[place] as usize };
            given.places.push(HiddenPlaces { rows: labels(&labelled).into_iter().map(row).collect(), sets });
        }
        let share = Share {
            row_keys: (0..texts.len() as u64).collect(),
            num_queries: texts.len(),
            num_global_queries: texts.len(),
            texts,
            ..Share::default()
        };
        Self { tensors, reference, share, masks: Masks::Given(Arc::new(given)) }
    }

    fn step(&self, model: &M3Model, section: &PretrainSection, cut: (usize, usize)) -> Outcome {
        step(model, section, &self.masks, &self.share, cut)
    }
}

fn step(model: &M3Model, section: &PretrainSection, masks: &Masks, share: &Share, cut: (usize, usize)) -> Outcome {
    let settings = StepSettings {
        objective: Objective::Pretraining(section.clone(), masks.clone()),
        sub_batch: SubBatchLimit { tokens: cut.0, texts: cut.1 },
        kept_graph_tokens: 0,
        ring_precision: RingPrecision::Full,
        seed: 5,
        optimizer: OptimizerSection::default(),
        num_steps: 1,
    };
    gradients(&Trainee { model, settings: &settings }, &Solo::new(), share, &mut Unseen).unwrap()
}

fn predicted(outcome: &Outcome) -> Predicted {
    match outcome.told {
        Told::Pretraining(predicted) => predicted,
        Told::Contrastive(_) => panic!("pre-training was asked for"),
    }
}

fn close(what: &str, found: f64, expected: f64, tolerance: f64) {
    let error = (found - expected).abs() / expected.abs().max(1.0);
    assert!(error <= tolerance, "{what}: {found} for {expected}, off by {error:e}");
}

fn norm(t: &Tensor) -> f64 {
    t.norm().double_value(&[])
}

/// How far `found` is from `exact`, as a share of `exact`'s norm.
fn distance(found: &Tensor, exact: &Tensor) -> f64 {
    norm(&(found.to_kind(Kind::Double) - exact)) / norm(exact)
}

fn compare(folder: &str, section: &PretrainSection, with_decoder: bool) {
    let case = Case::read(folder);
    let nano = folder.split('/').next().unwrap();
    let model = model(nano, Kind::Double, Kind::Double, options(with_decoder));
    let outcome = case.step(&model, section, CUTS[0]);
    close(folder, outcome.loss, case.reference["loss"].as_f64().unwrap(), 1e-9);
    for (name, term) in outcome.terms() {
        close(&name, term.unwrap(), case.reference["terms"][&name].as_f64().unwrap(), 1e-9);
    }
    for (name, count) in predicted(&outcome).counts() {
        assert_eq!(Some(count), case.reference["counts"][&name].as_i64(), "{folder}: {name}");
    }
    let mut compared = 0;
    for (own, gradient) in model.parameters.named_grads() {
        let name = format!("grad.{}", model.config.masked_lm_name(own));
        let expected = case.tensors.get(&name).unwrap_or_else(|| panic!("{folder} has no {name}"));
        let error = (&gradient - expected).abs().max().double_value(&[]);
        assert!(error <= 1e-9, "{folder}: {name} is off by {error:e}");
        compared += 1;
    }
    assert!(compared > 40);
}

#[test]
fn published_numbers_of_both_sides() {
    for folder in ["nano_xlmr_mae/basic", "nano_xlmr_mae/short", "nano_bert_mae/basic"] {
        compare(folder, &PretrainSection::default(), true);
    }
    // The vector's own place is hidden from some rows.
    compare("nano_xlmr_mae/cls_hidden", &PretrainSection::default(), true);
}

#[test]
fn published_numbers_of_the_original_query() {
    let section = PretrainSection { decoder_query: DecoderQuery::Positions, ..PretrainSection::default() };
    compare("nano_xlmr_mae/positions_query", &section, true);
}

#[test]
fn published_numbers_of_the_encoder_alone() {
    compare("nano_xlmr_mae/mlm_only", &PretrainSection::default(), false);
}

#[test]
fn six_updates_as_published() {
    let case = Case::read("nano_xlmr_mae/basic");
    let model = model("nano_xlmr_mae", Kind::Double, Kind::Double, options(true));
    let settings =
        OptimizerSection { learning_rate: 1e-3, weight_decay: 0.01, max_grad_norm: 0.0, ..OptimizerSection::default() };
    let mut optimizer = AdamW::new(&model.parameters);
    let trajectory = std::fs::read_to_string(golden("nano_xlmr_mae/adamw_trajectory.json")).unwrap();
    let trajectory: Value = serde_json::from_str(&trajectory).unwrap();
    for expected in trajectory["steps"].as_array().unwrap() {
        let outcome = case.step(&model, &PretrainSection::default(), CUTS[0]);
        let clip = clip_grad_norm(&Solo::new(), &model.parameters, &settings).unwrap();
        optimizer.update(&Solo::new(), &model.parameters, &settings, settings.learning_rate, clip.factor).unwrap();
        close("loss", outcome.loss, expected["loss"].as_f64().unwrap(), 1e-9);
        close("gradient norm", clip.norm, expected["grad_norm"].as_f64().unwrap(), 1e-9);
    }
    let after: HashMap<String, Tensor> =
        Tensor::read_safetensors(golden("nano_xlmr_mae/adamw_after6.safetensors")).unwrap().into_iter().collect();
    for spec in model.parameters.specs() {
        let found = model.parameters.leaf(&spec.name);
        // Their gradient is nothing but rounding, which AdamW divides by itself.
        if spec.name.ends_with("key.bias") {
            continue;
        }
        let expected = &after[&model.config.masked_lm_name(&spec.name)];
        let error = (&found - expected).abs().max().double_value(&[]);
        assert!(error < 1e-9, "{}: off by {error:e}", spec.name);
    }
}

#[test]
fn however_texts_are_cut_the_numbers_are_the_same() {
    let case = Case::read("nano_xlmr_mae/basic");
    for (kind, compute, tolerance) in
        [(Kind::Double, Kind::Double, 1e-12), (Kind::Float, Kind::Float, 1e-5), (Kind::Float, Kind::BFloat16, 2e-2)]
    {
        let exact = model("nano_xlmr_mae", Kind::Double, Kind::Double, options(true));
        let loss = case.step(&exact, &PretrainSection::default(), CUTS[0]).loss;
        let gradient = exact.parameters.flat_grad();
        let model = model("nano_xlmr_mae", kind, compute, options(true));
        for cut in CUTS {
            let outcome = case.step(&model, &PretrainSection::default(), cut);
            close("loss", outcome.loss, loss, tolerance);
            let error = distance(&model.parameters.flat_grad(), &gradient);
            assert!(error < tolerance, "{compute:?}, {cut:?}: the gradient is {error:e} of its norm away");
        }
    }
}

#[test]
fn every_type_drops_the_same() {
    let case = Case::read("nano_xlmr_mae/basic");
    let options = || ModelOptions { dropout: Some(0.2), ..options(true) };
    let exact = model("nano_xlmr_mae", Kind::Double, Kind::Double, options());
    let loss = case.step(&exact, &PretrainSection::default(), (20, 0)).loss;
    let found = model("nano_xlmr_mae", Kind::Float, Kind::Float, options());
    close("loss", case.step(&found, &PretrainSection::default(), (20, 0)).loss, loss, 1e-5);
    assert!(distance(&found.parameters.flat_grad(), &exact.parameters.flat_grad()) < 1e-5);
}

/// A text of one token between the special ones, one that is unknown, and longer ones.
fn own_texts() -> Share {
    let text = |len: usize, salt: usize| {
        let words = (0..len).map(|i| 4 + ((i * 7 + salt * 13) % 92) as i64);
        TextInput::of_tokens(std::iter::once(0).chain(words).chain([2]).collect())
    };
    let texts = vec![text(1, 1), TextInput::of_tokens(vec![0, 3, 2]), text(20, 2), text(33, 3), text(20, 4)];
    Share {
        step: 6,
        row_keys: (10..15).collect(),
        num_queries: texts.len(),
        num_global_queries: texts.len(),
        texts,
        ..Share::default()
    }
}

#[test]
fn the_gradient_is_the_derivative_of_the_loss_with_dropout_too() {
    let share = own_texts();
    for query in [DecoderQuery::Embedded, DecoderQuery::Positions] {
        for dropout in [0.0, 0.2] {
            let section = PretrainSection { decoder_query: query, ..PretrainSection::default() };
            let options = ModelOptions { dropout: Some(dropout), ..options(true) };
            let mut model = model("nano_xlmr_mae", Kind::Double, Kind::Double, options);
            // The golden folder has no tokenizer that says it.
            model.special = SpecialTokens { mask: Some(96), ..model.special };
            let loss = |model: &M3Model| step(model, &section, &Masks::Drawn, &share, (40, 0)).loss;
            loss(&model);
            let gradient = model.parameters.flat_grad().copy();
            tch::manual_seed(3);
            let direction = Tensor::randn([model.parameters.numel()], (Kind::Double, Device::Cpu));
            let moved = |by: f64| {
                tch::no_grad(|| drop(model.parameters.flat.shallow_clone().g_add_(&(&direction * by))));
                let found = loss(&model);
                tch::no_grad(|| drop(model.parameters.flat.shallow_clone().g_add_(&(&direction * -by))));
                found
            };
            let step = 1e-6;
            let slope = (moved(step) - moved(-step)) / (2.0 * step);
            let expected = (&gradient * &direction).sum(Kind::Double).double_value(&[]);
            assert!(
                (slope - expected).abs() < 1e-6 * expected.abs().max(1.0),
                "{query:?}, {dropout}: {slope} {expected}"
            );
        }
    }
}

#[test]
fn a_side_with_nothing_to_predict_counts_0() {
    let model = model("nano_xlmr_mae", Kind::Float, Kind::Float, options(true));
    let texts = vec![TextInput::of_tokens(vec![0, 3, 2])];
    let share = Share { row_keys: vec![1], num_queries: 1, num_global_queries: 1, texts, ..Share::default() };
    let outcome = step(&model, &PretrainSection::default(), &Masks::Drawn, &share, CUTS[0]);
    let told = predicted(&outcome);
    assert_eq!((told.encoder.loss, told.encoder.num_labels), (0.0, 0));
    assert!(told.decoder.unwrap().loss > 0.0 && outcome.loss.is_finite());
    let nothing = Share { texts: vec![TextInput::of_tokens(vec![0, 2])], ..share };
    let outcome = step(&model, &PretrainSection::default(), &Masks::Drawn, &nothing, CUTS[0]);
    assert_eq!((outcome.loss, norm(&model.parameters.flat_grad())), (0.0, 0.0));
}

#[test]
fn another_vector_is_looked_at_every_so_often() {
    let model = model("nano_xlmr_mae", Kind::Float, Kind::Float, options(true));
    let share = own_texts();
    let gap = |gap_every, cut| {
        let section = PretrainSection { gap_every, ..PretrainSection::default() };
        let outcome = step(&model, &section, &Masks::Drawn, &share, cut);
        (predicted(&outcome).decoder_gap(), outcome.loss)
    };
    // The step is the seventh.
    for cut in CUTS {
        let ((looked, with), (not, without)) = (gap(7, cut), gap(2, cut));
        assert!(looked.unwrap().abs() > 1e-4 && not.is_none());
        assert_eq!(with, without, "looking changes nothing");
    }
    let one = Share { texts: share.texts[..1].to_vec(), row_keys: vec![10], ..share.clone() };
    let section = PretrainSection { gap_every: 1, ..PretrainSection::default() };
    assert_eq!(predicted(&step(&model, &section, &Masks::Drawn, &one, CUTS[0])).decoder_gap(), None);
}

/// One layer of four heads, of XLM-R's vocabulary and positions unless told otherwise.
fn wide_model(vocabulary: usize) -> M3Model {
    tch::set_num_threads(1);
    let dir = tempfile::tempdir().unwrap();
    let config = serde_json::json!({
        "model_type": "xlm-roberta", "vocab_size": vocabulary, "hidden_size": WIDTH, "num_hidden_layers": 1,
        "num_attention_heads": 4, "intermediate_size": 2 * WIDTH, "max_position_embeddings": LONG + 2,
        "type_vocab_size": 1, "pad_token_id": 1, "hidden_dropout_prob": 0.1, "attention_probs_dropout_prob": 0.1,
    });
    std::fs::write(dir.path().join("config.json"), config.to_string()).unwrap();
    std::fs::copy(golden("nano_xlmr_mae/hf/special_tokens.json"), dir.path().join("special_tokens.json")).unwrap();
    let mut model = M3Model::fresh(&dir.path().join("config.json"), &options(true), Device::Cpu, Kind::Float).unwrap();
    model.enable_gradients(Kind::Float);
    model
}

const WIDTH: usize = 32;
const LONG: usize = 8192;
const MIB: u64 = 1 << 20;

/// What a step on one text takes beside the weights and their gradient, in bytes.
fn peak(model: &M3Model, len: usize) -> u64 {
    let words = (0..len - 2).map(|i| 100 + (i * 7919 % 1000) as i64);
    let text = TextInput::of_tokens(std::iter::once(0).chain(words).chain([2]).collect());
    let texts = vec![text];
    let share = Share { row_keys: vec![7], num_queries: 1, num_global_queries: 1, texts, ..Share::default() };
    allocator::begin_peak();
    step(model, &PretrainSection::default(), &Masks::Drawn, &share, CUTS[0]);
    allocator::peak_growth_bytes()
}

#[test]
fn nothing_is_as_large_as_a_texts_square_or_as_texts_times_the_vocabulary() {
    let _drawn = crate::generator();
    let xlmr = wide_model(250_002);
    let (short, long) = (peak(&xlmr, 256), peak(&xlmr, LONG));
    // Two layers keep some twenty numbers of the width for each token, and have as many on the way; mask sets take a
    // byte for each of 128 sets and each token.
    let activations = (90 * LONG * WIDTH * size_of::<f32>() + 3 * 128 * LONG) as u64;
    println!("{} MiB for a text of 256 tokens, {} MiB for one of {LONG}", short / MIB, long / MIB);
    assert!(long - short <= activations + 16 * MIB, "{long} for {short}");
    // What must not be there: one head's similarities of a text, or a row of the vocabulary for every token.
    assert!(activations + 16 * MIB < (LONG * LONG * size_of::<f32>()) as u64);
    // A smaller vocabulary takes less by its part of a tile, whatever the text's length.
    let small = wide_model(20_000);
    let (less_short, less_long) = (short - peak(&small, 256), long - peak(&small, LONG));
    println!("of that {} and {} MiB are the vocabulary's", less_short / MIB, less_long / MIB);
    assert!(less_long <= less_short + 8 * MIB, "{less_long} {less_short}");
}
