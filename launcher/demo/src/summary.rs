//! What came of it: the table that a person reads, and summary.json for programs.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::fs;
use std::path::Path;

use anyhow::Context;
use serde::{Deserialize, Serialize};

/// Heads and combinations in the table's order.
pub(crate) const HEADS: [&str; 5] = ["dense", "lexical", "multi_vector", "dense_lexical", "all"];

/// What counting words achieves: tokens of the model, which need no training (Robertson et al., 1994).
pub(crate) const BM25: &str = "bm25";

/// How well a task was answered, as means over its queries; with the names that `tercet eval` uses.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub(crate) struct Scores {
    #[serde(rename = "ndcg@10")]
    pub ndcg_at_10: f64,
    #[serde(rename = "recall@100")]
    pub recall_at_100: f64,
}

/// Task → head → figures, as `tercet eval --json` writes them.
pub(crate) type Figures = BTreeMap<String, BTreeMap<String, Scores>>;

/// Reads what `tercet eval --json` wrote.
pub(crate) fn read_figures(path: &Path) -> anyhow::Result<Figures> {
    let text = fs::read_to_string(path).with_context(|| format!("{}", path.display()))?;
    serde_json::from_str(&text).with_context(|| format!("{}", path.display()))
}

/// Takes BM25's figures out of those of the heads.
pub(crate) fn take_bm25(figures: &mut Figures) -> BTreeMap<String, Scores> {
    let taken = figures.iter_mut().map(|(task, own)| (task.clone(), own.remove(BM25)));
    taken.filter_map(|(task, scores)| Some((task, scores?))).collect()
}

/// Everything that the table and summary.json say.
#[derive(Debug)]
pub(crate) struct Summary {
    pub before: Figures,
    pub after: Figures,
    pub bm25: BTreeMap<String, Scores>,
    /// Steps of both stages.
    pub steps: u64,
    pub tokens_per_sec: f64,
    pub world_size: usize,
    pub seconds: f64,
}

impl Summary {
    /// The monolingual task at the top level; others (`cross`) as objects of the same shape.
    pub fn to_json(&self) -> serde_json::Value {
        let empty = BTreeMap::new();
        let of = |figures: &Figures, task: &str| serde_json::json!(figures.get(task).unwrap_or(&empty));
        let mut json = serde_json::json!({
            "before": of(&self.before, "mono"),
            "after": of(&self.after, "mono"),
            "bm25": self.bm25,
            "steps": self.steps,
            "tokens_per_sec": self.tokens_per_sec.round(),
            "world_size": self.world_size,
            "seconds": self.seconds.round(),
        });
        for task in self.after.keys().filter(|task| *task != "mono") {
            json[task] = serde_json::json!({"before": of(&self.before, task), "after": of(&self.after, task)});
        }
        json
    }

    /// One block per task: each head before and after, BM25 below.
    pub fn table(&self) -> String {
        let mut table = String::new();
        for (task, after) in self.after.iter().rev() {
            let title = match task.as_str() {
                "mono" => "same language",
                "cross" => "another language",
                other => other,
            };
            // Writing to a string cannot fail.
            let _ = writeln!(table, "\n{title:<18}       nDCG@10              Recall@100");
            let _ = writeln!(table, "{:<18}  before    after      before    after", "");
            for head in HEADS {
                let before = self.before.get(task).and_then(|heads| heads.get(head));
                if let (Some(before), Some(after)) = (before, after.get(head)) {
                    let _ = writeln!(
                        table,
                        "  {head:<16}  {:>6.3}   {:>6.3}      {:>6.3}   {:>6.3}",
                        before.ndcg_at_10, after.ndcg_at_10, before.recall_at_100, after.recall_at_100
                    );
                }
            }
            if let Some(bm25) = self.bm25.get(task) {
                let _ = writeln!(
                    table,
                    "  {:<16}           {:>6.3}               {:>6.3}",
                    "BM25 (untrained)", bm25.ndcg_at_10, bm25.recall_at_100
                );
            }
        }
        table
    }
}

/// Real tokens per second over a run's steps, from its metrics.jsonl.
pub(crate) fn tokens_per_sec(run_dirs: &[&Path]) -> anyhow::Result<f64> {
    #[derive(Deserialize)]
    struct Step {
        tokens_per_sec: Option<f64>,
        step_secs: Option<f64>,
    }
    let (mut tokens, mut secs) = (0.0, 0.0);
    for run_dir in run_dirs {
        let path = run_dir.join("metrics.jsonl");
        let text = fs::read_to_string(&path).with_context(|| format!("{}", path.display()))?;
        for step in text.lines().filter_map(|line| serde_json::from_str::<Step>(line).ok()) {
            if let (Some(rate), Some(step_secs)) = (step.tokens_per_sec, step.step_secs) {
                tokens += rate * step_secs;
                secs += step_secs;
            }
        }
    }
    Ok(if secs > 0.0 { tokens / secs } else { 0.0 })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn figures(ndcg: f64) -> Figures {
        let json = format!(
            r#"{{"mono": {{"dense": {{"ndcg@10": {ndcg}, "recall@100": 0.5, "mrr@10": 0.1}}}},
                "cross": {{"dense": {{"ndcg@10": 0.25, "recall@100": 0.5, "mrr@10": 0.1}}}}}}"#
        );
        serde_json::from_str(&json).unwrap()
    }

    #[test]
    fn the_monolingual_task_is_at_the_top_and_the_others_below_their_names() {
        let (before, mut after) = (figures(0.125), figures(0.5));
        let scores = Scores { ndcg_at_10: 0.625, recall_at_100: 0.75 };
        after.get_mut("mono").unwrap().insert(BM25.to_owned(), scores);
        let bm25 = take_bm25(&mut after);
        assert_eq!(bm25, BTreeMap::from([("mono".to_owned(), scores)]));
        let summary = Summary { before, after, bm25, steps: 7, tokens_per_sec: 9.6, world_size: 2, seconds: 1.0 };
        let json = summary.to_json();
        assert_eq!(json["before"]["dense"]["ndcg@10"], 0.125);
        assert_eq!(json["after"]["dense"]["ndcg@10"], 0.5);
        assert_eq!(json["cross"]["after"]["dense"]["recall@100"], 0.5);
        assert_eq!((json["steps"].as_u64(), json["tokens_per_sec"].as_f64()), (Some(7), Some(10.0)));
        let table = summary.table();
        assert!(table.contains("dense              0.125    0.500"), "{table}");
        assert!(table.contains("0.625"), "{table}");
        assert!(table.find("same language") < table.find("another language"), "{table}");
    }

    #[test]
    fn the_rate_is_that_of_all_steps_together() {
        let folder = tempfile::tempdir().unwrap();
        let lines = "{\"step\":1,\"tokens_per_sec\":100,\"step_secs\":1}\n{\"step\":2,\"tokens_per_sec\":400,\"step_secs\":2}\n";
        fs::write(folder.path().join("metrics.jsonl"), lines).unwrap();
        assert_eq!(tokens_per_sec(&[folder.path()]).unwrap(), 300.0);
    }
}
