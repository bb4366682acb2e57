//! The published trainer's own numbers through the command line, in float32 and with the published layout's weights.
//!
//! tests/golden/README.md says how they were recorded (float64). Losses and scores agree to 1e-5 and gradients to 1e-4,
//! relative: scores are up to 50 at temperature 0.02, so that float32's 6e-8 becomes some 1e-6 in a softmax and more in
//! what is propagated through it. worker/tests/golden.rs has the same to 1e-9, element by element.

#![allow(clippy::unwrap_used)]

use std::path::{Path, PathBuf};

use serde_json::Value;
use tercet_tests::compare::{all_close, close, matrix, number, same_norm, same_step};
use tercet_tests::place::{Place, golden, recipe};
use tercet_tests::program::Tercet;
use tercet_tests::{batch, tensors};

/// Folder, and what differs from tests/recipes/golden.toml.
const CASES: [(&str, &[&str]); 8] = [
    ("nano_xlmr/unified_distill", &[]),
    ("nano_xlmr/unified", &["loss.distill=false"]),
    ("nano_xlmr/dense_only", &["loss.preset=dense"]),
    ("nano_xlmr/mean_pool", &["model.pooling=mean"]),
    ("nano_xlmr/no_norm", &["model.normalize=false", "loss.temperature=1"]),
    ("nano_xlmr/temp05", &["loss.temperature=0.5"]),
    ("nano_xlmr/cross2_dense_only_global", &["loss.preset=dense"]),
    ("nano_bert/unified_distill", &[]),
];

/// The names of a term here and in the reference.
const TERMS: [(&str, &str); 7] = [
    ("dense", "dense"),
    ("lexical", "sparse"),
    ("multi_vector", "colbert"),
    ("hybrid", "ensemble"),
    ("distill_dense", "self_distill_dense"),
    ("distill_lexical", "self_distill_sparse"),
    ("distill_multi_vector", "self_distill_colbert"),
];

fn step(model: &Path, tokens: &Path, settings: &[&str], ranks: usize) -> Value {
    let command = Tercet::new("step").arg(recipe("golden.toml")).arg("--json").ranks(ranks);
    let command = command.arg("--model").arg(model).arg("--tokens").arg(tokens);
    let output = settings.iter().fold(command, |command, setting| command.set(setting)).succeed();
    serde_json::from_str(&output).unwrap()
}

fn reference(folder: &str) -> Value {
    serde_json::from_str(&std::fs::read_to_string(golden(folder).join("ref.json")).unwrap()).unwrap()
}

fn model(folder: &str) -> PathBuf {
    golden(folder.split('/').next().unwrap()).join("hf")
}

#[test]
fn losses_scores_and_gradients() {
    for (folder, settings) in CASES {
        let tensors = golden(folder).join("tensors.safetensors");
        let found = step(&model(folder), &tensors, settings, 1);
        compare(folder, &found, &reference(folder), &tensors);
    }
}

/// The published trainer's numbers for the whole batch in one process, from two ranks and from three.
#[test]
fn ranks_agree_with_the_whole_batch_in_one_process() {
    let folder = "nano_xlmr/cross2_dense_only_global";
    let tensors = golden(folder).join("tensors.safetensors");
    for ranks in [2, 3] {
        let found = step(&model(folder), &tensors, &["loss.preset=dense"], ranks);
        compare(&format!("{folder} on {ranks} ranks"), &found, &reference(folder), &tensors);
    }
}

fn compare(what: &str, found: &Value, reference: &Value, tensors: &Path) {
    let scored = tensors::read(tensors);
    close(&format!("{what}: loss"), number(&found["loss"]), number(&reference["loss"]), 1e-5);
    for (own, published) in TERMS {
        assert_eq!(found["terms"].get(own).is_some(), reference["terms"].get(published).is_some(), "{what}: {own}");
        if let Some(term) = found["terms"].get(own) {
            close(&format!("{what}: {own}"), number(term), number(&reference["terms"][published]), 1e-5);
        }
        if let Some(scores) = found["scores"].get(own) {
            let expected = &scored[&format!("scores.{published}")];
            all_close(&format!("{what}: {own} scores"), &matrix(scores), expected, 1e-5);
        }
    }

    let total = number(&reference["total_grad_norm"]);
    close(&format!("{what}: gradient norm"), number(&found["total_grad_norm"]), total, 1e-4);
    let norms = found["param_grad_norm"].as_object().unwrap();
    let mut compared = 0;
    for (name, norm) in norms {
        let published = if name.contains("_linear.") { name.clone() } else { format!("model.{name}") };
        // A head that the preset leaves out has no gradient there, and zero here.
        let expected = reference["param_grad_norm"].get(&published).map_or(0.0, number);
        same_norm(&format!("{what}: {name}"), number(norm), expected, total, 1e-4);
        compared += usize::from(expected > 0.0);
    }
    assert_eq!(compared, reference["param_grad_norm"].as_object().unwrap().len(), "{what}: gradients missing");
}

/// Two ranks of the published trainer give another mix of the heads than one (tests/golden/README.md, point 2); two of
/// ours give what one gives with both ranks' texts.
#[test]
fn the_unified_loss_of_two_ranks_is_the_whole_batchs() {
    let folder = golden("nano_xlmr/cross2_unified_distill");
    let texts = |which: &str| -> Vec<Vec<i64>> {
        let mut all = Vec::new();
        for rank in 0..2 {
            let file = folder.join(format!("tensors.rank{rank}.safetensors"));
            let ids = tensors::rows(&file, &format!("{which}.input_ids"));
            let mask = tensors::rows(&file, &format!("{which}.attention_mask"));
            all.extend(ids.iter().zip(&mask).map(|(ids, mask)| {
                ids.iter().zip(mask).filter(|(_, m)| **m == 1.0).map(|(id, _)| *id as i64).collect()
            }));
        }
        all
    };
    let place = Place::new();
    let tokens = place.path("both.safetensors");
    batch::TokenBatch { queries: texts("q"), passages: texts("p"), teacher: None }.write(&tokens);

    let model = golden("nano_xlmr/hf");
    let whole = step(&model, &tokens, &[], 1);
    assert_eq!(whole["scores"]["dense"].as_array().unwrap().len(), 6);
    same_step("two ranks", &step(&model, &tokens, &[], 2), &whole, 1e-5);

    // The dense head of the published trainer did see both ranks' texts: each rank has all of its scores.
    let published = &tensors::read(&folder.join("tensors.rank0.safetensors"))["scores.dense"];
    all_close("dense scores", &matrix(&whole["scores"]["dense"]), published, 1e-5);
}
