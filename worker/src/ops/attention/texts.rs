//! Which rows are one text's.

use tch::Tensor;

/// Where one text's rows lie.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TextSpan {
    /// The first one's place.
    pub first: usize,
    /// Number of rows.
    pub len: usize,
}

/// The rows of texts, one text after another, without gaps.
pub struct TextRows {
    spans: Vec<TextSpan>,
    starts: Tensor,
}

impl TextRows {
    /// The rows of `spans`, which [`spans()`] makes; `starts` has [`starts()`] of them, on the device that computes.
    ///
    /// # Panics
    /// If `starts` is of another number of texts.
    pub fn new(spans: Vec<TextSpan>, starts: Tensor) -> Self {
        assert_eq!(
            starts.size(),
            [spans.len() as i64 + 1],
            "rows of texts: where each begins, and where the last ends"
        );
        Self { spans, starts }
    }

    /// Text by text.
    pub fn spans(&self) -> &[TextSpan] {
        &self.spans
    }

    /// Where each text begins, and where the last one ends, int32 `[texts + 1]`, on the device that computes.
    pub fn starts(&self) -> &Tensor {
        &self.starts
    }

    /// Rows of the longest text.
    pub fn longest(&self) -> usize {
        self.spans.iter().map(|span| span.len).max().unwrap_or(0)
    }
}

/// Spans of these numbers of rows, one after another.
pub fn spans(lens: impl IntoIterator<Item = usize>) -> Vec<TextSpan> {
    let mut first = 0;
    let span = |len| {
        first += len;
        TextSpan { first: first - len, len }
    };
    lens.into_iter().map(span).collect()
}

/// [`TextRows::starts`] of `spans`.
pub fn starts(spans: &[TextSpan]) -> Vec<i32> {
    let end = spans.last().map_or(0, |span| span.first + span.len);
    spans.iter().map(|span| span.first).chain([end]).map(|row| row as i32).collect()
}
