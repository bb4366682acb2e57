//! How far two reports of `tercet step --json` are apart.

use serde_json::Value;

/// A gradient below this share of the whole gradient's norm is compared on that scale, for it is what is left where
/// larger ones cancel, and carries their rounding.
const SMALL_GRADIENT: f64 = 1e-3;

/// Largest differences, relative.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Distance {
    /// How far the loss is off.
    pub loss: f64,
    /// How far one of its terms is off, the worst.
    pub terms: f64,
    /// How far a head's scores are off, as a share of the largest of them.
    pub scores: f64,
    /// How far a weight's gradient norm is off.
    pub gradients: f64,
}

impl Distance {
    /// Between what was found and what was expected; infinite where something is missing or no number.
    pub fn of(found: &Value, expected: &Value) -> Self {
        let total = number(&expected["total_grad_norm"]);
        let gradient = |name: &str, found: f64, expected: f64| {
            // Adding the same to every key changes no attention weight, so a key's bias has no gradient but rounding.
            let scale =
                if name.ends_with("attention.self.key.bias") { total } else { expected.max(SMALL_GRADIENT * total) };
            (found - expected).abs() / scale
        };
        Self {
            loss: relative(number(&found["loss"]), number(&expected["loss"])),
            terms: over_keys(&found["terms"], &expected["terms"], |_, a, b| relative(number(a), number(b))),
            scores: over_keys(&found["scores"], &expected["scores"], |_, a, b| matrices(a, b)),
            gradients: over_keys(&found["param_grad_norm"], &expected["param_grad_norm"], |name, a, b| {
                gradient(name, number(a), number(b))
            })
            .max(relative(number(&found["total_grad_norm"]), total)),
        }
        .without_nan()
    }

    /// The larger of each.
    pub fn max(self, other: Self) -> Self {
        Self {
            loss: self.loss.max(other.loss),
            terms: self.terms.max(other.terms),
            scores: self.scores.max(other.scores),
            gradients: self.gradients.max(other.gradients),
        }
    }

    /// By name, in the order in which they are shown.
    pub fn named(self) -> [(&'static str, f64); 4] {
        [("loss", self.loss), ("terms", self.terms), ("scores", self.scores), ("gradients", self.gradients)]
    }

    fn without_nan(self) -> Self {
        let plain = |x: f64| if x.is_nan() { f64::INFINITY } else { x };
        Self {
            loss: plain(self.loss),
            terms: plain(self.terms),
            scores: plain(self.scores),
            gradients: plain(self.gradients),
        }
    }
}

/// |a − b| over |b|.
pub fn relative(found: f64, expected: f64) -> f64 {
    if found == expected { 0.0 } else { (found - expected).abs() / expected.abs() }
}

/// A JSON number; NaN where it is none.
pub fn number(value: &Value) -> f64 {
    value.as_f64().unwrap_or(f64::NAN)
}

/// The largest distance over the keys of two objects; infinite where they have other keys.
fn over_keys(found: &Value, expected: &Value, distance: impl Fn(&str, &Value, &Value) -> f64) -> f64 {
    let (Some(found), Some(expected)) = (found.as_object(), expected.as_object()) else { return f64::INFINITY };
    if !found.keys().eq(expected.keys()) {
        return f64::INFINITY;
    }
    expected.iter().map(|(name, value)| distance(name, &found[name], value)).fold(0.0, worse)
}

/// The larger, where NaN is the largest.
fn worse(a: f64, b: f64) -> f64 {
    if a.is_nan() || b.is_nan() { f64::NAN } else { a.max(b) }
}

fn matrices(found: &Value, expected: &Value) -> f64 {
    let numbers = |value: &Value| -> Vec<f64> {
        let rows = value.as_array().into_iter().flatten();
        rows.flat_map(|row| row.as_array().into_iter().flatten().map(number)).collect()
    };
    let (found, expected) = (numbers(found), numbers(expected));
    if found.len() != expected.len() || expected.is_empty() {
        return f64::INFINITY;
    }
    let scale = expected.iter().fold(f64::MIN_POSITIVE, |most, x| most.max(x.abs()));
    found.iter().zip(&expected).map(|(a, b)| (a - b).abs() / scale).fold(0.0, worse)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn report() -> Value {
        json!({
            "loss": 2.0, "terms": {"dense": 1.0}, "scores": {"dense": [[1.0, -4.0], [2.0, 0.0]]},
            "param_grad_norm": {"w": 3.0, "attention.self.key.bias": 1e-9}, "total_grad_norm": 3.0,
        })
    }

    #[test]
    fn the_largest_difference_counts() {
        assert_eq!(Distance::of(&report(), &report()), Distance::default());
        let mut other = report();
        other["scores"]["dense"][1][1] = json!(0.4);
        other["param_grad_norm"]["attention.self.key.bias"] = json!(3e-9);
        let distance = Distance::of(&other, &report());
        assert!((distance.scores - 0.1).abs() < 1e-12 && distance.gradients < 1e-9, "{distance:?}");
    }

    #[test]
    fn what_is_missing_or_no_number_is_infinitely_far() {
        for (key, value) in [("loss", json!(null)), ("terms", json!({})), ("scores", json!({"dense": [[1.0]]}))] {
            let mut other = report();
            other[key] = value;
            let distance = Distance::of(&other, &report());
            assert!(distance.named().iter().any(|(_, by)| by.is_infinite()), "{key}: {distance:?}");
        }
    }
}
