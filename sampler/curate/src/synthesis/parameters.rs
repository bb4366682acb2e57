//! `[llm.parameters]`: what of it a server would refuse, or take for something else, is refused before it is sent.

use toml::{Table, Value};

/// The names under which an answer's tokens are limited.
const LIMITS: [&str; 2] = ["max_tokens", "max_completion_tokens"];

/// What a request says by other keys of the recipe, or must not say.
const TAKEN: [&str; 4] = ["model", "messages", "stream", "n"];

/// The largest seed: the attempts count on from it.
const MAX_SEED: i64 = i64::MAX - u32::MAX as i64;

/// Says what is wrong: the key behind `llm.parameters`, and the reason. Keys that OpenAI's interface does not have are
/// the server's to judge.
///
/// # Errors
/// A value cannot be sent or is none of its parameter, or an answer's length has no limit, or two.
pub fn check(parameters: &Table) -> Result<(), (String, String)> {
    let wrong = |key: &str, reason: String| Err((format!(".{key}"), reason));
    if let Some(key) = TAKEN.iter().find(|key| parameters.contains_key(**key)) {
        return wrong(key, "this is no parameter that may be set".into());
    }
    for (key, value) in parameters {
        if let Some(unsendable) = unsendable(value) {
            return wrong(key, format!("{unsendable} has no place in JSON"));
        }
        let number = value.as_float().or(value.as_integer().map(|whole| whole as f64));
        let within = |min: f64, max: f64| number.is_some_and(|number| (min..=max).contains(&number));
        let (is_right, expected) = match key.as_str() {
            "max_tokens" | "max_completion_tokens" => {
                (value.as_integer().is_some_and(|n| n > 0), "a whole number of at least 1")
            }
            "seed" => (value.as_integer().is_some_and(|n| n <= MAX_SEED), "a whole number below 2^63 - 2^32"),
            "temperature" => (within(0.0, 2.0), "a number from 0 to 2"),
            "top_p" => (within(0.0, 1.0) && !within(0.0, 0.0), "a number above 0 and up to 1"),
            "presence_penalty" | "frequency_penalty" => (within(-2.0, 2.0), "a number from -2 to 2"),
            _ => (true, ""),
        };
        if !is_right {
            return wrong(key, format!("{expected} is expected, found {value}"));
        }
    }
    match LIMITS.map(|key| parameters.contains_key(key)) {
        [true, true] => Err((String::new(), format!("one of {} and {}, not both", LIMITS[0], LIMITS[1]))),
        [false, false] => {
            let reason = format!("{} or {} must limit an answer: caps reckon with it", LIMITS[0], LIMITS[1]);
            Err((String::new(), reason))
        }
        _ => Ok(()),
    }
}

/// The tokens of an answer at most.
pub fn max_tokens(parameters: &Table) -> u64 {
    let limit = LIMITS.iter().find_map(|key| parameters.get(*key)?.as_integer());
    // A checked recipe has one, which is positive.
    limit.and_then(|limit| u64::try_from(limit).ok()).unwrap_or_default()
}

/// A part of `value` that JSON cannot say.
fn unsendable(value: &Value) -> Option<String> {
    match value {
        Value::Float(number) if !number.is_finite() => Some(value.to_string()),
        Value::Datetime(_) => Some(format!("the date {value}")),
        Value::Array(values) => values.iter().find_map(unsendable),
        Value::Table(values) => values.values().find_map(unsendable),
        _ => None,
    }
}
