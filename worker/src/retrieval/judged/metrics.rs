//! Figures of one query's list, as trec_eval (and so pytrec_eval) computes them.
//!
//! Gains are linear (`rel / log2(rank + 1)`), the ideal ranking comes from all of a query's judgments, relevance below
//! zero counts as zero, and a document is relevant from 1 on. A query whose judgments hold nothing relevant scores 0.
//! trec_eval's reciprocal rank looks at the whole list; here it has a cut-off like the others.

use tercet_configs::{Metric, MetricKind};

use super::qrels::Judgments;

/// A list as a query's judgments and answers see it.
#[derive(Debug, Default)]
pub struct Seen {
    /// The gain of each listed document, best first.
    gains: Vec<i64>,
    /// The gains of all judged documents, the largest first.
    ideal: Vec<i64>,
    num_relevant: usize,
    /// Where the first document stands, from 0, whose text has an answer.
    first_answer: Option<usize>,
}

impl Seen {
    /// What is seen of documents that are ranked as in `ranking`, as far as it is looked at.
    pub fn new<'a>(
        ranking: impl Iterator<Item = &'a str>,
        judgments: Option<&Judgments>,
        first_answer: Option<usize>,
    ) -> Self {
        let gain = |relevance: Option<&i64>| relevance.map_or(0, |&relevance| relevance.max(0));
        let gains = ranking.map(|doc| gain(judgments.and_then(|judged| judged.get(doc)))).collect();
        let mut ideal: Vec<i64> =
            judgments.into_iter().flat_map(|judged| judged.values()).map(|relevance| gain(Some(relevance))).collect();
        ideal.sort_unstable_by(|a, b| b.cmp(a));
        let num_relevant = ideal.iter().filter(|&&gain| gain > 0).count();
        Self { gains, ideal, num_relevant, first_answer }
    }

    /// The figure, in 0..=1.
    pub fn figure(&self, metric: Metric) -> f64 {
        let Metric { kind, at } = metric;
        if kind == MetricKind::AnswerRecall {
            return if self.first_answer.is_some_and(|place| place < at) { 1.0 } else { 0.0 };
        }
        if self.num_relevant == 0 {
            return 0.0;
        }
        let places = || self.gains.iter().take(at).enumerate().filter(|(_, gain)| **gain > 0).map(|(place, _)| place);
        let num_relevant = self.num_relevant as f64;
        match kind {
            MetricKind::Ndcg => discounted(&self.gains, at) / discounted(&self.ideal, at),
            MetricKind::Recall => places().count() as f64 / num_relevant,
            MetricKind::Mrr => places().next().map_or(0.0, |place| 1.0 / (place + 1) as f64),
            MetricKind::Map => {
                let precisions = (1..).zip(places()).map(|(found, place)| f64::from(found) / (place + 1) as f64);
                precisions.sum::<f64>() / num_relevant
            }
            // The share of as many documents as were asked for, also where the list is shorter.
            MetricKind::Precision | MetricKind::AnswerRecall => places().count() as f64 / at as f64,
        }
    }
}

/// The mean over queries; 0 where there are none.
pub fn mean(figures: impl ExactSizeIterator<Item = f64>) -> f64 {
    let count = figures.len().max(1);
    figures.sum::<f64>() / count as f64
}

/// Discounted cumulative gain of the first `at`.
fn discounted(gains: &[i64], at: usize) -> f64 {
    gains.iter().take(at).zip(2u32..).map(|(&gain, discount)| gain as f64 / f64::from(discount).log2()).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judgments(pairs: &[(&str, i64)]) -> Judgments {
        pairs.iter().map(|&(doc, relevance)| (doc.to_owned(), relevance)).collect()
    }

    fn figure(seen: &Seen, metric: &str) -> f64 {
        seen.figure(metric.parse().unwrap())
    }

    #[test]
    fn graded_judgments_by_hand() {
        // Gains 0, 2, 1; ideal 2, 1, 1.
        let judged = judgments(&[("a", 1), ("b", 2), ("c", 1), ("x", 0), ("y", -1)]);
        let seen = Seen::new(["x", "b", "a"].into_iter(), Some(&judged), Some(2));
        let log3 = 3f64.log2();
        let expected = (2.0 / log3 + 1.0 / 2.0) / (2.0 + 1.0 / log3 + 1.0 / 2.0);
        assert!((figure(&seen, "ndcg@10") - expected).abs() < 1e-12);
        assert!((figure(&seen, "ndcg@1") - 0.0).abs() < 1e-12);
        assert_eq!((figure(&seen, "recall@100"), figure(&seen, "recall@2")), (2.0 / 3.0, 1.0 / 3.0));
        assert_eq!((figure(&seen, "mrr@10"), figure(&seen, "mrr@1")), (0.5, 0.0));
        assert_eq!(figure(&seen, "map@1000"), (1.0 / 2.0 + 2.0 / 3.0) / 3.0);
        assert_eq!(figure(&seen, "map@2"), 1.0 / 2.0 / 3.0);
        assert_eq!((figure(&seen, "precision@2"), figure(&seen, "precision@10")), (0.5, 0.2));
        assert_eq!((figure(&seen, "answer_recall@2"), figure(&seen, "answer_recall@3")), (0.0, 1.0));
    }

    #[test]
    fn the_cuts_are_where_they_are_asked_for() {
        let ranking: Vec<String> = (0..200).map(|n| format!("d{n}")).collect();
        let figures = |doc: &str| {
            let seen = Seen::new(ranking.iter().map(String::as_str), Some(&judgments(&[(doc, 1)])), None);
            ["ndcg@10", "recall@100", "mrr@10"].map(|metric| figure(&seen, metric))
        };
        assert_eq!(figures("d9"), [1.0 / 11f64.log2(), 1.0, 0.1]);
        assert_eq!(figures("d10"), [0.0, 1.0, 0.0]);
        assert_eq!(figures("d99"), [0.0, 1.0, 0.0]);
        assert_eq!(figures("d100"), [0.0; 3]);
    }

    #[test]
    fn nothing_relevant_is_zero_and_not_a_division_by_zero() {
        for judged in [None, Some(judgments(&[("a", 0)]))] {
            let seen = Seen::new(["a"].into_iter(), judged.as_ref(), None);
            for metric in ["ndcg@10", "recall@1", "mrr@10", "map@5", "precision@1", "answer_recall@1"] {
                assert_eq!(figure(&seen, metric), 0.0, "{metric}");
            }
        }
        assert_eq!(mean([].into_iter()), 0.0);
    }
}
