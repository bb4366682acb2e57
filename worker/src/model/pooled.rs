//! Which tokens' hidden states become a text's dense representation.

use tch::Tensor;

use crate::tensors::upload::{Part, Upload, Uploaded};

/// Tokens whose hidden states a text's dense representation averages.
pub struct Pooled {
    /// Places among the T tokens, int64 `[K]`.
    pub token: Tensor,
    /// The text of each, int64 `[K]`.
    pub text: Tensor,
    /// The number of each text's tokens, int64 `[texts]`.
    pub per_text: Tensor,
    /// Every text has exactly one, in order.
    pub one_per_text: bool,
}

/// A [`Pooled`] on its way to the device.
pub struct PooledParts {
    token: Part,
    text: Part,
    per_text: Part,
    one_per_text: bool,
}

impl PooledParts {
    /// From places of tokens, each with its text.
    pub fn of(tokens: &[(usize, usize)], num_texts: usize, upload: &mut Upload) -> Self {
        let mut per_text = vec![0i64; num_texts];
        for &(_, text) in tokens {
            per_text[text] += 1;
        }
        let mut column = |f: fn(&(usize, usize)) -> usize| {
            upload.add(&tokens.iter().map(|token| f(token) as i64).collect::<Vec<_>>())
        };
        Self {
            token: column(|token| token.0),
            text: column(|token| token.1),
            one_per_text: per_text.iter().all(|&n| n == 1),
            per_text: upload.add(&per_text),
        }
    }

    /// The tensors.
    pub fn on(&self, sent: &Uploaded) -> Pooled {
        let [token, text, per_text] = [&self.token, &self.text, &self.per_text].map(|part| sent.of(part));
        Pooled { token, text, per_text, one_per_text: self.one_per_text }
    }
}
