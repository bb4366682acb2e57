//! What commands that encode texts have in common.

use clap::Args;

use crate::words::Words;

/// What stands before texts, where it is not as the model's folder says.
#[derive(Debug, Clone, Default, PartialEq, Eq, Args)]
pub struct Prefixes {
    /// Stands before every query, with a space between; default: the query prompt in the model's folder
    #[arg(long, value_name = "TEXT")]
    pub query_prefix: Option<String>,
    /// Stands before every passage, with a space between; default: the passage prompt in the model's folder
    #[arg(long, value_name = "TEXT")]
    pub passage_prefix: Option<String>,
}

impl Prefixes {
    pub(crate) fn add_to(&self, words: Words) -> Words {
        words.each("--query-prefix", &self.query_prefix).each("--passage-prefix", &self.passage_prefix)
    }
}

/// Tokens of a text at most: of fewer all texts would be the same.
pub fn text_len(text: &str) -> Result<usize, String> {
    match text.parse::<usize>() {
        Ok(len) if len >= 3 => Ok(len),
        Ok(_) => Err("two special tokens and one of the text need 3".into()),
        Err(e) => Err(e.to_string()),
    }
}
