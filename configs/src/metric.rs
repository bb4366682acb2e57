//! Figures of how well ranked lists answer queries, by their names.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// A figure over the first documents of a list, up to a cut-off: `ndcg@10`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Metric {
    /// What is counted.
    pub kind: MetricKind,
    /// Documents that are looked at, at least one.
    pub at: usize,
}

/// What a figure counts. A document is relevant if it is judged above 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum MetricKind {
    /// Normalised discounted cumulative gain, linear in the judgment.
    Ndcg,
    /// Share of the relevant documents that are found.
    Recall,
    /// 1 / rank of the first relevant document.
    Mrr,
    /// Mean of the precision at each relevant document.
    Map,
    /// Share of the documents that are relevant.
    Precision,
    /// 1 if the text of a document has an answer of the query, else 0.
    AnswerRecall,
}

impl MetricKind {
    const ALL: [Self; 6] = [Self::Ndcg, Self::Recall, Self::Mrr, Self::Map, Self::Precision, Self::AnswerRecall];

    /// As it is typed, before the `@`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Ndcg => "ndcg",
            Self::Recall => "recall",
            Self::Mrr => "mrr",
            Self::Map => "map",
            Self::Precision => "precision",
            Self::AnswerRecall => "answer_recall",
        }
    }
}

impl Metric {
    /// What is reported unless something else is asked for.
    pub const DEFAULT: [Self; 3] = [
        Self { kind: MetricKind::Ndcg, at: 10 },
        Self { kind: MetricKind::Recall, at: 100 },
        Self { kind: MetricKind::Mrr, at: 10 },
    ];

    /// Whether it looks at answers instead of judgments.
    pub fn needs_answers(self) -> bool {
        self.kind == MetricKind::AnswerRecall
    }
}

impl fmt::Display for Metric {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Padded as a whole where it is a column's head.
        f.pad(&format!("{}@{}", self.kind.name(), self.at))
    }
}

impl FromStr for Metric {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let names = MetricKind::ALL.map(MetricKind::name).join(", ");
        let (name, at) = text
            .trim()
            .split_once('@')
            .ok_or_else(|| format!("{text:?} names no number of documents: expected ndcg@10, recall@100, …"))?;
        let kind = MetricKind::ALL.into_iter().find(|kind| kind.name() == name);
        let kind = kind.ok_or_else(|| format!("there is no figure {name:?}; there are {names}"))?;
        let at = at.parse().ok().filter(|at| *at > 0);
        Ok(Self { kind, at: at.ok_or_else(|| format!("{text:?}: behind the @ stands a number of at least 1"))? })
    }
}

impl TryFrom<String> for Metric {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl From<Metric> for String {
    fn from(metric: Metric) -> Self {
        metric.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_read_as_it_is_written() {
        for name in ["ndcg@10", "recall@100", "mrr@1", "map@1000", "precision@5", "answer_recall@20"] {
            assert_eq!(name.parse::<Metric>().unwrap().to_string(), name);
        }
        let error = |text: &str| text.parse::<Metric>().unwrap_err();
        assert!(error("ndcg").contains("names no number"));
        assert!(error("dcg@10").contains("there is no figure \"dcg\"; there are ndcg, recall"));
        assert!(error("ndcg@0").contains("at least 1") && error("ndcg@x").contains("at least 1"));
        assert_eq!(format!("{:>10}|", Metric::DEFAULT[0]), "   ndcg@10|");
    }
}
