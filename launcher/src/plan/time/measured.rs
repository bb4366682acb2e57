//! What `make test-gpu` measured on a card (report.json in its folder): rates instead of assumed ones, and steps to set
//! beside what the same arithmetic says of them.

use std::path::Path;

use serde::Serialize;
use serde_json::{Map, Value, json};
use tercet_configs::{EncoderConfig, ExitCode, LossSection, ModelSection, ModelShape, Pooling, Precision};
use tercet_sampler::{ShareLens, SubBatchLimit};

use super::cards::{Card, SHAPES_SHARE};
use super::speed::Speed;
use super::step::{StepSecs, StepWork};
use super::update;
use crate::exit::Fail;
use crate::plan::load::RankLoad;
use crate::plan::predicted::Predicted;
use crate::plan::traffic::StepTraffic;

/// The report's form that is understood.
const FORMAT: u64 = 1;
/// Tokens of a query, and passages of a row, in the steps that it times (`tests/gpu/src/parts/speed.rs`).
const QUERY_LEN: usize = 64;
const GROUP_SIZE: usize = 2;
/// Tokens of their sub-batches (`tests/gpu/src/sizes.rs`).
const SUB_BATCH_TOKENS: usize = 16_384;

/// A report.
#[derive(Debug, Clone)]
pub struct Measured {
    /// The card, as the driver calls it.
    pub driver_name: String,
    /// The model whose steps were timed.
    shape: Option<ModelShape>,
    best_products: Option<f64>,
    attention: Vec<(f64, f64)>,
    memory: Option<f64>,
    nvlink: Option<f64>,
    steps: Vec<Timed>,
}

/// A step that was timed on one card.
#[derive(Debug, Clone)]
struct Timed {
    len: usize,
    tokens: f64,
    secs: f64,
    phase_secs: Map<String, Value>,
}

/// A step that was timed, and what the arithmetic says of it with the rates that were measured.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Compared {
    /// Tokens of a passage.
    pub len: usize,
    /// Tokens per second on one card.
    pub measured_tokens_per_sec: f64,
    /// The same by arithmetic.
    pub predicted_tokens_per_sec: f64,
    /// Encoder and heads, seconds measured and by arithmetic.
    pub encoder_secs: [f64; 2],
    /// Scores and loss.
    pub scoring_secs: [f64; 2],
    /// Clipping and AdamW.
    pub update_secs: [f64; 2],
}

impl Measured {
    /// Reads a report.
    ///
    /// # Errors
    /// A file that cannot be read or is none, or a report of toys.
    pub fn read(path: &Path) -> anyhow::Result<Self> {
        let text = std::fs::read_to_string(path).map_err(|error| refused(path, &error.to_string()))?;
        let is_none = "this is no report of `make test-gpu` (report.json in the folder that it names)";
        let report: Value = serde_json::from_str(&text).map_err(|_| refused(path, is_none))?;
        if report["parts"].as_array().is_none() {
            return Err(refused(path, is_none));
        }
        if report["format"] != FORMAT {
            let words = format!("the report's form is {}, and {FORMAT} is understood", report["format"]);
            return Err(refused(path, &words));
        }
        if report["small"] != false {
            return Err(refused(path, "the report is of toys (--small), which say nothing of a card"));
        }
        Ok(Self::of(&report))
    }

    fn of(report: &Value) -> Self {
        let part = |name: &str| {
            let parts = report["parts"].as_array().into_iter().flatten();
            parts.into_iter().find(|part| part["name"] == name).map_or(&Value::Null, |part| &part["figures"])
        };
        let shape = report["shape"].as_str().and_then(shape_named);
        let bench = &part("speed")["bench"];
        let steps: Vec<Timed> =
            bench.as_object().into_iter().flatten().filter_map(|(len, bench)| Timed::of(len, bench)).collect();
        let rate = |bench: &Value| bench["peak_flops_per_sec"].as_f64();
        let rates = bench.as_object().into_iter().flatten().filter_map(|(_, bench)| rate(bench));
        let mut attention: Vec<(f64, f64)> =
            part("attention")["attention"].as_array().into_iter().flatten().filter_map(attention_rate).collect();
        attention.sort_by(|a, b| a.0.total_cmp(&b.0));
        let updates = steps.iter().filter_map(|step| step.phase("optimizer").filter(|secs| *secs > 0.0));
        let update = updates.reduce(f64::min);
        Self {
            driver_name: driver_name(part("device")["nvidia_smi"].as_str().unwrap_or_default()),
            best_products: rates.reduce(f64::max).filter(|rate| *rate > 0.0),
            attention,
            // An update is nothing but traffic with the memory.
            memory: shape.as_ref().zip(update).map(|(shape, secs)| update::bytes(shape, 1, false) / secs),
            nvlink: slowest_link(&part("collectives")["bandwidth"]),
            steps,
            shape,
        }
    }

    /// The card that it is of, if that is a kind that is known.
    pub fn card(&self) -> Option<Card> {
        Card::of_driver(&self.driver_name)
    }

    /// `assumed`, with what was measured in its place; a network that was given is left.
    pub fn instead_of(&self, assumed: Speed, network_is_given: bool) -> Speed {
        let mut speed = assumed;
        let mut measured = Vec::new();
        if let Some(rate) = self.best_products {
            speed.product_flops_per_sec = SHAPES_SHARE * rate;
            measured.push("matrix products");
        }
        if !self.attention.is_empty() {
            speed.attention_flops_per_sec.clone_from(&self.attention);
            measured.push("attention");
        }
        if let Some(rate) = self.memory {
            speed.memory_bytes_per_sec = rate;
            measured.push("memory");
        }
        if self.nvlink.is_some() && !network_is_given {
            measured.push("links between cards");
        }
        Speed { measured, ..speed }
    }

    /// Bytes per second to the other cards of a machine, where they were measured.
    pub fn nvlink(&self) -> Option<f64> {
        self.nvlink
    }

    /// The steps that were timed beside `speed`'s arithmetic, shortest texts first.
    pub fn compared(&self, speed: &Speed) -> Vec<Compared> {
        let Some(shape) = &self.shape else { return Vec::new() };
        let mut all: Vec<Compared> = self.steps.iter().map(|step| step.compared(shape, speed)).collect();
        all.sort_by_key(|step| step.len);
        all
    }
}

impl Timed {
    fn of(len: &str, bench: &Value) -> Option<Self> {
        let median = &bench["median"];
        let step = Self {
            len: len.parse().ok()?,
            tokens: median["tokens"].as_f64()?,
            secs: median["step_secs"].as_f64()?,
            phase_secs: median["phase_secs"].as_object()?.clone(),
        };
        (step.tokens > 0.0 && step.secs > 0.0).then_some(step)
    }

    fn phase(&self, name: &str) -> Option<f64> {
        self.phase_secs.get(name)?.as_f64()
    }

    fn phases(&self, names: &[&str]) -> f64 {
        names.iter().filter_map(|name| self.phase(name)).sum()
    }

    fn compared(&self, shape: &ModelShape, speed: &Speed) -> Compared {
        let query = self.len.min(QUERY_LEN);
        let rows = (self.tokens / (query + GROUP_SIZE * self.len) as f64).round().max(1.0) as usize;
        let share =
            ShareLens { queries: vec![query; rows], passages: vec![self.len; GROUP_SIZE * rows], num_positives: rows };
        let kept = if self.phases(&["recompute"]) > 0.0 { 0 } else { usize::MAX };
        let limit = SubBatchLimit { tokens: SUB_BATCH_TOKENS, texts: 0 };
        let mut load = RankLoad::new(&share, limit, kept, |_| Predicted::default());
        load.query_vocabulary = load.query_vectors;
        let work = StepWork {
            shape,
            load: &load,
            num_global_passages: load.num_passages,
            traffic: StepTraffic::default(),
            world_size: 1,
            shards_state: false,
            distils: false,
        };
        let secs = StepSecs::of(&work, &speed.computed(&work), &speed.network);
        let encoder = secs.forward_secs + secs.recompute_secs + secs.backward_secs;
        Compared {
            len: self.len,
            measured_tokens_per_sec: self.tokens / self.secs,
            predicted_tokens_per_sec: load.encoded.tokens / secs.total(),
            encoder_secs: [self.phases(&["forward", "recompute", "backward", "heads"]), encoder],
            scoring_secs: [self.phases(&["scoring", "loss"]), secs.scoring_secs],
            update_secs: [self.phases(&["optimizer"]), secs.update_secs],
        }
    }
}

/// In bfloat16 with dropout, as training attends: tokens of a text, operations per second.
fn attention_rate(found: &Value) -> Option<(f64, f64)> {
    let trains = found["precision"] == "bf16" && found["dropout"].as_f64()? > 0.0;
    let (len, rate) = (found["len"].as_f64()?, found["flops_per_sec"].as_f64()?);
    (trains && len > 0.0 && rate > 0.0).then_some((len, rate))
}

/// The first card's name in what `nvidia-smi --query-gpu=name,… --format=csv` says.
fn driver_name(csv: &str) -> String {
    csv.lines().nth(1).and_then(|line| line.split(',').next()).unwrap_or_default().trim().to_owned()
}

/// The lowest of the ranks' `…: 231.4 GB/s`.
fn slowest_link(lines: &Value) -> Option<f64> {
    let rate = |line: &Value| line.as_str()?.strip_suffix("GB/s")?.rsplit(':').next()?.trim().parse::<f64>().ok();
    let rates = lines.as_array()?.iter().filter_map(rate).filter(|rate| *rate > 0.0);
    rates.reduce(f64::min).map(|rate| rate * 1e9)
}

/// The models whose speed `tercet-test-gpu` measures (`tests/gpu/src/sizes.rs`).
fn shape_named(name: &str) -> Option<ModelShape> {
    let (layers, width, heads) = match name {
        "XLM-RoBERTa-large" => (24, 1024, 16),
        "XLM-RoBERTa-base" => (12, 768, 12),
        "half of XLM-RoBERTa-base" => (6, 384, 6),
        _ => return None,
    };
    let config = json!({
        "model_type": "xlm-roberta", "vocab_size": 250_002, "hidden_size": width, "num_hidden_layers": layers,
        "num_attention_heads": heads, "intermediate_size": 4 * width, "max_position_embeddings": 8194,
        "pad_token_id": 1, "type_vocab_size": 1,
    });
    let config = EncoderConfig::from_json(config.as_object()?.clone()).ok()?;
    let (section, loss) = (ModelSection::default(), LossSection::default());
    Some(ModelShape::new(config, &section, &loss, Precision::Bf16, (true, Pooling::Cls)))
}

fn refused(path: &Path, why: &str) -> anyhow::Error {
    Fail::new(ExitCode::Usage, format!("--measured {}: {why}", path.display())).into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::time::network::Network;

    /// As `tercet-test-gpu` writes it, of one length.
    fn report() -> Value {
        let bench = json!({
            "peak_flops_per_sec": 260e12,
            "median": {
                "tokens": 65_280.0, "step_secs": 1.5, "tokens_per_sec": 43_520.0,
                "phase_secs": {"forward": 0.4, "recompute": 0.0, "backward": 0.8, "heads": 0.1, "scoring": 0.1,
                               "loss": 0.01, "optimizer": 0.05, "other": 0.04},
            },
        });
        let attention = |precision: &str, dropout: f64, len: usize, rate: f64| json!({"precision": precision, "dropout": dropout, "len": len, "flops_per_sec": rate});
        json!({
            "format": 1, "small": false, "shape": "XLM-RoBERTa-large",
            "parts": [
                {"name": "device", "figures": {"nvidia_smi": "name, driver\nNVIDIA A100-SXM4-80GB, 580\n"}},
                {"name": "attention", "figures": {"attention": [
                    attention("bf16", 0.1, 8192, 150e12), attention("bf16", 0.1, 64, 20e12),
                    attention("bf16", 0.0, 64, 30e12), attention("fp32", 0.1, 64, 1e12),
                ]}},
                {"name": "collectives", "figures": {"bandwidth": [
                    "rank 0: all-reduce of 256 MiB over 8 GPUs: 231.0 GB/s",
                    "rank 1: all-reduce of 256 MiB over 8 GPUs: 229.5 GB/s",
                ]}},
                {"name": "speed", "figures": {"bench": {"512": bench}}},
            ],
        })
    }

    fn speed(measured: &Measured) -> Speed {
        let card = measured.card().unwrap();
        let network = Network::of([1e9, 1e9], 1, 8);
        measured.instead_of(Speed::assumed(&card, network), false)
    }

    #[test]
    fn rates_that_were_measured_replace_those_that_are_assumed() {
        let measured = Measured::of(&report());
        assert_eq!((measured.card().unwrap().name, measured.nvlink()), ("a100-80", Some(229.5e9)));
        let speed = speed(&measured);
        assert_eq!(speed.product_flops_per_sec, 0.85 * 260e12);
        assert_eq!(speed.attention_flops_per_sec, [(64.0, 20e12), (8192.0, 150e12)]);
        // 38 bytes of 569 million weights in 50 ms.
        assert!((4.3e11..4.35e11).contains(&speed.memory_bytes_per_sec), "{speed:?}");
        assert_eq!(speed.measured, ["matrix products", "attention", "memory", "links between cards"]);
        let nothing = Measured::of(&json!({"parts": []}));
        assert!(nothing.card().is_none() && nothing.nvlink().is_none());
    }

    #[test]
    fn a_timed_step_has_the_arithmetic_beside_it() {
        let measured = Measured::of(&report());
        let compared = measured.compared(&speed(&measured));
        let [step] = compared.as_slice() else { panic!("{compared:?}") };
        assert_eq!((step.len, step.measured_tokens_per_sec), (512, 43_520.0));
        assert!((step.encoder_secs[0] - 1.3).abs() < 1e-12 && (step.scoring_secs[0] - 0.11).abs() < 1e-12);
        // The update is what the memory's rate was taken from.
        assert!((step.update_secs[1] / step.update_secs[0] - 1.0).abs() < 1e-9, "{step:?}");
        assert!(step.predicted_tokens_per_sec > 20_000.0 && step.predicted_tokens_per_sec < 120_000.0, "{step:?}");
    }

    #[test]
    fn what_is_no_report_is_refused_with_what_it_should_be() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("report.json");
        let refused = |text: &str| {
            std::fs::write(&path, text).unwrap();
            Measured::read(&path).unwrap_err().to_string()
        };
        assert!(refused("hello").contains("report.json: this is no report of `make test-gpu`"));
        assert!(refused("{\"a\": 1}").contains("this is no report"));
        assert!(refused("{\"parts\": [], \"format\": 9, \"small\": false}").contains("form is 9, and 1 is understood"));
        assert!(refused("{\"parts\": [], \"format\": 1, \"small\": true}").contains("toys"));
        std::fs::write(&path, report().to_string()).unwrap();
        assert_eq!(Measured::read(&path).unwrap().driver_name, "NVIDIA A100-SXM4-80GB");
        let absent = Measured::read(&dir.path().join("absent")).unwrap_err();
        assert_eq!(crate::exit::code_of(&absent), 2);
    }
}
