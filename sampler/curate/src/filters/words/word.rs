//! A word of a text.

/// A word, by its place in the text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Word {
    /// Its first byte.
    pub start: usize,
    /// The byte after it.
    pub end: usize,
}

impl Word {
    /// Its characters.
    pub fn of(self, text: &str) -> &str {
        &text[self.start..self.end]
    }
}
