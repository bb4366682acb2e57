//! What the rows of enhanced decoding may see (Xiao et al., 2022, arXiv 2205.12035).
//!
//! A row sees what its mask set leaves visible, and never its own place. A text's masks are kept as its sets and the
//! number of each row's set.
//!
//! Legend: R query rows, T tokens of the sub-batch; of a text: n tokens, S mask sets, r some of its rows.

use std::ops::Range;

use tch::{Kind, Tensor};

/// What the rows of a sub-batch may see, text by text.
pub struct Visible {
    /// Together they are the R rows.
    pub texts: Vec<VisibleText>,
}

/// What the rows of one text may see.
pub struct VisibleText {
    /// Its rows among the R.
    pub rows: Range<i64>,
    /// Its tokens among the T.
    pub tokens: Range<i64>,
    /// Whether a set hides a place, bool [S, n].
    pub hidden: Tensor,
    /// The set of each row, int64 `[rows]`.
    pub set_of_row: Tensor,
    /// The place of each row in its text, int64 `[rows]`.
    pub place_of_row: Tensor,
    /// 1 where a row sees something, else 0, [rows, 1] in the type that is computed in; none if all do. A row that
    /// sees nothing attends to nothing: its result is 0.
    pub sees: Option<Tensor>,
}

impl VisibleText {
    /// What is added to similarities of `len` rows from `first` on, [r, n]: 0, or −∞ where a place is hidden. Rows that
    /// see nothing get 0, because a softmax over nothing would be NaN.
    pub(super) fn mask(&self, first: i64, len: i64, sees: Option<&Tensor>, kind: Kind) -> Tensor {
        let of_rows = |all: &Tensor| all.narrow(0, first, len);
        let mut hidden = self.hidden.index_select(0, &of_rows(&self.set_of_row)); // [r, n]
        let itself = of_rows(&self.place_of_row).unsqueeze(1);
        let _ = hidden.scatter_value_(1, &itself, 1);
        if let Some(sees) = sees {
            hidden = hidden.logical_and(&sees.ne(0.0));
        }
        let zeros = Tensor::zeros(hidden.size(), (kind, hidden.device()));
        zeros.masked_fill(&hidden, f64::NEG_INFINITY)
    }
}
