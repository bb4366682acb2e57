//! A row as token ids, on its way into the store.

/// The language of rows that do not say theirs.
pub(crate) const UNKNOWN_LANGUAGE: &str = "und";

/// A tokenised row, without special tokens and not yet cut.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct TokenRow {
    /// The query; or the text, where rows are texts alone.
    pub query: Vec<u32>,
    /// The positives.
    pub pos: Vec<Vec<u32>>,
    /// The negatives.
    pub neg: Vec<Vec<u32>>,
    /// One score per positive.
    pub pos_scores: Option<Vec<f32>>,
    /// One score per negative.
    pub neg_scores: Option<Vec<f32>>,
}

/// A row and its language.
#[derive(Debug, Clone)]
pub(crate) struct LabelledRow {
    pub(crate) tokens: TokenRow,
    pub(crate) language: String,
    /// Texts of it that were cut already.
    pub(crate) num_cut: u64,
}
