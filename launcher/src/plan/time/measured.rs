//! What `make test-gpu` measured on a card (report.json in its folder): rates instead of assumed ones, and steps to set
//! beside what the same arithmetic says of them.

use std::path::Path;

use serde::Serialize;
use serde_json::Value;
use tercet_configs::{EncoderConfig, ExitCode, LossSection, ModelSection, ModelShape, Pooling, Precision};
use tercet_protocol::says::Phase;
use tercet_protocol::says::bench_report::StepReport;
use tercet_protocol::says::card::{ATTENTION, COLLECTIVES, DEVICE, FORMAT, Figures, Report, SPEED, Timed};
use tercet_protocol::says::probe::Attention;
use tercet_sampler::{ShareLens, SubBatchLimit};

use super::cards::{Card, SHAPES_SHARE};
use super::speed::Speed;
use super::step::{StepSecs, StepWork};
use super::update;
use crate::exit::Fail;
use crate::plan::predicted::Predicted;
use crate::plan::traffic::StepTraffic;
use crate::plan::work::RankLoad;

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
    timed: Timed,
    /// Tokens of a passage, and the median step of one card.
    steps: Vec<(usize, StepReport)>,
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
        let text = tercet_configs::read_text(path).map_err(|error| refused(path, &error.to_string()))?;
        let is_none = "this is no report of `make test-gpu` (report.json in the folder that it names)";
        let report: Value = serde_json::from_str(&text).map_err(|_| refused(path, is_none))?;
        if report["parts"].as_array().is_none() {
            return Err(refused(path, is_none));
        }
        if report["format"] != FORMAT {
            let words = format!("the report's form is {}, and {FORMAT} is understood", report["format"]);
            return Err(refused(path, &words));
        }
        let report: Report =
            serde_json::from_value(report).map_err(|error| refused(path, &format!("{is_none}: {error}")))?;
        if report.small {
            return Err(refused(path, "the report is of toys (--small), which say nothing of a card"));
        }
        Ok(Self::of(&report))
    }

    fn of(report: &Report) -> Self {
        let shape = shape_of(report);
        let speed = report.figures(SPEED).into_iter().flat_map(|figures| &figures.bench);
        let rates = speed.clone().map(|(_, bench)| bench.peak_flops_per_sec);
        let is_timed = |step: &StepReport| step.tokens > 0.0 && step.step_secs > 0.0;
        let step = |len: &str, step: &StepReport| Some((len.parse().ok()?, step.clone()));
        let steps: Vec<(usize, StepReport)> = speed
            .clone()
            .filter(|(_, bench)| is_timed(&bench.median))
            .filter_map(|(len, bench)| step(len, &bench.median))
            .collect();
        let attention = report.figures(ATTENTION).into_iter().flat_map(|figures| &figures.attention);
        let mut attention: Vec<(f64, f64)> = attention.filter_map(attention_rate).collect();
        attention.sort_by(|a, b| a.0.total_cmp(&b.0));
        let updates = steps.iter().map(|(_, step)| step.secs_of(&[Phase::Optimizer])).filter(|secs| *secs > 0.0);
        let update = updates.reduce(f64::min);
        let card = report.figures(DEVICE).and_then(|figures| figures.card.clone());
        Self {
            driver_name: card.unwrap_or_default(),
            best_products: rates.reduce(f64::max).filter(|rate| *rate > 0.0),
            attention,
            // An update is nothing but traffic with the memory.
            memory: shape.as_ref().zip(update).map(|(shape, secs)| update::bytes(shape, 1, false) / secs),
            nvlink: report.figures(COLLECTIVES).and_then(slowest_link),
            timed: report.timed,
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
        let of = |(len, step): &(usize, StepReport)| compared(shape, self.timed, *len, step, speed);
        let mut all: Vec<Compared> = self.steps.iter().map(of).collect();
        all.sort_by_key(|step| step.len);
        all
    }
}

/// A step with passages of `len` tokens, measured and by arithmetic.
fn compared(shape: &ModelShape, timed: Timed, len: usize, step: &StepReport, speed: &Speed) -> Compared {
    let query = len.min(timed.query_len);
    let rows = (step.tokens / (query + timed.group_size * len) as f64).round().max(1.0) as usize;
    let passages = vec![len; timed.group_size * rows];
    let share = ShareLens { queries: vec![query; rows], passages, num_positives: rows };
    let kept = if step.secs_of(&[Phase::Recompute]) > 0.0 { 0 } else { usize::MAX };
    let limit = SubBatchLimit { tokens: timed.sub_batch_tokens, texts: 0 };
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
    let of_encoder = [Phase::Forward, Phase::Recompute, Phase::Backward, Phase::Heads];
    Compared {
        len,
        measured_tokens_per_sec: step.tokens / step.step_secs,
        predicted_tokens_per_sec: load.encoded.tokens / secs.total(),
        encoder_secs: [step.secs_of(&of_encoder), encoder],
        scoring_secs: [step.secs_of(&[Phase::Scoring, Phase::Loss]), secs.scoring_secs],
        update_secs: [step.secs_of(&[Phase::Optimizer]), secs.update_secs],
    }
}

/// In bfloat16 with dropout, as training attends: tokens of a text, operations per second.
fn attention_rate(found: &Attention) -> Option<(f64, f64)> {
    let trains = found.precision == Precision::Bf16 && found.dropout > 0.0;
    (trains && found.len > 0 && found.flops_per_sec > 0.0).then_some((found.len as f64, found.flops_per_sec))
}

/// The lowest of the ranks' rates.
fn slowest_link(figures: &Figures) -> Option<f64> {
    figures.all_reduce_bytes_per_sec.iter().copied().filter(|rate| *rate > 0.0).reduce(f64::min)
}

/// The model whose speed was measured.
fn shape_of(report: &Report) -> Option<ModelShape> {
    let config = EncoderConfig::from_json(report.config.clone()).ok()?;
    let (section, loss) = (ModelSection::default(), LossSection::default());
    Some(ModelShape::new(config, &section, &loss, Precision::Bf16, (true, Pooling::Cls)))
}

fn refused(path: &Path, why: &str) -> anyhow::Error {
    Fail::new(ExitCode::Usage, format!("--measured {}: {why}", path.display())).into()
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use tercet_configs::GpuKind;

    use super::*;
    use crate::plan::time::network::Network;

    /// As `tercet-test-gpu` writes it, of one length.
    fn report() -> Report {
        let step = json!({
            "tokens": 65_280.0, "step_secs": 1.5, "cpu_secs": 1.0, "tokens_per_sec": 43_520.0, "model_flops": 1e14,
            "peak_share": 0.3,
            "phase_secs": {"forward": 0.4, "recompute": 0.0, "backward": 0.8, "heads": 0.1, "scoring": 0.1,
                           "loss": 0.01, "optimizer": 0.05, "other": 0.04},
        });
        let bench = json!({
            "recipe": "speed-512-1", "world_size": 1, "threads": 1, "precision": "bf16", "num_parameters": 569e6,
            "peak_flops_per_sec": 260e12, "libtorch_flops_per_sec": 250e12, "median": step, "steps": [step],
            "peak_rss_bytes": 1e9,
        });
        let attention = |precision: &str, dropout: f64, len: usize, rate: f64| {
            json!({"precision": precision, "dropout": dropout, "len": len, "flops_per_sec": rate, "texts": 1,
                   "kernel": "flash", "first_secs": 0.1, "secs": 0.1})
        };
        let part = |name: &str, figures: Value| {
            json!({"name": name, "question": "?", "outcome": "ok", "why": [], "left_out": [], "secs": 1.0,
                   "limit_secs": 2, "figures": figures})
        };
        let report = json!({
            "format": FORMAT, "tercet": "0", "small": false, "all_right": true, "began": 0, "secs": 1.0,
            "shape": "XLM-RoBERTa-large", "cpu_numbers": {},
            "config": {
                "model_type": "xlm-roberta", "vocab_size": 250_002, "hidden_size": 1024, "num_hidden_layers": 24,
                "num_attention_heads": 16, "intermediate_size": 4096, "max_position_embeddings": 8194,
                "pad_token_id": 1, "type_vocab_size": 1,
            },
            "timed": {"query_len": 64, "group_size": 2, "sub_batch_tokens": 16_384},
            "parts": [
                part("device", json!({"card": "NVIDIA A100-SXM4-80GB", "num_gpus": 8})),
                part("attention", json!({"attention": [
                    attention("bf16", 0.1, 8192, 150e12), attention("bf16", 0.1, 64, 20e12),
                    attention("bf16", 0.0, 64, 30e12), attention("fp32", 0.1, 64, 1e12),
                ]})),
                part("collectives", json!({"all_reduce_bytes_per_sec": [231.0e9, 229.5e9]})),
                part("speed", json!({"bench": {"512": bench}})),
            ],
        });
        serde_json::from_value(report).unwrap()
    }

    fn speed(measured: &Measured) -> Speed {
        let card = measured.card().unwrap();
        let network = Network::of([1e9, 1e9], 1, 8);
        measured.instead_of(Speed::assumed(&card, network), false)
    }

    #[test]
    fn rates_that_were_measured_replace_those_that_are_assumed() {
        let measured = Measured::of(&report());
        assert_eq!((measured.card().unwrap().kind, measured.nvlink()), (GpuKind::A100Of80, Some(229.5e9)));
        let speed = speed(&measured);
        assert_eq!(speed.product_flops_per_sec, 0.85 * 260e12);
        assert_eq!(speed.attention_flops_per_sec, [(64.0, 20e12), (8192.0, 150e12)]);
        // 38 bytes of 569 million weights in 50 ms.
        assert!((4.3e11..4.35e11).contains(&speed.memory_bytes_per_sec), "{speed:?}");
        assert_eq!(speed.measured, ["matrix products", "attention", "memory", "links between cards"]);
        let nothing = Measured::of(&Report { parts: Vec::new(), ..report() });
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
        assert!(refused("{\"parts\": [], \"format\": 9}").contains("form is 9, and 2 is understood"));
        assert!(refused("{\"parts\": [], \"format\": 2}").contains("missing field"));
        let written = |report: &Report| serde_json::to_string(report).unwrap();
        assert!(refused(&written(&Report { small: true, ..report() })).contains("toys"));
        std::fs::write(&path, written(&report())).unwrap();
        assert_eq!(Measured::read(&path).unwrap().driver_name, "NVIDIA A100-SXM4-80GB");
        let absent = Measured::read(&dir.path().join("absent")).unwrap_err();
        assert_eq!(crate::exit::code_of(&absent), 2);
    }
}
