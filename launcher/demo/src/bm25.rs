//! BM25 (Robertson et al., 1994): what counting words achieves on the held-out tasks, beside the trained model.
//!
//! It and its nDCG are the demo's yardstick, and only that: `tercet eval` measures models by code of its own.
//!
//! k1 = 1.2, b = 0.75, with the idf that is never negative (Lucene's). Terms are lower-case words; Chinese and
//! Japanese, which do not separate words, give pairs of neighbouring characters.

use std::collections::{HashMap, HashSet};
use std::fs;
use std::path::Path;

use anyhow::Context;
use serde::{Deserialize, Serialize};

use crate::cjk::is_cjk;

const K1: f64 = 1.2;
const B: f64 = 0.75;

/// How well a task was answered, as means over its queries; with the names that `tercet eval` uses.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub(crate) struct Scores {
    #[serde(rename = "ndcg@10")]
    pub ndcg_at_10: f64,
    #[serde(rename = "recall@100")]
    pub recall_at_100: f64,
}

#[derive(Deserialize)]
struct Text {
    #[serde(rename = "_id")]
    id: String,
    text: String,
}

/// Ranks the corpus of a BEIR folder for each of its judged queries.
///
/// # Errors
/// If one of its files cannot be read.
pub(crate) fn evaluate(folder: &Path) -> anyhow::Result<Scores> {
    let passages = read_texts(&folder.join("corpus.jsonl"))?;
    let queries = read_texts(&folder.join("queries.jsonl"))?;
    let path = folder.join("qrels/test.tsv");
    let judgements = fs::read_to_string(&path).with_context(|| format!("{}", path.display()))?;
    let mut relevant: HashMap<&str, HashSet<&str>> = HashMap::new();
    for line in judgements.lines().skip(1) {
        let mut fields = line.split('\t');
        if let (Some(query), Some(passage)) = (fields.next(), fields.next()) {
            relevant.entry(query).or_default().insert(passage);
        }
    }
    let index = Index::new(passages.iter().map(|p| p.text.as_str()));
    let mut sum = Scores { ndcg_at_10: 0.0, recall_at_100: 0.0 };
    let mut num_queries = 0.0;
    for query in &queries {
        let Some(relevant) = relevant.get(query.id.as_str()) else { continue };
        let hits: Vec<bool> =
            index.best(&query.text, 100).into_iter().map(|p| relevant.contains(passages[p].id.as_str())).collect();
        sum.ndcg_at_10 += ndcg(&hits, relevant.len(), 10);
        sum.recall_at_100 += hits.iter().filter(|&&hit| hit).count() as f64 / relevant.len() as f64;
        num_queries += 1.0;
    }
    Ok(Scores { ndcg_at_10: sum.ndcg_at_10 / num_queries, recall_at_100: sum.recall_at_100 / num_queries })
}

fn read_texts(path: &Path) -> anyhow::Result<Vec<Text>> {
    let file = fs::read_to_string(path).with_context(|| format!("{}", path.display()))?;
    file.lines().map(|line| serde_json::from_str(line).with_context(|| format!("{}", path.display()))).collect()
}

/// Binary relevance: the discounted hits over those of a perfect ranking.
fn ndcg(hits: &[bool], num_relevant: usize, depth: usize) -> f64 {
    let discount = |rank: usize| 1.0 / (rank as f64 + 2.0).log2();
    let gained: f64 =
        hits.iter().take(depth).enumerate().filter(|(_, hit)| **hit).map(|(rank, _)| discount(rank)).sum();
    gained / (0..num_relevant.min(depth)).map(discount).sum::<f64>()
}

struct Index {
    /// term → (passage, how often)
    postings: HashMap<String, Vec<(usize, f64)>>,
    /// Terms per passage.
    lens: Vec<f64>,
}

impl Index {
    fn new<'a>(passages: impl Iterator<Item = &'a str>) -> Self {
        let (mut postings, mut lens): (HashMap<_, Vec<_>>, _) = (HashMap::new(), Vec::new());
        for (passage, text) in passages.enumerate() {
            let mut counts: HashMap<String, f64> = HashMap::new();
            let terms = terms(text);
            lens.push(terms.len() as f64);
            terms.into_iter().for_each(|term| *counts.entry(term).or_default() += 1.0);
            counts.into_iter().for_each(|(term, n)| postings.entry(term).or_default().push((passage, n)));
        }
        Self { postings, lens }
    }

    /// The passages with the highest scores above 0, best first; equal ones in corpus order.
    fn best(&self, query: &str, depth: usize) -> Vec<usize> {
        let num_passages = self.lens.len() as f64;
        let mean_len = self.lens.iter().sum::<f64>() / num_passages;
        let mut scores: HashMap<usize, f64> = HashMap::new();
        for posting in terms(query).iter().filter_map(|term| self.postings.get(term)) {
            let with_term = posting.len() as f64;
            let idf = (1.0 + (num_passages - with_term + 0.5) / (with_term + 0.5)).ln();
            for &(passage, n) in posting {
                let saturation = n + K1 * (1.0 - B + B * self.lens[passage] / mean_len);
                *scores.entry(passage).or_default() += idf * n * (K1 + 1.0) / saturation;
            }
        }
        let mut ranked: Vec<_> = scores.into_iter().collect();
        ranked.sort_by(|a, b| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0)));
        ranked.into_iter().take(depth).map(|(passage, _)| passage).collect()
    }
}

fn terms(text: &str) -> Vec<String> {
    let text = text.to_lowercase();
    let mut terms = Vec::new();
    for word in text.split(|c: char| !c.is_alphanumeric()).filter(|w| !w.is_empty()) {
        if !word.contains(is_cjk) {
            terms.push(word.to_owned());
            continue;
        }
        let chars: Vec<char> = word.chars().collect();
        match chars.len() {
            1 => terms.push(word.to_owned()),
            _ => terms.extend(chars.windows(2).map(|pair| pair.iter().collect::<String>())),
        }
    }
    terms
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scores_are_those_of_the_formula() {
        let index = Index::new(["a b", "a c c d", "e"].into_iter());
        // "c": in 1 of 3 passages, twice in one of 4 terms; mean length 7/3.
        let idf = (1.0f64 + 2.5 / 1.5).ln();
        let expected = idf * 2.0 * 2.2 / (2.0 + 1.2 * (0.25 + 0.75 * 4.0 / (7.0 / 3.0)));
        let scored = |query: &str| index.best(query, 10);
        assert_eq!(scored("c"), [1]);
        assert!(expected > 0.0 && scored("a") == [0, 1] && scored("z").is_empty());
        assert_eq!(scored("e a"), [2, 0, 1]);
    }

    #[test]
    fn ndcg_of_a_hit_at_rank_two() {
        assert!((ndcg(&[false, true], 1, 10) - 1.0 / 3f64.log2()).abs() < 1e-12);
        assert_eq!(ndcg(&[true], 1, 10), 1.0);
        assert_eq!(ndcg(&[false; 11], 1, 10), 0.0);
    }

    #[test]
    fn chinese_gives_pairs() {
        assert_eq!(terms("Ls 列出目录!"), ["ls", "列出", "出目", "目录"]);
    }
}
