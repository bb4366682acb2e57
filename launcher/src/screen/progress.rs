//! What a user sees of a training run: a bar on a terminal, plain lines in a log. All of it on standard error.

use std::time::{Duration, Instant};

use tercet_configs::EvalSection;
use tercet_protocol::says::{EvalRecord, Event, StepRecord};

use super::Screen;
use crate::plan::scaled;

/// What there is to say of the last evaluation.
#[derive(Debug)]
struct Evaluated {
    /// `dense ndcg@10 0.3120`
    figure: Option<String>,
    secs_so_far: f64,
}

/// Follows a run by its events.
#[derive(Debug)]
pub struct Progress {
    screen: Screen,
    every_steps: u64,
    /// When the ranks that run now began, and from which step.
    started: Instant,
    first_step: u64,
    /// The same of the launcher's first ranks.
    begun: Option<(Instant, u64)>,
    last_step: u64,
    seen_step: u64,
    goodput: Option<f64>,
    /// What the last evaluation found, and how long all of them have taken.
    evaluated: Option<Evaluated>,
    restarts: u32,
    /// Steps that had to be done again.
    lost_steps: u64,
    /// The last step's line; on a terminal it stays when the bar goes.
    last_line: String,
}

impl Progress {
    /// Without a terminal, every `every_steps`-th step gets a line (0: only the last).
    pub fn new(screen: Screen, every_steps: u64) -> Self {
        Self {
            screen,
            every_steps,
            started: Instant::now(),
            first_step: 0,
            begun: None,
            last_step: 0,
            seen_step: 0,
            goodput: None,
            evaluated: None,
            restarts: 0,
            lost_steps: 0,
            last_line: String::new(),
        }
    }

    /// The ranks have been started again; `lost_steps` steps have to be done again.
    pub fn restarted(&mut self, lost_steps: u64) {
        self.restarts += 1;
        self.lost_steps += lost_steps;
    }

    /// Takes an event.
    pub fn event(&mut self, event: Event) {
        match event {
            Event::Heartbeat(_) => {}
            Event::Stopped { step } => self.screen.say(&format!("stopped after step {step}\n")),
            Event::Start { run_dir, first_step, last_step, world_size, warnings, .. } => {
                (self.started, self.first_step, self.last_step) = (Instant::now(), first_step, last_step);
                self.begun.get_or_insert((self.started, first_step));
                let ranks = if world_size == 1 { "rank" } else { "ranks" };
                let from = if first_step == 0 { String::new() } else { format!(" from step {first_step}") };
                self.screen.say(&format!("training{from} to step {last_step} on {world_size} {ranks}\n"));
                self.screen.say(&format!("run folder {}\n", run_dir.display()));
                for warning in warnings {
                    self.screen.say(&format!("warning: {warning}\n"));
                }
                self.screen.open_bar(last_step);
            }
            Event::Step(step) => self.step(&step),
            Event::Evaluating { step } => self.evaluating(step),
            Event::Evaluated { record, shown, best } => self.evaluated(&record, &shown, best),
            Event::Warning { text } => self.screen.say(&format!("warning: {text}\n")),
            Event::Checkpoint { path, .. } => self.screen.say(&format!("checkpoint {}\n", path.display())),
            Event::End { run_dir, steps, early } => {
                self.screen.close_bar();
                if self.screen.is_terminal() && !self.last_line.is_empty() {
                    self.screen.say(&format!("{}\n", self.last_line));
                }
                if let Some(why) = early {
                    self.screen.say(&format!("ended after step {steps}: {why}\n"));
                }
                self.screen.say(&format!("{}, run folder {}\n", self.summary(), run_dir.display()));
            }
        }
    }

    /// `600 steps in 3m10s, goodput 93.1 %, evaluations 12s, 2 restarts (17 steps done again)`
    fn summary(&self) -> String {
        let (begun, first_step) = self.begun.unwrap_or((self.started, self.first_step));
        let steps = self.seen_step.saturating_sub(first_step);
        let mut parts = vec![format!("{steps} steps in {}", short(begun.elapsed()))];
        parts.extend(self.goodput.map(|share| format!("goodput {:.1} %", share * 100.0)));
        let secs = self.evaluated.as_ref().map(|evaluated| Duration::from_secs_f64(evaluated.secs_so_far));
        parts.extend(secs.map(|secs| format!("evaluations {}", short(secs))));
        if self.restarts > 0 {
            let restarts = if self.restarts == 1 { "restart" } else { "restarts" };
            parts.push(format!("{} {restarts} ({} steps done again)", self.restarts, self.lost_steps));
        }
        parts.join(", ")
    }

    fn step(&mut self, step: &StepRecord) {
        (self.seen_step, self.goodput) = (step.step, known(step.goodput).or(self.goodput));
        let figure = self.evaluated.as_ref().and_then(|evaluated| evaluated.figure.as_deref());
        let text = describe(step, self.last_step, figure, self.time_left());
        if self.screen.is_terminal() {
            self.last_line = describe(step, self.last_step, figure, None);
            self.screen.move_bar(step.step, text);
        } else if step.step == self.last_step || (self.every_steps > 0 && step.step.is_multiple_of(self.every_steps)) {
            self.screen.say(&format!("{text}\n"));
        }
    }

    /// The bar stands still meanwhile, and says why.
    fn evaluating(&self, step: u64) {
        if self.screen.is_terminal() {
            self.screen.move_bar(step, format!("step {step}/{}  evaluating", self.last_step));
        }
    }

    fn evaluated(&mut self, record: &EvalRecord, shown: &str, best: bool) {
        self.screen.say(&format!("{}\n", evaluation(record, best.then_some(shown))));
        let name = format!("{}{shown}", EvalRecord::BEGINNING);
        let figure = record.figures.get(&name).map(|figure| format!("{} {figure:.4}", words(&name)));
        self.evaluated = Some(Evaluated { figure, secs_so_far: record.eval_secs_so_far });
    }

    /// From the mean of this run's steps: single steps differ by an order of magnitude between length groups.
    fn time_left(&self) -> Option<Duration> {
        let done = self.seen_step.checked_sub(self.first_step).filter(|done| *done > 0)?;
        let left = self.last_step.checked_sub(self.seen_step)?;
        Some(self.started.elapsed().mul_f64(left as f64 / done as f64))
    }
}

/// `step 120/600  loss 1.234  lr 4.20e-4  812 tok/s  dense ndcg@10 0.3120  left 3m10s`
fn describe(step: &StepRecord, last_step: u64, figure: Option<&str>, left: Option<Duration>) -> String {
    let width = last_step.to_string().len();
    let mut parts = vec![format!("step {:>width$}/{last_step}", step.step)];
    parts.extend(known(step.loss).map(|loss| format!("loss {loss:.4}")));
    parts.extend(known(step.learning_rate).map(|rate| format!("lr {rate:.2e}")));
    parts.extend(known(step.tokens_per_sec).map(|rate| format!("{rate:.0} tok/s")));
    parts.extend(step.device_peak_bytes.map(|bytes| format!("GPU {}", scaled(bytes as f64, "B"))));
    parts.extend(figure.map(str::to_owned));
    parts.extend(left.map(|left| format!("left {}", short(left))));
    parts.join("  ")
}

/// `evaluated step 120 in 9s: dense ndcg@10 0.3120  lexical ndcg@10 0.2804 …  (the best so far by mean/dense/ndcg@10)`,
/// with the means over data sets.
fn evaluation(record: &EvalRecord, best_by: Option<&str>) -> String {
    let means = record.figures.iter().filter(|(name, _)| {
        let own = name.strip_prefix(EvalRecord::BEGINNING).and_then(EvalSection::parts);
        own.is_some_and(|[dataset, ..]| dataset == EvalSection::MEAN)
    });
    let means: Vec<String> = means.map(|(name, figure)| format!("{} {figure:.4}", words(name))).collect();
    let best = best_by.map(|figure| format!("  (the best so far by {figure})")).unwrap_or_default();
    let took = short(Duration::from_secs_f64(record.eval_secs));
    format!("evaluated step {} in {took}: {}{best}", record.step, means.join("  "))
}

/// `dense ndcg@10` of `eval/mean/dense/ndcg@10`; a data set that is not the mean is named as well.
fn words(name: &str) -> String {
    match name.strip_prefix(EvalRecord::BEGINNING).and_then(EvalSection::parts) {
        Some([EvalSection::MEAN, ranking, metric]) => format!("{ranking} {metric}"),
        Some(parts) => parts.join(" "),
        None => name.to_owned(),
    }
}

/// What is no number is not shown.
fn known(figure: f64) -> Option<f64> {
    (!figure.is_nan()).then_some(figure)
}

/// The two largest units that matter: `45s`, `3m10s`, `2h05m`, `1d03h`.
pub fn short(time: Duration) -> String {
    let secs = time.as_secs();
    let (minutes, hours, days) = (secs / 60, secs / 3600, secs / 86400);
    match () {
        () if days > 0 => format!("{days}d{:02}h", hours % 24),
        () if hours > 0 => format!("{hours}h{:02}m", minutes % 60),
        () if minutes > 0 => format!("{minutes}m{:02}s", secs % 60),
        () => format!("{secs}s"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_step_is_one_line_and_leaves_out_what_is_not_known() {
        let mut step = StepRecord {
            step: 20,
            loss: 1.23449,
            learning_rate: 4.2e-4,
            tokens_per_sec: 812.4,
            goodput: 0.9,
            ..StepRecord::default()
        };
        let left = Some(Duration::from_secs(190));
        assert_eq!(describe(&step, 600, None, left), "step  20/600  loss 1.2345  lr 4.20e-4  812 tok/s  left 3m10s");
        step.device_peak_bytes = Some(61_200_000_000);
        let with_figure = describe(&step, 600, Some("dense ndcg@10 0.3120"), left);
        assert!(with_figure.ends_with("812 tok/s  GPU 61.2 GB  dense ndcg@10 0.3120  left 3m10s"));
        step.device_peak_bytes = None;
        step.loss = f64::NAN;
        assert_eq!(describe(&step, 20, None, None), "step 20/20  lr 4.20e-4  812 tok/s");
    }

    #[test]
    fn an_evaluation_is_one_line_of_means() {
        let figures = [("mean/dense/ndcg@10", 0.312), ("mean/all/ndcg@10", 0.4), ("fiqa/dense/ndcg@10", 0.3)];
        let figures = figures.map(|(name, figure)| (format!("eval/{name}"), figure)).into_iter().collect();
        let record = EvalRecord { step: 120, eval_secs: 9.4, figures, ..EvalRecord::default() };
        let line = "evaluated step 120 in 9s: all ndcg@10 0.4000  dense ndcg@10 0.3120";
        assert_eq!(evaluation(&record, None), line);
        let best = evaluation(&record, Some("mean/all/ndcg@10"));
        assert_eq!(best, format!("{line}  (the best so far by mean/all/ndcg@10)"));
        assert_eq!(words("eval/fiqa/dense/ndcg@10"), "fiqa dense ndcg@10");
    }

    #[test]
    fn times_are_short() {
        let text = |secs| short(Duration::from_secs(secs));
        assert_eq!([text(0), text(190), text(7500), text(97_200)], ["0s", "3m10s", "2h05m", "1d03h"]);
    }
}
