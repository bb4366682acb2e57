//! From dealt steps to the figures of cells and of the whole run.

use tercet_configs::{Device, ModelShape, Recipe};

use super::dealt::DealtStep;
use super::flops::{StepFlops, forward};
use super::memory::{PeakMemory, RankInStep};
use super::report::{CellReport, LengthReport, StepFigures, StepReport, TotalTime, Totals};
use super::time::{Rates, StepSecs, StepWork};
use super::traffic::StepTraffic;

/// What all steps of a run have in common.
pub struct Run<'a> {
    /// The recipe.
    pub recipe: &'a Recipe,
    /// The model; without one there are rows and tokens, but no costs.
    pub shape: Option<&'a ModelShape>,
    /// Where it computes.
    pub device: Device,
    /// W.
    pub world_size: usize,
    /// How fast.
    pub rates: Option<&'a Rates>,
}

impl Run<'_> {
    /// What each dealt step costs, and the most that a rank holds in any of them.
    pub fn steps(&self, dealt: &[DealtStep]) -> (Vec<StepReport>, Option<PeakMemory>) {
        let mut peak: Option<PeakMemory> = None;
        let reports = dealt.iter().map(|step| {
            let own = self.shape.and_then(|shape| self.peak(shape, step));
            let figures = self.figures(step, own.as_ref());
            if own.as_ref().map(|p| p.total_bytes) > peak.as_ref().map(|p| p.total_bytes) {
                peak = own;
            }
            StepReport { cell: step.cell, nth: step.nth, figures }
        });
        (reports.collect(), peak)
    }

    fn figures(&self, step: &DealtStep, peak: Option<&PeakMemory>) -> StepFigures {
        let work = self.shape.and_then(|shape| self.slowest(shape, step));
        let timed = self.rates.zip(work.as_ref()).map(|(rates, (work, _))| rates.step(work));
        let secs = timed.map(|(secs, _)| secs);
        let peak_share = self.rates.and_then(Rates::peak_flops_per_sec).zip(secs).zip(self.shape);
        let peak_share = peak_share.map(|((rate, secs), shape)| {
            let passes: f64 = step.ranks.iter().map(|rank| 3.0 * forward(shape, &rank.encoded)).sum();
            passes / (rate * secs.total() * self.world_size as f64)
        });
        let kept = work.as_ref().map_or(0.0, |(work, _)| work.load.kept.tokens / work.load.encoded.tokens.max(1.0));
        let (flops, traffic) = work.map(|(work, flops)| (flops, work.traffic)).unwrap_or_default();
        StepFigures {
            group_size: step.group_size as f64,
            tokens: step.tokens(),
            imbalance: step.imbalance,
            flops,
            traffic,
            kept_share: kept,
            secs,
            by_kind: timed.and_then(|(_, by_kind)| by_kind),
            peak_share,
            peak_memory_bytes: peak.map_or(0.0, |peak| peak.total_bytes),
        }
    }

    /// The work of the rank that computes most.
    fn slowest<'a>(&self, shape: &'a ModelShape, step: &'a DealtStep) -> Option<(StepWork<'a>, StepFlops)> {
        let Recipe { loss, optimizer, ring_precision, .. } = self.recipe;
        let masks = loss.mask_false_negatives;
        let traffic = StepTraffic::of(shape, &step.ranks, *ring_precision, step.two_way, masks);
        let num_global_passages = step.num_passages();
        let flops = step.ranks.iter().map(|load| (load, StepFlops::of(shape, load, num_global_passages)));
        let (load, flops) = flops.max_by(|a, b| a.1.total().total_cmp(&b.1.total()))?;
        let work = StepWork {
            shape,
            load,
            num_global_passages,
            traffic,
            world_size: self.world_size,
            shards_state: optimizer.shard_state,
            distils: loss.distils_in(self.at_step(step)),
        };
        Some((work, flops))
    }

    /// The step of the run that it stands for.
    fn at_step(&self, step: &DealtStep) -> u64 {
        (step.progress * self.recipe.steps as f64) as u64
    }

    /// The memory of the rank that needs most.
    fn peak(&self, shape: &ModelShape, step: &DealtStep) -> Option<PeakMemory> {
        let at_step = self.at_step(step);
        let peaks = step.ranks.iter().enumerate().map(|(rank, load)| {
            PeakMemory::of(&RankInStep {
                shape,
                device: self.device,
                world_size: self.world_size,
                load,
                num_global_passages: step.num_passages(),
                keeps_snapshot: rank == 0 && self.recipe.saves_under_way(),
                distils: self.recipe.loss.distils_in(at_step),
                shards_state: self.recipe.optimizer.shard_state,
            })
        });
        peaks.max_by(|a, b| a.total_bytes.total_cmp(&b.total_bytes))
    }

    /// Fills in the figures of the cells' batches; a cell without dealt steps takes those of all dealt steps of its
    /// lengths.
    pub fn fill(&self, cells: &mut [CellReport], steps: &[StepReport]) {
        let lengths: Vec<usize> = cells.iter().map(|cell| cell.up_to_tokens).collect();
        for (i, cell) in cells.iter_mut().enumerate() {
            cell.dealt_batches = steps.iter().filter(|step| step.cell == i).count();
            let own = steps.iter().filter(|step| match cell.dealt_batches {
                0 => lengths[step.cell] == cell.up_to_tokens,
                _ => step.cell == i,
            });
            cell.batch = StepFigures::mean(own.map(|step| &step.figures));
        }
    }

    /// The run's steps by their longest texts.
    pub fn lengths(&self, cells: &[CellReport]) -> Vec<LengthReport> {
        let mut taken: Vec<(&CellReport, &StepFigures)> =
            cells.iter().filter(|cell| cell.steps > 0).filter_map(|cell| Some((cell, cell.batch.as_ref()?))).collect();
        taken.sort_by_key(|(cell, _)| cell.up_to_tokens);
        let group = |cells: &[(&CellReport, &StepFigures)]| {
            let batch = StepFigures::weighted_mean(cells.iter().map(|(cell, batch)| (cell.steps as f64, *batch)))?;
            let tokens_per_rank = batch.tokens / self.world_size as f64;
            Some(LengthReport {
                above_tokens: cells.iter().map(|(cell, _)| cell.above_tokens).min()?,
                up_to_tokens: cells[0].0.up_to_tokens,
                steps: cells.iter().map(|(cell, _)| cell.steps).sum(),
                batch,
                tokens_per_rank,
                tokens_per_sec_per_rank: batch.secs.map(|secs| tokens_per_rank / secs.total()),
                longest_phase: batch.secs.map(|secs| secs.longest()),
            })
        };
        taken.chunk_by(|a, b| a.0.up_to_tokens == b.0.up_to_tokens).filter_map(group).collect()
    }

    /// Sums over the run's steps.
    pub fn totals(&self, cells: &[CellReport]) -> Option<(Totals, StepTraffic)> {
        let known: Vec<(f64, StepFigures)> =
            cells.iter().filter_map(|cell| Some((cell.steps as f64, cell.batch?))).collect();
        let steps: f64 = known.iter().map(|(steps, _)| steps).sum();
        if steps == 0.0 {
            return None;
        }
        let sum = |f: &dyn Fn(&StepFigures) -> f64| known.iter().map(|(steps, batch)| steps * f(batch)).sum::<f64>();
        let mean = |f: &dyn Fn(&StepFigures) -> f64| sum(f) / steps;
        let traffic = StepTraffic {
            all_reduce_bytes: mean(&|b| b.traffic.all_reduce_bytes),
            ring_bytes: mean(&|b| b.traffic.ring_bytes),
            ring_block_bytes: mean(&|b| b.traffic.ring_block_bytes),
            ring_gradient_bytes: mean(&|b| b.traffic.ring_gradient_bytes),
            ring_score_bytes: mean(&|b| b.traffic.ring_score_bytes),
            gather_bytes: mean(&|b| b.traffic.gather_bytes),
        };
        let tokens = sum(&|b| b.tokens);
        let seen: f64 = cells.iter().map(|cell| (cell.steps * cell.global_batch) as f64).sum();
        let rows: f64 = cells.iter().map(|cell| cell.rows as f64).sum();
        let totals = Totals {
            epochs: seen / rows.max(1.0),
            tokens,
            imbalance: mean(&|b| b.imbalance),
            flops_per_rank: sum(&|b| b.flops.total()),
            sent_bytes_per_rank: steps * traffic.sent_bytes(self.world_size),
            time: StepFigures::weighted_mean(known.iter().map(|(steps, batch)| (*steps, batch))).and_then(|mean| {
                let step_secs = mean.secs?.total();
                let secs = step_secs * steps;
                Some(TotalTime {
                    step_secs,
                    secs,
                    rank_hours: secs * self.world_size as f64 / 3600.0,
                    parts: StepSecs::weighted(std::iter::once((steps, mean.secs?))),
                    by_kind: mean.by_kind.map(|by_kind| by_kind * steps),
                    peak_share: mean.peak_share,
                })
            }),
        };
        Some((totals, traffic))
    }
}
