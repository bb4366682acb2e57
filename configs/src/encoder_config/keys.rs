//! Reads the keys of a config.json that are numbers.

use serde_json::{Map, Value};

/// A larger size is certainly wrong, and computing with it would overflow.
const MAX_SIZE: u64 = 1 << 28;

/// The keys of a config.json; missing ones have Hugging Face's defaults.
pub(super) struct Keys<'a> {
    pub raw: &'a Map<String, Value>,
    /// The missing keys, with their defaults.
    pub defaults: Vec<String>,
}

impl Keys<'_> {
    /// The value of `key`; if it is missing, none, and the default is noted.
    fn get(&mut self, key: &str, default: &str) -> Option<&Value> {
        if !self.raw.contains_key(key) {
            self.defaults.push(format!("{key} ({default})"));
        }
        self.raw.get(key)
    }

    pub fn size(&mut self, key: &str, default: usize) -> Result<usize, String> {
        let Some(value) = self.get(key, &default.to_string()) else { return Ok(default) };
        match value.as_u64() {
            Some(n) if (1..=MAX_SIZE).contains(&n) => Ok(n as usize),
            _ => Err(format!("{key} is {value}: a whole number from 1 to {MAX_SIZE} is expected")),
        }
    }

    pub fn real(&mut self, key: &str, default: f64, below: f64) -> Result<f64, String> {
        let Some(value) = self.get(key, &default.to_string()) else { return Ok(default) };
        match value.as_f64() {
            Some(x) if (0.0..below).contains(&x) => Ok(x),
            _ if below == 1.0 => Err(format!("{key} is {value}: a number from 0 to below 1 is expected")),
            _ => Err(format!("{key} is {value}: a number of at least 0 is expected")),
        }
    }

    pub fn pad_token_id(&mut self, default: usize) -> Result<usize, String> {
        let key = "pad_token_id";
        match self.get(key, &default.to_string()) {
            None => Ok(default),
            Some(Value::Null) if default == 0 => Ok(0),
            Some(Value::Null) => Err(format!(
                "{key} is null: positions are counted from it, so write the padding token's id ({default})"
            )),
            Some(value) => match value.as_u64() {
                Some(n) if n <= MAX_SIZE => Ok(n as usize),
                _ => Err(format!("{key} is {value}: a token's id is expected")),
            },
        }
    }
}
