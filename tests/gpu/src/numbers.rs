//! The CPU's numbers that a GPU's are compared with: cpu-numbers.json, which lies in the repository and in this
//! program.
//!
//! `tercet-test-gpu --write-cpu-numbers tests/gpu/cpu-numbers.json` makes it on a machine without a GPU.

use std::collections::BTreeMap;

use anyhow::Context;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// Digits of a number that are kept: a tenth of what float64 is compared to.
const DIGITS: usize = 13;

/// What a CPU has computed.
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct CpuNumbers {
    /// How, when and on what.
    pub made: BTreeMap<String, String>,
    /// Reports of `tercet step`, by case and precision.
    pub steps: BTreeMap<String, BTreeMap<String, Value>>,
    /// Losses and gradient norms of every step of a run, by precision.
    pub training: BTreeMap<String, Vec<[f64; 2]>>,
}

impl CpuNumbers {
    /// Those of the repository.
    ///
    /// # Errors
    /// The file was spoilt.
    pub fn kept() -> anyhow::Result<Self> {
        serde_json::from_str(include_str!("../cpu-numbers.json")).context("reading cpu-numbers.json")
    }

    /// A case's report.
    ///
    /// # Errors
    /// There is none: the file is older than the case.
    pub fn step(&self, case: &str, precision: &str) -> anyhow::Result<&Value> {
        let report = self.steps.get(case).and_then(|case| case.get(precision));
        report.with_context(|| format!("cpu-numbers.json has no {case} in {precision}: it must be made anew"))
    }

    /// As it is written.
    ///
    /// # Errors
    /// It cannot be JSON.
    pub fn text(&self) -> anyhow::Result<String> {
        let mut value = serde_json::to_value(self)?;
        shorten(&mut value);
        // A line for each case and precision: short enough to be looked at, long enough for a diff.
        let mut text = format!("{{\n\"made\": {},\n\"steps\": {{\n", serde_json::to_string_pretty(&value["made"])?);
        let cases = value["steps"].as_object().context("no steps")?;
        let case = |(name, reports): (&String, &Value)| -> anyhow::Result<String> {
            let reports = reports.as_object().context("no reports")?.iter();
            let lines: Vec<String> = reports.map(|(precision, report)| format!("  {precision:?}: {report}")).collect();
            Ok(format!("{name:?}: {{\n{}\n}}", lines.join(",\n")))
        };
        text += &cases.iter().map(case).collect::<anyhow::Result<Vec<_>>>()?.join(",\n");
        text += "\n},\n\"training\": {\n";
        let runs = value["training"].as_object().context("no training")?.iter();
        text += &runs.map(|(precision, steps)| format!("  {precision:?}: {steps}")).collect::<Vec<_>>().join(",\n");
        Ok(text + "\n}\n}\n")
    }
}

/// Leaves every number as many digits as are compared.
fn shorten(value: &mut Value) {
    match value {
        Value::Number(number) if number.is_f64() => {
            let short = number.as_f64().and_then(|number| format!("{number:.DIGITS$e}").parse::<f64>().ok());
            if let Some(short) = short.and_then(serde_json::Number::from_f64) {
                *number = short;
            }
        }
        Value::Array(all) => all.iter_mut().for_each(shorten),
        Value::Object(all) => all.values_mut().for_each(shorten),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_again() {
        let mut numbers = CpuNumbers::default();
        numbers.made.insert("by".into(), "a \"test\"".into());
        let report = serde_json::json!({"loss": 1.0 / 3.0, "world_size": 1});
        numbers.steps.insert("a, b".into(), [("fp64".to_owned(), report)].into());
        numbers.training.insert("fp32".into(), vec![[1.5, 2.0]]);
        let read: CpuNumbers = serde_json::from_str(&numbers.text().unwrap()).unwrap();
        let loss = read.step("a, b", "fp64").unwrap()["loss"].as_f64().unwrap();
        assert!((loss - 1.0 / 3.0).abs() < 1e-13 && read.training["fp32"] == [[1.5, 2.0]]);
        assert!(read.step("a, b", "bf16").is_err());
    }
}
