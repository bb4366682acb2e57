//! What weights of tokens are taken for when texts are scored by them.

/// How a lexical score is made of the model's weights.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum LexicalWeights {
    /// As they are.
    #[default]
    Exact,
    /// As M3's published evaluation hands them to Lucene: each a whole number of hundredths, rounded up, on both sides.
    /// Scores are whole numbers, exactly as long as they are at most 2^24.
    Published,
}

impl LexicalWeights {
    /// What stands for `weight`.
    #[inline(always)]
    pub fn of(self, weight: f32) -> f32 {
        match self {
            Self::Exact => weight,
            // In 64 bits the product is exact.
            Self::Published => (100.0 * f64::from(weight)).ceil() as f32,
        }
    }

    /// By what a score is divided where it is added to others.
    pub fn scale(self) -> f64 {
        match self {
            Self::Exact => 1.0,
            Self::Published => 1e4,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hundredths_are_rounded_up() {
        let of = |weight: f32| LexicalWeights::Published.of(weight);
        assert_eq!([1e-30, 0.01, 0.25, 0.5, 1.0, 1.001, 2.0].map(of), [1.0, 1.0, 25.0, 50.0, 100.0, 101.0, 200.0]);
        // The nearest float to 0.07 is above it, that to 0.29 below.
        assert_eq!([0.07, 0.29].map(of), [8.0, 29.0]);
        assert_eq!(LexicalWeights::Exact.of(0.07), 0.07);
    }
}
