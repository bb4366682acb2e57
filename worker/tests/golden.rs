//! The published trainer's own numbers: losses, scores and gradients of nano models, to 1e-9 in float64.
//!
//! tests/golden/README.md says how they were recorded. The tolerance leaves room for another order of summation in
//! float64 and for nothing else; teacher scores went through float32 in the reference, hence 1e-7 there.

#![allow(clippy::unwrap_used)]

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use serde_json::Value;
use tch::{Device, Kind, Tensor};
use tercet_cluster::Solo;
use tercet_configs::{LossPreset, LossSection, Negatives, OptimizerSection, Pooling, RingPrecision, Teacher};
use tercet_sampler::{Share, SpecialTokens, SubBatchLimit, TextIds, TextInput};
use tercet_worker::model::{M3Model, ModelOptions, head_of};
use tercet_worker::step::clip::clip_grad_norm;
use tercet_worker::step::contrastive::loss::{Terms, hybrid};
use tercet_worker::step::gradients;
use tercet_worker::step::inspect::Unseen;
use tercet_worker::step::outcome::Outcome;
use tercet_worker::step::settings::{Objective, StepSettings, Trainee};
use tercet_worker::step::update::AdamW;

fn golden(relative: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/golden").join(relative)
}

/// A model directory of the float64 weights of `nano`, with tensors of `overrides` in place of its own.
fn model(nano: &str, pooling: Pooling, normalize: bool, overrides: Option<&str>) -> M3Model {
    let dir = tempfile::tempdir().unwrap();
    for name in ["config.json", "special_tokens.json"] {
        std::fs::copy(golden(nano).join(name), dir.path().join(name)).unwrap();
    }
    std::fs::copy(golden(nano).join("weights.safetensors"), dir.path().join("model.safetensors")).unwrap();
    let options = ModelOptions { pooling: Some(pooling), normalize: Some(normalize), ..Default::default() };
    let mut model = M3Model::load(dir.path(), &options, Device::Cpu, Kind::Double).unwrap();
    assert!(model.fresh.is_empty());
    for (name, tensor) in overrides.iter().flat_map(|path| Tensor::read_safetensors(golden(path)).unwrap()) {
        tch::no_grad(|| model.parameters.leaf(&name).copy_(&tensor));
    }
    model.enable_gradients(Kind::Double);
    model
}

fn texts(tensors: &HashMap<String, Tensor>, which: &str, special: &SpecialTokens) -> Vec<TextInput> {
    let ids = Vec::<Vec<i64>>::try_from(&tensors[&format!("{which}.input_ids")]).unwrap();
    let mask = Vec::<Vec<i64>>::try_from(&tensors[&format!("{which}.attention_mask")]).unwrap();
    let real =
        |(ids, mask): (Vec<i64>, Vec<i64>)| ids.into_iter().zip(mask).filter(|t| t.1 == 1).map(|t| t.0).collect();
    ids.into_iter().zip(mask).map(|pair| TextInput::new(real(pair), special)).collect()
}

struct Case {
    tensors: HashMap<String, Tensor>,
    reference: Value,
    batch: Share,
    settings: StepSettings,
}

fn read_case(folder: &str, tensors: &str, reference: &str) -> Case {
    let tensors: HashMap<String, Tensor> =
        Tensor::read_safetensors(golden(folder).join(tensors)).unwrap().into_iter().collect();
    let reference: Value =
        serde_json::from_str(&std::fs::read_to_string(golden(folder).join(reference)).unwrap()).unwrap();
    let s = &reference["settings"];
    let special = golden(folder.split('/').next().unwrap()).join("special_tokens.json");
    let special: SpecialTokens = serde_json::from_str(&std::fs::read_to_string(special).unwrap()).unwrap();
    let (queries, passages) = (texts(&tensors, "q", &special), texts(&tensors, "p", &special));
    let teacher: Option<Vec<f32>> =
        s["teacher"].as_array().map(|t| t.iter().map(|v| v.as_f64().unwrap() as f32).collect());
    let unified = s["unified"].as_bool().unwrap();
    let batch = Share {
        step: 0,
        num_queries: queries.len(),
        group_size: passages.len() / queries.len(),
        num_global_queries: queries.len(),
        texts: queries.into_iter().chain(passages).collect(),
        text_ids: TextIds::default(),
        row_keys: Vec::new(),
        negatives: if s["no_in_batch_neg"].as_bool().unwrap() { Negatives::Own } else { Negatives::All },
        teacher_scores: teacher.clone(),
        two_way: false,
    };
    let loss = LossSection {
        preset: if unified { LossPreset::Unified } else { LossPreset::Dense },
        temperature: s["temperature"].as_f64().unwrap(),
        distill: s["use_self_distill"].as_bool().unwrap(),
        distill_start_step: 0,
        teacher: match (teacher, s["kd_loss_type"].as_str().unwrap()) {
            (None, _) => Teacher::None,
            (Some(_), "kl_div") => Teacher::KlDiv,
            (Some(_), _) => Teacher::M3KdLoss,
        },
        // The published trainer masks nothing.
        mask_false_negatives: false,
        ..LossSection::default()
    };
    let settings = StepSettings {
        objective: Objective::Contrastive(loss),
        sub_batch: SubBatchLimit { tokens: 40, texts: 0 },
        kept_graph_tokens: 0,
        ring_precision: RingPrecision::Full,
        seed: 1,
        optimizer: OptimizerSection::default(),
        num_steps: 1,
    };
    Case { tensors, reference, batch, settings }
}

fn close(what: &str, found: f64, expected: f64, tolerance: f64) {
    let error = (found - expected).abs() / expected.abs().max(1.0);
    assert!(error <= tolerance, "{what}: {found} for {expected}, off by {error:e}");
}

fn close_tensor(what: &str, found: &Tensor, expected: &Tensor, tolerance: f64) {
    assert_eq!(found.size(), expected.size(), "{what}");
    let scale = expected.abs().max().double_value(&[]).max(1.0);
    let error = (found - expected).abs().max().double_value(&[]) / scale;
    assert!(error <= tolerance, "{what}: off by {error:e}");
}

fn run(case: &Case, model: &M3Model) -> Outcome {
    gradients(&Trainee { model, settings: &case.settings }, &Solo::new(), &case.batch, &mut Unseen).unwrap()
}

/// Loss, terms, scores and every gradient.
fn compare(folder: &str, overrides: Option<&str>, tolerance: f64) {
    let case = read_case(folder, "tensors.safetensors", "ref.json");
    let s = &case.reference["settings"];
    let pooling = if s["pooling"] == "mean" { Pooling::Mean } else { Pooling::Cls };
    let nano = folder.split('/').next().unwrap();
    let model = model(nano, pooling, s["normalize"].as_bool().unwrap(), overrides);
    let outcome = run(&case, &model);
    compare_scores(&case, &outcome, tolerance);
    close("loss", outcome.loss, case.reference["loss"].as_f64().unwrap(), tolerance);
    compare_terms(&outcome.contrasted().terms, &case.reference["terms"], tolerance);
    for (name, gradient) in model.parameters.named_grads() {
        let published = if head_of(name).is_some() { name.to_owned() } else { format!("model.{name}") };
        match case.tensors.get(&format!("grad.{published}")) {
            Some(expected) => close_tensor(&published, &gradient, expected, tolerance),
            None => assert_eq!(gradient.abs().max().double_value(&[]), 0.0, "{published} gets no gradient"),
        }
    }
}

fn compare_scores(case: &Case, outcome: &Outcome, tolerance: f64) {
    let Objective::Contrastive(loss) = &case.settings.objective else { unreachable!("contrastive") };
    let temperature = loss.temperature;
    let score = |name: &str| &case.tensors[&format!("scores.{name}")];
    close_tensor("dense scores", &(&outcome.contrasted().scores.dense / temperature), score("dense"), tolerance);
    if let (Some(lexical), Some(multi_vector)) =
        (&outcome.contrasted().scores.lexical, &outcome.contrasted().scores.multi_vector)
    {
        close_tensor("lexical scores", &(lexical / temperature), score("sparse"), tolerance);
        close_tensor("multi-vector scores", &(multi_vector / temperature), score("colbert"), tolerance);
        let hybrid = hybrid(loss, &outcome.contrasted().scores).unwrap();
        close_tensor("hybrid scores", &(hybrid / temperature), score("ensemble"), tolerance);
    }
}

fn compare_terms(terms: &Terms, reference: &Value, tolerance: f64) {
    let names =
        ["dense", "sparse", "colbert", "ensemble", "self_distill_dense", "self_distill_sparse", "self_distill_colbert"];
    for (name, found) in names.into_iter().zip(terms.values()) {
        match (found, reference[name].as_f64()) {
            (Some(found), Some(expected)) => close(name, found, expected, tolerance),
            (found, expected) => assert_eq!(found, expected, "{name}"),
        }
    }
}

macro_rules! cases {
    ($($test:ident: $folder:literal, $overrides:expr, $tolerance:literal;)*) => {$(
        #[test]
        fn $test() {
            compare($folder, $overrides, $tolerance);
        }
    )*};
}

cases! {
    unified: "nano_xlmr/unified", None, 1e-9;
    unified_distill: "nano_xlmr/unified_distill", None, 1e-9;
    dense_only: "nano_xlmr/dense_only", None, 1e-9;
    mean_pool: "nano_xlmr/mean_pool", None, 1e-9;
    no_norm: "nano_xlmr/no_norm", None, 1e-9;
    temp05: "nano_xlmr/temp05", None, 1e-9;
    short_pad: "nano_xlmr/short_pad", Some("nano_xlmr/short_pad/colbert_override.safetensors"), 1e-9;
    cross2_dense_only_global: "nano_xlmr/cross2_dense_only_global", None, 1e-9;
    teacher_kl: "nano_xlmr/teacher_kl", None, 1e-7;
    teacher_m3kd: "nano_xlmr/teacher_m3kd", None, 1e-7;
    bert_unified_distill: "nano_bert/unified_distill", None, 1e-9;
}

/// The published trainer's hybrid loss is always 0 without in-batch negatives, a defect; the heads' own terms agree.
#[test]
fn no_in_batch_terms() {
    let case = read_case("nano_xlmr/no_in_batch", "tensors.safetensors", "ref.json");
    let outcome = run(&case, &model("nano_xlmr", Pooling::Cls, true, None));
    for (name, found) in [
        ("dense", outcome.contrasted().terms.dense),
        ("sparse", outcome.contrasted().terms.lexical),
        ("colbert", outcome.contrasted().terms.multi_vector),
    ] {
        close(name, found.unwrap(), case.reference["terms"][name].as_f64().unwrap(), 1e-9);
    }
}

/// Six updates of the published trainer: losses, gradient norms and the weights after them.
#[test]
fn adamw_trajectory() {
    let mut case = read_case("nano_xlmr/unified_distill", "tensors.safetensors", "ref.json");
    // The published trainer never distils on its very first step.
    let Objective::Contrastive(loss) = &mut case.settings.objective else { unreachable!("contrastive") };
    loss.distill_start_step = 1;
    let model = model("nano_xlmr", Pooling::Cls, true, None);
    let settings = OptimizerSection { learning_rate: 1e-3, weight_decay: 0.0, ..Default::default() };
    let mut optimizer = AdamW::new(&model.parameters);
    let trajectory: Value =
        serde_json::from_str(&std::fs::read_to_string(golden("nano_xlmr/adamw_trajectory.json")).unwrap()).unwrap();
    for (step, expected) in trajectory["steps"].as_array().unwrap().iter().enumerate() {
        case.batch.step = step as u64;
        let outcome = run(&case, &model);
        let clip = clip_grad_norm(&Solo::new(), &model.parameters, &settings).unwrap();
        optimizer.update(&Solo::new(), &model.parameters, &settings, settings.learning_rate, clip.factor).unwrap();
        close("loss", outcome.loss, expected["loss"].as_f64().unwrap(), 1e-9);
        close("gradient norm", clip.norm, expected["grad_norm"].as_f64().unwrap(), 1e-9);
    }
    for (name, expected) in Tensor::read_safetensors(golden("nano_xlmr/adamw_after6.safetensors")).unwrap() {
        let own = name.strip_prefix("model.").unwrap_or(&name);
        close_tensor(&name, &model.parameters.leaf(own), &expected.to_kind(Kind::Double), 1e-9);
    }
}
