//! What a source offers for training: two texts that belong together.

/// A pair of texts. Neither is blank; blanks at their ends are cut off.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Pair {
    /// What is searched with: a title, a question, an instruction, a heading, a sentence.
    pub query: String,
    /// What is to be found: a body, an abstract, an answer, a section, the rest, a translation.
    pub passage: String,
    /// The language of the passage, if the source states it.
    pub language: Option<String>,
}
