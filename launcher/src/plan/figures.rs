//! From dealt steps to the figures of cells and of the whole run.

use tercet_configs::{Device, ModelShape, Recipe};

use super::dealt::DealtStep;
use super::memory::{Holder, PeakMemory};
use super::report::{CellReport, StepFigures, StepReport, TotalTime, Totals};
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
    pub rates: Option<Rates>,
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
        let (flops, traffic) = work.map(|work| (work.flops, work.traffic)).unwrap_or_default();
        StepFigures {
            group_size: step.group_size as f64,
            tokens: step.tokens(),
            imbalance: step.imbalance,
            flops,
            traffic,
            secs: self.rates.zip(work).map(|(rates, work)| rates.step(&work)),
            peak_memory_bytes: peak.map_or(0.0, |peak| peak.total_bytes),
        }
    }

    /// The work of the rank that computes most.
    fn slowest(&self, shape: &ModelShape, step: &DealtStep) -> Option<StepWork> {
        let Recipe { loss, optimizer, .. } = self.recipe;
        let traffic = StepTraffic::of(shape, &step.ranks, step.two_way, loss.mask_false_negatives);
        let of = |rank| {
            let (passages, sent) = (step.num_passages(), (traffic, self.world_size));
            StepWork::of(shape, rank, passages, sent, optimizer.shard_state)
        };
        step.ranks.iter().map(of).max_by(|a, b| a.flops.total().total_cmp(&b.flops.total()))
    }

    /// Of the rank that needs most.
    fn peak(&self, shape: &ModelShape, step: &DealtStep) -> Option<PeakMemory> {
        let at_step = (step.progress * self.recipe.steps as f64) as u64;
        let peaks = step.ranks.iter().enumerate().map(|(rank, load)| {
            PeakMemory::of(&Holder {
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
            time: self.rates.filter(|_| self.shape.is_some()).map(|_| {
                let secs = |f: &dyn Fn(&StepSecs) -> f64| sum(&|b| b.secs.as_ref().map_or(0.0, f));
                let parts = StepSecs {
                    compute_secs: secs(&|s| s.compute_secs),
                    ring_secs: secs(&|s| s.ring_secs),
                    all_reduce_secs: secs(&|s| s.all_reduce_secs),
                    update_secs: secs(&|s| s.update_secs),
                };
                let total = parts.total();
                let rank_hours = total * self.world_size as f64 / 3600.0;
                TotalTime { step_secs: total / steps, secs: total, rank_hours, parts }
            }),
        };
        Some((totals, traffic))
    }
}
