//! What `tercet plan` finds out, as `--json` writes it (docs/know/formats.md); the table and the picture are drawn from
//! it.

use serde::Serialize;
use tercet_configs::{Device, Precision};

use super::flops::StepFlops;
use super::memory::{Fit, PeakMemory};
use super::time::{Compared, KindSecs, Rates, StepSecs};
use super::traffic::StepTraffic;

/// A whole plan. What could not be found out is absent, and `errors` says why.
#[derive(Debug, Clone, Serialize)]
pub struct Report {
    /// The recipe's name.
    pub recipe: String,
    /// Ranks.
    pub world_size: usize,
    /// Optimizer steps.
    pub steps: u64,
    /// What memory is estimated for.
    pub device: Device,
    /// What the encoder computes in there.
    pub precision: Precision,
    /// The model.
    pub model: Option<ModelReport>,
    /// Rows of all data sets.
    pub rows: u64,
    /// Steps of one pass over all rows as the data's mixture has them, phase by phase.
    pub steps_per_round: Vec<u64>,
    /// One for every data set and length group that has rows.
    pub cells: Vec<CellReport>,
    /// The run's steps by their longest texts, all data sets together.
    pub lengths: Vec<LengthReport>,
    /// The whole run.
    pub totals: Option<Totals>,
    /// What a rank computes at a time and keeps.
    pub fit: Fit,
    /// The largest rank of the largest step.
    pub memory: Option<PeakMemory>,
    /// The most that a rank's tensors have taken on its GPU in the run folder's run so far, to set beside it.
    pub measured_peak_bytes: Option<f64>,
    /// A rank's bytes per step, the mean over the run's steps.
    pub traffic: Option<StepTraffic>,
    /// What times rest on.
    pub rates: Option<Rates>,
    /// Steps that were timed on the card, beside what these rates say of them.
    pub compared: Vec<Compared>,
    /// The batches that were dealt to find all this.
    pub dealt_batches: Vec<StepReport>,
    /// What would waste, and what to do.
    pub warnings: Vec<String>,
    /// Why the run would fail.
    pub errors: Vec<String>,
}

/// The model's shape.
#[derive(Debug, Clone, Serialize)]
pub struct ModelReport {
    /// Encoder layers.
    pub num_layers: usize,
    /// Width of a hidden state.
    pub hidden_size: usize,
    /// Width of the feed-forward layer.
    pub intermediate_size: usize,
    /// Elements of all weights.
    pub num_parameters: u64,
}

/// One data set in one length group. Figures of a batch are means over its dealt batches, or over its length
/// group's where it has none.
#[derive(Debug, Clone, Serialize)]
pub struct CellReport {
    /// The data set.
    pub dataset: String,
    /// Rows have more tokens than this.
    pub above_tokens: usize,
    /// Rows have at most this number of tokens.
    pub up_to_tokens: usize,
    /// Rows.
    pub rows: u64,
    /// Rows that all ranks together take in one step.
    pub global_batch: u64,
    /// Whole batches in one pass over the data.
    pub batches_per_pass: u64,
    /// Steps of the run.
    pub steps: u64,
    /// How often each row is seen.
    pub passes: f64,
    /// How many of its batches were dealt.
    pub dealt_batches: usize,
    /// A batch.
    pub batch: Option<StepFigures>,
}

/// The steps of one length group.
#[derive(Debug, Clone, Serialize)]
pub struct LengthReport {
    /// Rows have more tokens than this.
    pub above_tokens: usize,
    /// Rows have at most this number of tokens.
    pub up_to_tokens: usize,
    /// Steps of the run.
    pub steps: u64,
    /// The mean step.
    pub batch: StepFigures,
    /// Its tokens, the ranks' mean.
    pub tokens_per_rank: f64,
    /// The same in a second; with rates.
    pub tokens_per_sec_per_rank: Option<f64>,
    /// The phase that takes most; with rates.
    pub longest_phase: Option<&'static str>,
}

/// A step of one cell.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
pub struct StepFigures {
    /// Passages per query.
    pub group_size: f64,
    /// Tokens, all ranks.
    pub tokens: f64,
    /// Most loaded rank's estimated cost over the mean.
    pub imbalance: f64,
    /// The rank that computes most.
    pub flops: StepFlops,
    /// A rank's bytes.
    pub traffic: StepTraffic,
    /// The share of the tokens whose graphs are kept, of the rank that computes most.
    pub kept_share: f64,
    /// With rates.
    pub secs: Option<StepSecs>,
    /// What the computing goes to; with a card's rates.
    pub by_kind: Option<KindSecs>,
    /// Three forward passes of all ranks, in the step's time, of the peak; with rates that have one.
    pub peak_share: Option<f64>,
    /// The largest rank's.
    pub peak_memory_bytes: f64,
}

/// A step that was dealt.
#[derive(Debug, Clone, Serialize)]
pub struct StepReport {
    /// Index in `cells`.
    pub cell: usize,
    /// Which of the cell's batches it is, from 0.
    pub nth: u64,
    /// What it costs.
    #[serde(flatten)]
    pub figures: StepFigures,
}

/// The whole run.
#[derive(Debug, Clone, Serialize)]
pub struct Totals {
    /// Passes over the data.
    pub epochs: f64,
    pub tokens: f64,
    /// Most loaded rank's cost over the mean, the mean over steps.
    pub imbalance: f64,
    /// Operations of the slowest ranks.
    pub flops_per_rank: f64,
    /// Bytes that a rank sends.
    pub sent_bytes_per_rank: f64,
    /// With rates.
    pub time: Option<TotalTime>,
}

/// The whole run's time.
#[derive(Debug, Clone, Serialize)]
pub struct TotalTime {
    /// The mean step.
    pub step_secs: f64,
    /// All steps, checkpoints not counted.
    pub secs: f64,
    /// `secs` times ranks, in hours.
    pub rank_hours: f64,
    /// Sums over the run's steps.
    pub parts: StepSecs,
    /// What the computing goes to, likewise; with a card's rates.
    pub by_kind: Option<KindSecs>,
    /// Three forward passes of all ranks, in the run's time, of the peak; with rates that have one.
    pub peak_share: Option<f64>,
}

impl StepFigures {
    /// The mean of `figures`; `None` without any.
    pub fn mean<'a>(figures: impl Iterator<Item = &'a StepFigures>) -> Option<Self> {
        Self::weighted_mean(figures.map(|own| (1.0, own)))
    }

    /// The mean of figures, each with its weight; `None` without any.
    pub fn weighted_mean<'a>(figures: impl Iterator<Item = (f64, &'a StepFigures)>) -> Option<Self> {
        let all: Vec<(f64, &StepFigures)> = figures.filter(|(times, _)| *times > 0.0).collect();
        let n: f64 = all.iter().map(|(times, _)| times).sum();
        let mean = |f: &dyn Fn(&StepFigures) -> f64| all.iter().map(|(times, own)| times * f(own)).sum::<f64>() / n;
        let (_, first) = all.first()?;
        let known = all.iter().filter_map(|(times, own)| Some((times / n, own.secs?)));
        let secs = StepSecs::weighted(known);
        let by_kind = all.iter().filter_map(|(times, own)| Some(own.by_kind? * (times / n)));
        // A share of the peak is a share of time.
        let peak = mean(&|f| f.peak_share.unwrap_or(0.0) * f.secs.map_or(0.0, |secs| secs.total()));
        Some(Self {
            group_size: mean(&|f| f.group_size),
            tokens: mean(&|f| f.tokens),
            imbalance: mean(&|f| f.imbalance),
            flops: StepFlops {
                forward: mean(&|f| f.flops.forward),
                recomputed: mean(&|f| f.flops.recomputed),
                backward: mean(&|f| f.flops.backward),
                scores: mean(&|f| f.flops.scores),
            },
            traffic: StepTraffic {
                all_reduce_bytes: mean(&|f| f.traffic.all_reduce_bytes),
                ring_bytes: mean(&|f| f.traffic.ring_bytes),
                ring_block_bytes: mean(&|f| f.traffic.ring_block_bytes),
                ring_gradient_bytes: mean(&|f| f.traffic.ring_gradient_bytes),
                ring_score_bytes: mean(&|f| f.traffic.ring_score_bytes),
                gather_bytes: mean(&|f| f.traffic.gather_bytes),
            },
            kept_share: mean(&|f| f.kept_share),
            secs: first.secs.map(|_| secs),
            by_kind: first.by_kind.and(by_kind.reduce(|sum, of| sum + of)),
            peak_share: first.peak_share.map(|_| peak / secs.total()),
            peak_memory_bytes: all.iter().map(|(_, f)| f.peak_memory_bytes).fold(0.0, f64::max),
        })
    }
}
