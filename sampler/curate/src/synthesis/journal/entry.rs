//! The lines of a journal.

use serde::{Deserialize, Serialize};

use super::super::caps::Used;
use super::super::reply::Answer;

/// A line of the journal.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "kebab-case")]
pub enum Entry {
    /// The request is about to be sent, or stands in a batch file. It can use `tokens` tokens.
    Sent {
        /// The request.
        key: String,
        /// Tokens of the prompt at most.
        tokens_in: u64,
        /// Tokens of the answer at most.
        tokens_out: u64,
        /// The number of the batch file.
        #[serde(skip_serializing_if = "Option::is_none", default)]
        batch: Option<u32>,
    },
    /// The requests that follow with this number stand in a batch file, which is complete and is about to get its name.
    Batch {
        /// The number of the batch file.
        number: u32,
        /// The file, as it was typed.
        file: String,
    },
    /// It was answered.
    Answered(Answered),
    /// The server will not answer it, however often it is sent.
    Refused {
        /// The request.
        key: String,
        /// HTTP's status.
        status: u16,
        /// What the server says.
        reason: String,
    },
    /// The server said that it did not answer, so it used no tokens.
    Failed {
        /// The request.
        key: String,
    },
    /// The server failed at it in a batch, and may have worked on it.
    Lost {
        /// The request.
        key: String,
    },
    /// It was refused as all others were, so the recipe or the server is at fault: it is asked again.
    Free {
        /// The request.
        key: String,
    },
    /// It did not reach a server.
    NotSent {
        /// The request.
        key: String,
    },
}

/// An answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Answered {
    /// The request.
    pub key: String,
    /// What the language model said.
    pub text: String,
    /// Why it stopped: `stop`, `length`, …
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub finish: Option<String>,
    /// Tokens of the prompt, as the server counts; without its count, at most.
    pub tokens_in: u64,
    /// Tokens of the answer, likewise.
    pub tokens_out: u64,
}

impl Answered {
    /// A request's answer. What the server does not count is all that was possible.
    pub fn new(key: String, answer: Answer, most: Used) -> Self {
        let (tokens_in, tokens_out) = answer.tokens.unwrap_or((most.tokens_in, most.tokens_out));
        Self { key, text: answer.text, finish: answer.finish, tokens_in, tokens_out }
    }
}
