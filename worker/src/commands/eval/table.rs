//! The figures as people read them.

use tercet_configs::Metric;

use crate::retrieval::judged::{Dataset, Figures};

/// The narrowest column of figures.
const NARROWEST: usize = 9;

/// A row for each ranking.
pub fn table(data: &Dataset, split: &str, metrics: &[Metric], figures: &[Figures]) -> String {
    let split = if split == "test" { String::new() } else { format!(", {split}") };
    let (num_docs, num_queries) = (data.survey.corpus.passages, data.queries.len());
    let mut table = format!("{}{split}: {num_docs} documents, {num_queries} queries\n", data.name);
    let heads: Vec<String> = metrics.iter().copied().map(head).collect();
    let width = |head: &String| NARROWEST.max(head.len() + 2);
    let columns: String = heads.iter().map(|head| format!("{head:>width$}", width = width(head))).collect();
    table += &format!("  {:<14}{columns}\n", "head");
    for own in figures {
        let columns = heads.iter().zip(&own.means).map(|(head, mean)| format!("{mean:>width$.4}", width = width(head)));
        table += &format!("  {:<14}{}\n", own.ranking.name(), columns.collect::<String>());
    }
    table
}

/// A column's head: `nDCG@10`.
fn head(metric: Metric) -> String {
    let name = metric.to_string();
    let name = name.replace("ndcg", "nDCG").replace("mrr", "MRR").replace("map", "MAP");
    name.replace("answer_recall", "AnswerRecall").replace("recall", "Recall").replace("precision", "P")
}
