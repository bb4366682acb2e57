//! What `eval` can be told of an evaluation, on the command line or in a suite's file.

use std::path::Path;

use clap::Args;
use serde::Deserialize;
use tercet_configs::{Metric, from_toml, read_text};

use super::search::{Lists, at_least_one, at_least_zero, share, weights};
use super::texts::text_len;
use super::{Bm25Lengths, LexicalArg, Ranking, Weights};
use crate::words::Words;

/// What is evaluated, and how: options of `eval`, and under the same names, with `_` for `-`, the keys of a suite.
#[derive(Debug, Clone, Default, PartialEq, Args, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct EvalChoices {
    /// Which judgments to take: qrels/SPLIT.tsv; test unless it is said
    #[arg(long, value_name = "SPLIT")]
    pub split: Option<String>,
    /// Keep the document that has the query's own id in its list; it is left out otherwise, as in BEIR's own evaluation
    #[arg(long)]
    pub keep_identical_ids: bool,
    /// What to rank by, with commas between; dense,lexical,multi_vector,dense_lexical,all unless it is said
    #[arg(long, value_enum, value_delimiter = ',', value_name = "RANKINGS")]
    pub rankings: Vec<Ranking>,
    /// What to report, with commas between: ndcg, recall, mrr, map, precision or answer_recall with a cut-off;
    /// ndcg@10,recall@100,mrr@10 unless it is said
    #[arg(long, value_delimiter = ',', value_name = "METRICS")]
    pub metrics: Vec<Metric>,
    /// Tokens of a query at most; longer ones are cut; 512 unless it is said
    #[arg(long, value_name = "TOKENS", value_parser = text_len)]
    pub query_max_len: Option<usize>,
    /// Tokens of a passage at most; longer ones are cut; 8192 unless it is said
    #[arg(long, value_name = "TOKENS", value_parser = text_len)]
    pub passage_max_len: Option<usize>,
    /// Documents of a list at most; 1000 unless it is said
    #[arg(long, value_name = "N", value_parser = at_least_one)]
    pub top: Option<usize>,
    /// The best of the dense list that are encoded again for multi_vector and all; 200 unless it is said
    #[arg(long, value_name = "N", value_parser = at_least_one)]
    pub rerank: Option<usize>,
    /// Weights of dense and lexical scores in dense_lexical; 1,0.3 unless it is said
    #[arg(long, value_name = "D,L", value_parser = weights::<2>)]
    pub dense_lexical_weights: Option<Weights<2>>,
    /// Weights of dense, lexical and multi-vector scores in all; 1,0.3,1 unless it is said
    #[arg(long, value_name = "D,L,M", value_parser = weights::<3>)]
    pub all_weights: Option<Weights<3>>,
    /// What the weights of tokens are taken for in lexical and dense_lexical; exact unless it is said
    #[arg(long, value_enum)]
    pub lexical: Option<LexicalArg>,
    /// BM25: how soon a token that occurs again counts little; 0.9 unless it is said
    #[arg(long, value_name = "K1", value_parser = at_least_zero)]
    pub bm25_k1: Option<f64>,
    /// BM25: how far length counts, 0 to 1; 0.4 unless it is said
    #[arg(long, value_name = "B", value_parser = share)]
    pub bm25_b: Option<f64>,
    /// BM25: what a document's length is; exact unless it is said
    #[arg(long, value_enum)]
    pub bm25_lengths: Option<Bm25Lengths>,
}

impl EvalChoices {
    /// Reads a suite.
    ///
    /// # Errors
    /// What is wrong where, and for a misspelt key the one that was probably meant.
    pub fn load(path: &Path) -> Result<Self, String> {
        let in_it = |message: String| format!("--suite {}: {message}", path.display());
        let text = read_text(path).map_err(|error| in_it(error.to_string()))?;
        let suite: Self = from_toml(&text).map_err(in_it)?;
        suite.check().map_err(|(key, message)| in_it(format!("{key}: {message}")))?;
        Ok(suite)
    }

    /// Whether numbers are such as can be typed.
    fn check(&self) -> Result<(), (&'static str, String)> {
        fn is_good<T, N: ToString>(
            key: &'static str,
            number: Option<N>,
            rule: fn(&str) -> Result<T, String>,
        ) -> Result<(), (&'static str, String)> {
            number.map_or(Ok(()), |number| rule(&number.to_string()).map(drop).map_err(|message| (key, message)))
        }
        is_good("query_max_len", self.query_max_len, text_len)?;
        is_good("passage_max_len", self.passage_max_len, text_len)?;
        is_good("top", self.top, at_least_one)?;
        is_good("rerank", self.rerank, at_least_one)?;
        is_good("bm25_k1", self.bm25_k1, at_least_zero)?;
        is_good("bm25_b", self.bm25_b, share)
    }

    /// These, and where they say nothing, those of `suite`.
    pub fn over(self, suite: Self) -> Self {
        fn chosen<T>(typed: Vec<T>, suite: Vec<T>) -> Vec<T> {
            if typed.is_empty() { suite } else { typed }
        }
        Self {
            split: self.split.or(suite.split),
            keep_identical_ids: self.keep_identical_ids || suite.keep_identical_ids,
            rankings: chosen(self.rankings, suite.rankings),
            metrics: chosen(self.metrics, suite.metrics),
            query_max_len: self.query_max_len.or(suite.query_max_len),
            passage_max_len: self.passage_max_len.or(suite.passage_max_len),
            top: self.top.or(suite.top),
            rerank: self.rerank.or(suite.rerank),
            dense_lexical_weights: self.dense_lexical_weights.or(suite.dense_lexical_weights),
            all_weights: self.all_weights.or(suite.all_weights),
            lexical: self.lexical.or(suite.lexical),
            bm25_k1: self.bm25_k1.or(suite.bm25_k1),
            bm25_b: self.bm25_b.or(suite.bm25_b),
            bm25_lengths: self.bm25_lengths.or(suite.bm25_lengths),
        }
    }

    /// How lists are made.
    pub fn lists(&self) -> Lists {
        let Lists { top, rerank, dense_lexical_weights, all_weights, lexical, bm25_k1, bm25_b, bm25_lengths } =
            Lists::default();
        Lists {
            top: self.top.unwrap_or(top),
            rerank: self.rerank.unwrap_or(rerank),
            dense_lexical_weights: self.dense_lexical_weights.unwrap_or(dense_lexical_weights),
            all_weights: self.all_weights.unwrap_or(all_weights),
            lexical: self.lexical.unwrap_or(lexical),
            bm25_k1: self.bm25_k1.unwrap_or(bm25_k1),
            bm25_b: self.bm25_b.unwrap_or(bm25_b),
            bm25_lengths: self.bm25_lengths.unwrap_or(bm25_lengths),
        }
    }

    pub(crate) fn add_to(&self, words: Words) -> Words {
        fn shown<T: ToString>(value: &Option<T>) -> Option<String> {
            value.as_ref().map(T::to_string)
        }
        words
            .each("--split", &self.split)
            .flag("--keep-identical-ids", self.keep_identical_ids)
            .each("--rankings", self.rankings.iter().map(|ranking| ranking.name()))
            .each("--metrics", self.metrics.iter().map(Metric::to_string))
            .each("--query-max-len", shown(&self.query_max_len))
            .each("--passage-max-len", shown(&self.passage_max_len))
            .each("--top", shown(&self.top))
            .each("--rerank", shown(&self.rerank))
            .each("--dense-lexical-weights", shown(&self.dense_lexical_weights))
            .each("--all-weights", shown(&self.all_weights))
            .each("--lexical", shown(&self.lexical))
            .each("--bm25-k1", shown(&self.bm25_k1))
            .each("--bm25-b", shown(&self.bm25_b))
            .each("--bm25-lengths", shown(&self.bm25_lengths))
    }
}
