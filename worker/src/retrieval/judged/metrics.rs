//! nDCG@10, Recall@100 and MRR@10, as trec_eval (and so pytrec_eval) computes them.
//!
//! Gains are linear (`rel / log2(rank + 1)`), the ideal ranking comes from all of a query's judgments, relevance below
//! zero counts as zero, and a document is relevant from 1 on. A query whose judgments hold nothing relevant scores 0.

use tercet_protocol::says::eval::Metrics;

use super::qrels::Judgments;

/// Figures of one query whose documents are ranked as in `ranking`.
pub fn of_query<'a>(ranking: impl IntoIterator<Item = &'a str>, judgments: &Judgments) -> Metrics {
    let gains: Vec<i64> = ranking.into_iter().take(100).map(|doc| gain(judgments.get(doc))).collect();
    let mut ideal: Vec<i64> = judgments.values().map(|relevance| gain(Some(relevance))).collect();
    ideal.sort_unstable_by(|a, b| b.cmp(a));
    let num_relevant = ideal.iter().filter(|&&gain| gain > 0).count();
    if num_relevant == 0 {
        return Metrics::default();
    }
    let first_relevant = gains.iter().take(10).position(|&gain| gain > 0);
    let num_found = gains.iter().filter(|&&gain| gain > 0).count();
    Metrics {
        ndcg_at_10: discounted(&gains) / discounted(&ideal),
        recall_at_100: num_found as f64 / num_relevant as f64,
        mrr_at_10: first_relevant.map_or(0.0, |place| 1.0 / (place + 1) as f64),
    }
}

/// The mean over queries; 0 where there are none.
pub fn mean(queries: &[Metrics]) -> Metrics {
    let mean = |figure: fn(&Metrics) -> f64| queries.iter().map(figure).sum::<f64>() / queries.len().max(1) as f64;
    Metrics {
        ndcg_at_10: mean(|m| m.ndcg_at_10),
        recall_at_100: mean(|m| m.recall_at_100),
        mrr_at_10: mean(|m| m.mrr_at_10),
    }
}

fn gain(relevance: Option<&i64>) -> i64 {
    relevance.map_or(0, |&relevance| relevance.max(0))
}

/// Discounted cumulative gain of the first 10.
fn discounted(gains: &[i64]) -> f64 {
    gains.iter().take(10).zip(2u32..).map(|(&gain, discount)| gain as f64 / f64::from(discount).log2()).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judgments(pairs: &[(&str, i64)]) -> Judgments {
        pairs.iter().map(|&(doc, relevance)| (doc.to_owned(), relevance)).collect()
    }

    #[test]
    fn graded_judgments_by_hand() {
        // Gains 0, 2, 1; ideal 2, 1, 1.
        let figures = of_query(["x", "b", "a"], &judgments(&[("a", 1), ("b", 2), ("c", 1), ("x", 0), ("y", -1)]));
        let log3 = 3f64.log2();
        let expected = (2.0 / log3 + 1.0 / 2.0) / (2.0 + 1.0 / log3 + 1.0 / 2.0);
        assert!((figures.ndcg_at_10 - expected).abs() < 1e-12);
        assert_eq!(figures.recall_at_100, 2.0 / 3.0);
        assert_eq!(figures.mrr_at_10, 0.5);
    }

    #[test]
    fn the_cuts_are_at_10_and_100() {
        let ranking: Vec<String> = (0..200).map(|n| format!("d{n}")).collect();
        let figures = |doc: &str| of_query(ranking.iter().map(String::as_str), &judgments(&[(doc, 1)]));
        assert_eq!(figures("d9"), Metrics { ndcg_at_10: 1.0 / 11f64.log2(), recall_at_100: 1.0, mrr_at_10: 0.1 });
        assert_eq!(figures("d10"), Metrics { recall_at_100: 1.0, ..Metrics::default() });
        assert_eq!(figures("d99").recall_at_100, 1.0);
        assert_eq!(figures("d100"), Metrics::default());
    }

    #[test]
    fn nothing_relevant_is_zero_and_not_a_division_by_zero() {
        assert_eq!(of_query(["a"], &judgments(&[("a", 0)])), Metrics::default());
        assert_eq!(mean(&[]), Metrics::default());
    }
}
