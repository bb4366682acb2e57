//! The three heads, which of them run, and a value for each of them.

use crate::recipe::LossPreset;

/// A head of the model: what it makes of a text's hidden states.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Head {
    /// One vector for the text.
    Dense,
    /// A weight for each distinct token.
    Lexical,
    /// A vector for each token.
    MultiVector,
}

impl Head {
    /// All of them, in the order in which weights are written and terms are added up.
    pub const ALL: [Self; 3] = [Self::Dense, Self::Lexical, Self::MultiVector];

    /// As files and tables name it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Dense => "dense",
            Self::Lexical => "lexical",
            Self::MultiVector => "multi_vector",
        }
    }
}

/// Which heads run besides the dense one, which always does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Heads {
    /// The lexical head.
    pub lexical: bool,
    /// The multi-vector head.
    pub multi_vector: bool,
}

impl Heads {
    /// All three.
    pub const ALL: Self = Self { lexical: true, multi_vector: true };
    /// The dense head alone.
    pub const DENSE: Self = Self { lexical: false, multi_vector: false };

    /// The heads that a loss trains. Pre-training trains none, and needs nothing that only the others do.
    pub fn of(preset: LossPreset) -> Self {
        match preset {
            LossPreset::Unified | LossPreset::PaperV1 | LossPreset::Independent => Self::ALL,
            LossPreset::Dense | LossPreset::Retromae | LossPreset::Mlm => Self::DENSE,
        }
    }

    /// Those of them that an index holds; multi-vectors are made again of the documents that a ranking needs.
    pub fn in_an_index(self) -> Self {
        Self { multi_vector: false, ..self }
    }

    /// How many.
    pub fn num(self) -> usize {
        1 + usize::from(self.lexical) + usize::from(self.multi_vector)
    }
}

/// A value for each head that runs.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct PerHead<T> {
    /// The dense head's.
    pub dense: T,
    /// The lexical head's, if it runs.
    pub lexical: Option<T>,
    /// The multi-vector head's, if it runs.
    pub multi_vector: Option<T>,
}

impl<T> PerHead<T> {
    /// `make` of each of `heads`, in their order.
    pub fn of(heads: Heads, mut make: impl FnMut(Head) -> T) -> Self {
        Self {
            dense: make(Head::Dense),
            lexical: heads.lexical.then(|| make(Head::Lexical)),
            multi_vector: heads.multi_vector.then(|| make(Head::MultiVector)),
        }
    }

    /// The heads that have a value.
    pub fn heads(&self) -> Heads {
        Heads { lexical: self.lexical.is_some(), multi_vector: self.multi_vector.is_some() }
    }

    /// A head's value, if it runs.
    pub fn get(&self, head: Head) -> Option<&T> {
        match head {
            Head::Dense => Some(&self.dense),
            Head::Lexical => self.lexical.as_ref(),
            Head::MultiVector => self.multi_vector.as_ref(),
        }
    }

    /// A reference to each value.
    pub fn as_ref(&self) -> PerHead<&T> {
        PerHead { dense: &self.dense, lexical: self.lexical.as_ref(), multi_vector: self.multi_vector.as_ref() }
    }

    /// A mutable reference to each value.
    pub fn as_mut(&mut self) -> PerHead<&mut T> {
        PerHead { dense: &mut self.dense, lexical: self.lexical.as_mut(), multi_vector: self.multi_vector.as_mut() }
    }

    /// `f` of each value, in the heads' order.
    pub fn map<U>(self, mut f: impl FnMut(T) -> U) -> PerHead<U> {
        PerHead { dense: f(self.dense), lexical: self.lexical.map(&mut f), multi_vector: self.multi_vector.map(f) }
    }

    /// As [`PerHead::map`], where `f` can fail.
    ///
    /// # Errors
    /// The first of `f`.
    pub fn try_map<U, E>(self, mut f: impl FnMut(T) -> Result<U, E>) -> Result<PerHead<U>, E> {
        Ok(PerHead {
            dense: f(self.dense)?,
            lexical: self.lexical.map(&mut f).transpose()?,
            multi_vector: self.multi_vector.map(f).transpose()?,
        })
    }

    /// Each head's two values, of the heads that have both.
    pub fn zip<U>(self, other: PerHead<U>) -> PerHead<(T, U)> {
        PerHead {
            dense: (self.dense, other.dense),
            lexical: self.lexical.zip(other.lexical),
            multi_vector: self.multi_vector.zip(other.multi_vector),
        }
    }

    /// The values of the heads that run, in their order.
    pub fn iter(&self) -> impl Iterator<Item = &T> {
        Head::ALL.into_iter().filter_map(|head| self.get(head))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_come_in_the_heads_order_and_only_of_those_that_run() {
        let names = |heads| PerHead::of(heads, Head::name);
        assert_eq!(names(Heads::ALL).iter().copied().collect::<Vec<_>>(), ["dense", "lexical", "multi_vector"]);
        let some = Heads { lexical: false, multi_vector: true };
        assert_eq!(names(some).iter().copied().collect::<Vec<_>>(), ["dense", "multi_vector"]);
        assert_eq!((names(some).heads(), some.num(), Heads::DENSE.num()), (some, 2, 1));
        assert_eq!(names(some).get(Head::Lexical), None);
    }

    #[test]
    fn values_are_paired_head_by_head() {
        let (all, dense) = (PerHead::of(Heads::ALL, Head::name), PerHead::of(Heads::DENSE, |_| 7));
        assert_eq!(all.zip(dense), PerHead { dense: ("dense", 7), lexical: None, multi_vector: None });
        assert_eq!(dense.map(|n| n + 1).dense, 8);
        let fails = all.try_map(|name| if name == "lexical" { Err(name) } else { Ok(()) });
        assert_eq!(fails, Err("lexical"));
        let mut changed = all;
        changed.as_mut().map(|name| *name = "a");
        assert_eq!(changed.as_ref().map(|name| name.len()), PerHead::of(Heads::ALL, |_| 1));
    }
}
