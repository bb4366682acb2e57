//! What is a query to what.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::format::Format;

/// The kinds of pairs, as the paper's sources have them (section 3.1 and appendix A.1 of M3-Embedding).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Kind {
    /// A title and the text below it.
    TitleBody,
    /// A paper's title and its abstract.
    TitleAbstract,
    /// What was asked of a language model, and the answer.
    InstructionOutput,
    /// A section's heading, with the document's title before it, and the section.
    HeadingSection,
    /// A text's first sentence and the rest of it.
    FirstSentenceRest,
    /// A sentence and its translation.
    Parallel,
    /// A question and its answer.
    QuestionAnswer,
}

impl Kind {
    /// The columns of query and passage where nothing else is said. Those of a table without names are numbers.
    pub(super) fn usual_fields(self, is_of_table: bool) -> (&'static str, &'static str) {
        match self {
            Self::TitleBody => ("title", "text"),
            Self::TitleAbstract => ("title", "abstract"),
            Self::InstructionOutput => ("inputs", "targets"),
            Self::HeadingSection => ("heading", "text"),
            Self::FirstSentenceRest => ("text", "text"),
            Self::Parallel if is_of_table => ("1", "2"),
            Self::Parallel => ("src", "tgt"),
            Self::QuestionAnswer => ("question", "answer"),
        }
    }

    /// Whether both texts are made of one.
    pub(super) fn is_of_one_text(self) -> bool {
        self == Self::FirstSentenceRest
    }

    /// Whether documents of this format give such pairs.
    pub(super) fn is_of_documents(self, format: Format) -> bool {
        match self {
            Self::TitleBody | Self::FirstSentenceRest => true,
            Self::HeadingSection => format != Format::Text,
            _ => false,
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.serialize(f)
    }
}
