//! Asserts that numbers are equal up to rounding.

use serde_json::Value;

use crate::tensors::Tensors;

/// Gradients below this share of the whole gradient's norm are compared on that scale instead of their own, because
/// they are the remainder of larger ones that cancel, and carry the rounding of those.
const SMALL_GRADIENT: f64 = 1e-3;

/// Asserts that `found` is `expected` up to the relative `tolerance`.
pub fn close(what: &str, found: f64, expected: f64, tolerance: f64) {
    let error = (found - expected).abs() / expected.abs();
    assert!(error <= tolerance, "{what}: {found} for {expected}, off by {error:e}");
}

/// Asserts that every number in `found` is that in `expected` up to `tolerance`, relative to the largest of them.
pub fn all_close(what: &str, found: &[f64], expected: &[f64], tolerance: f64) {
    assert_eq!(found.len(), expected.len(), "{what}");
    let scale = expected.iter().fold(f64::MIN_POSITIVE, |max, x| max.max(x.abs()));
    let worst = found.iter().zip(expected).fold(0.0f64, |max, (a, b)| max.max((a - b).abs())) / scale;
    assert!(worst <= tolerance, "{what}: off by {worst:e}");
}

/// Compares two reports of `tercet step --json`: loss, its terms, scores, and the norm of every gradient.
pub fn same_step(what: &str, found: &Value, expected: &Value, tolerance: f64) {
    close(&format!("{what}: loss"), number(&found["loss"]), number(&expected["loss"]), tolerance);
    let total = number(&expected["total_grad_norm"]);
    close(&format!("{what}: gradient norm"), number(&found["total_grad_norm"]), total, tolerance);
    assert_eq!(found["false_negatives"], expected["false_negatives"], "{what}: false negatives");
    same_keys(what, &found["terms"], &expected["terms"]);
    for (name, term) in expected["terms"].as_object().unwrap() {
        close(&format!("{what}: {name}"), number(&found["terms"][name]), number(term), tolerance);
    }
    same_keys(what, &found["scores"], &expected["scores"]);
    for (head, rows) in expected["scores"].as_object().unwrap() {
        all_close(&format!("{what}: {head} scores"), &matrix(&found["scores"][head]), &matrix(rows), tolerance);
    }
    same_keys(what, &found["param_grad_norm"], &expected["param_grad_norm"]);
    for (name, norm) in expected["param_grad_norm"].as_object().unwrap() {
        same_norm(&format!("{what}: {name}"), number(&found["param_grad_norm"][name]), number(norm), total, tolerance);
    }
}

/// Compares the norm of one parameter's gradient; `total` is that of the whole gradient.
pub fn same_norm(what: &str, found: f64, expected: f64, total: f64, tolerance: f64) {
    if is_zero_but_for_rounding(what) {
        let largest = found.max(expected) / total;
        return assert!(largest <= tolerance / 10.0, "{what}: gradient norm {largest:e} of the whole, should be none");
    }
    let error = (found - expected).abs() / expected.max(SMALL_GRADIENT * total);
    assert!(error <= tolerance, "{what}: gradient norm {found} for {expected}, off by {error:e}");
}

/// Compares every parameter's gradient, by the norm of the difference.
pub fn same_gradients(what: &str, found: &Tensors, expected: &Tensors, tolerance: f64) {
    let norm = |values: &[f64]| values.iter().map(|x| x * x).sum::<f64>().sqrt();
    let total = norm(&expected.values().flatten().copied().collect::<Vec<_>>());
    assert!(total > 0.0, "{what}: no gradient at all");
    assert!(found.keys().eq(expected.keys()), "{what}: other parameters");
    for (name, gradient) in expected {
        if is_zero_but_for_rounding(name) {
            same_norm(&format!("{what}: {name}"), norm(&found[name]), norm(gradient), total, tolerance);
            continue;
        }
        let difference: Vec<f64> = found[name].iter().zip(gradient).map(|(a, b)| a - b).collect();
        assert_eq!(found[name].len(), gradient.len(), "{what}: {name}");
        let error = norm(&difference) / norm(gradient).max(SMALL_GRADIENT * total);
        assert!(error <= tolerance, "{what}: gradient of {name}: off by {error:e}");
    }
}

/// Adding the same number to every key changes no attention weight, so a key's bias has no gradient; the computed one
/// is rounding, which differs with every order of summation.
fn is_zero_but_for_rounding(name: &str) -> bool {
    name.ends_with("attention.self.key.bias")
}

/// A JSON number.
pub fn number(value: &Value) -> f64 {
    value.as_f64().unwrap_or_else(|| panic!("{value} is no number"))
}

/// A JSON matrix, row after row.
pub fn matrix(value: &Value) -> Vec<f64> {
    value.as_array().unwrap().iter().flat_map(|row| row.as_array().unwrap().iter().map(number)).collect()
}

fn same_keys(what: &str, found: &Value, expected: &Value) {
    let keys = |value: &Value| value.as_object().unwrap().keys().cloned().collect::<Vec<_>>();
    assert_eq!(keys(found), keys(expected), "{what}");
}
