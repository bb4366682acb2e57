//! What came of it: the table that a person reads, and summary.json for programs.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::fs;
use std::path::Path;

use anyhow::Context;
use tercet_protocol::says::StepRecord;
use tercet_protocol::says::eval::{Metrics, Results};

/// Heads and combinations in the table's order.
pub(crate) const HEADS: [&str; 5] = tercet_configs::EvalSection::BY_HEADS;

/// What counting words achieves: tokens of the model, which need no training (Robertson et al., 1994).
pub(crate) const BM25: &str = "bm25";

/// The figures that are shown, as `tercet eval` names them.
const SHOWN: [&str; 2] = ["ndcg@10", "recall@100"];

/// Reads what `tercet eval --json` wrote: task → head → the figures that are shown.
pub(crate) fn read_figures(path: &Path) -> anyhow::Result<Results> {
    let text = fs::read_to_string(path).with_context(|| format!("{}", path.display()))?;
    let mut results: Results = serde_json::from_str(&text).with_context(|| format!("{}", path.display()))?;
    for metrics in results.values_mut().flat_map(BTreeMap::values_mut) {
        metrics.retain(|name, _| SHOWN.contains(&name.as_str()));
    }
    Ok(results)
}

/// The model after each stage, and before the first, by the names of its figures.
pub(crate) const STAGES: [&str; 4] = ["untrained", "stage1", "stage2", "stage3"];

/// Everything that the table and summary.json say.
#[derive(Debug)]
pub(crate) struct Summary {
    /// As [`STAGES`].
    pub stages: [Results; STAGES.len()],
    /// By task.
    pub bm25: BTreeMap<String, Metrics>,
    /// Steps of all stages.
    pub steps: u64,
    pub tokens_per_sec: f64,
    pub world_size: usize,
    pub seconds: f64,
}

impl Summary {
    /// Takes BM25's figures out of those of the heads: no stage changes them.
    pub fn take_bm25(&mut self) {
        for (task, heads) in self.stages.iter_mut().flatten() {
            if let Some(scores) = heads.remove(BM25) {
                self.bm25.insert(task.clone(), scores);
            }
        }
    }

    /// The monolingual task's figures at the top level; others (`cross`) as objects of the same shape. What is `before`
    /// and `after` is the first and the last of `stages`.
    pub fn to_json(&self) -> serde_json::Value {
        let of = |task: &str| {
            let stages = STAGES.iter().zip(&self.stages);
            let stages: BTreeMap<_, _> =
                stages.filter_map(|(stage, figures)| Some((stage, figures.get(task)?))).collect();
            serde_json::json!({"before": stages.get(&STAGES[0]), "after": stages.get(&STAGES[3]), "stages": stages})
        };
        let mut json = of("mono");
        for task in self.stages[0].keys().filter(|task| *task != "mono") {
            json[task] = of(task);
        }
        json["bm25"] = serde_json::json!(self.bm25);
        json["steps"] = self.steps.into();
        json["tokens_per_sec"] = self.tokens_per_sec.round().into();
        json["world_size"] = self.world_size.into();
        json["seconds"] = self.seconds.round().into();
        json
    }

    /// One block per task: each head after each stage, BM25 below.
    pub fn table(&self) -> String {
        let mut table = String::new();
        for task in self.stages[0].keys().rev() {
            let title = match task.as_str() {
                "mono" => "same language",
                "cross" => "another language",
                other => other,
            };
            let stages = format!("{:>7}{:>7}{:>7}{:>7}", "none", "1", "2", "3");
            // Writing to a string cannot fail.
            let _ = writeln!(table, "\n{title:<18}{:>14}{:14}   {:>17}", "nDCG@10", "", "Recall@100");
            let _ = writeln!(table, "{:<18}{stages}   {stages}", "after stage");
            for head in HEADS {
                let after: Vec<_> = self.stages.iter().filter_map(|figures| figures.get(task)?.get(head)).collect();
                let row = |name: &str| -> String {
                    after.iter().map(|metrics| format!("{:>7.3}", figure(metrics, name))).collect()
                };
                let [ndcg, recall] = SHOWN.map(row);
                let _ = writeln!(table, "  {head:<16}{ndcg}   {recall}");
            }
            if let Some(bm25) = self.bm25.get(task) {
                let [ndcg, recall] = SHOWN.map(|name| figure(bm25, name));
                let _ = writeln!(table, "  {:<16}{ndcg:>28.3}   {recall:>28.3}", "BM25 (untrained)");
            }
        }
        table
    }
}

/// A figure; NaN where `tercet eval` did not report it.
fn figure(metrics: &Metrics, name: &str) -> f64 {
    metrics.get(name).copied().unwrap_or(f64::NAN)
}

/// Real tokens per second over a run's steps, from its metrics.jsonl.
pub(crate) fn tokens_per_sec(run_dirs: &[impl AsRef<Path>]) -> anyhow::Result<f64> {
    let (mut tokens, mut secs) = (0, 0.0);
    for run_dir in run_dirs {
        let path = run_dir.as_ref().join("metrics.jsonl");
        let text = fs::read_to_string(&path).with_context(|| format!("{}", path.display()))?;
        // An evaluation's line has neither tokens nor seconds of a step.
        for step in text.lines().filter_map(|line| serde_json::from_str::<StepRecord>(line).ok()) {
            tokens += step.tokens;
            secs += step.step_secs;
        }
    }
    Ok(if secs > 0.0 { tokens as f64 / secs } else { 0.0 })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn figures(ndcg: f64) -> Results {
        let json = format!(
            r#"{{"mono": {{"dense": {{"ndcg@10": {ndcg}, "recall@100": 0.5, "mrr@10": 0.1}}}},
                "cross": {{"dense": {{"ndcg@10": 0.25, "recall@100": 0.5, "mrr@10": 0.1}}}}}}"#
        );
        serde_json::from_str(&json).unwrap()
    }

    #[test]
    fn the_monolingual_task_is_at_the_top_and_the_others_below_their_names() {
        let mut stages = [0.125, 0.25, 0.375, 0.5].map(figures);
        let scores = Metrics::from([("ndcg@10".to_owned(), 0.625), ("recall@100".to_owned(), 0.75)]);
        stages[3].get_mut("mono").unwrap().insert(BM25.to_owned(), scores.clone());
        let mut summary =
            Summary { stages, bm25: BTreeMap::new(), steps: 7, tokens_per_sec: 9.6, world_size: 2, seconds: 1.0 };
        summary.take_bm25();
        assert_eq!(summary.bm25, BTreeMap::from([("mono".to_owned(), scores)]));
        let json = summary.to_json();
        assert_eq!(json["before"]["dense"]["ndcg@10"], 0.125);
        assert_eq!(json["stages"]["stage2"]["dense"]["ndcg@10"], 0.375);
        assert_eq!(json["after"], json["stages"]["stage3"]);
        assert!(json["after"].get(BM25).is_none() && json["bm25"]["mono"]["ndcg@10"] == 0.625);
        assert_eq!(json["cross"]["after"]["dense"]["recall@100"], 0.5);
        assert_eq!((json["steps"].as_u64(), json["tokens_per_sec"].as_f64()), (Some(7), Some(10.0)));
        let table = summary.table();
        assert!(table.contains("dense             0.125  0.250  0.375  0.500"), "{table}");
        assert!(table.contains("0.625") && table.lines().all(|line| line.len() <= 80), "{table}");
        assert!(table.find("same language") < table.find("another language"), "{table}");
    }

    #[test]
    fn the_rate_is_that_of_all_steps_together() {
        let folder = tempfile::tempdir().unwrap();
        let step = |tokens, step_secs| {
            let record = StepRecord { tokens, step_secs, ..StepRecord::default() };
            serde_json::to_string(&record).unwrap() + "\n"
        };
        let evaluation = "{\"step\": 2, \"eval_secs\": 9, \"eval/mono/dense/ndcg@10\": 0.5}\n";
        let lines = [step(100, 1.0), evaluation.to_owned(), step(800, 2.0)].concat();
        fs::write(folder.path().join("metrics.jsonl"), lines).unwrap();
        assert_eq!(tokens_per_sec(&[folder.path()]).unwrap(), 300.0);
    }
}
