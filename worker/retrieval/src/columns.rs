//! What columns of judgments are called by those who write them.

/// What a column of judgments holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Column {
    /// A query's id.
    Query,
    /// What TREC has in its second column, always the same.
    Iteration,
    /// A document's id.
    Doc,
    /// How well the document answers.
    Score,
}

impl Column {
    /// What `name` says that the column holds; None if that is nothing, or several things.
    pub fn named(name: &str) -> Option<Self> {
        let name = name.to_lowercase();
        let words: Vec<&str> = name.split(|c: char| !c.is_alphanumeric()).collect();
        let is = |parts: &[&str], whole: &[&str]| {
            parts.iter().any(|part| name.contains(part)) || words.iter().any(|word| whole.contains(word))
        };
        let queries = ["q", "qid", "qids"];
        let docs = ["d", "p", "did", "pid", "cid", "dids", "pids"];
        let columns = [
            (Self::Query, is(&["query", "queries", "question", "topic"], &queries)),
            (Self::Iteration, is(&["iter"], &[])),
            (Self::Doc, is(&["corpus", "doc", "passage", "paragraph"], &docs)),
            (Self::Score, is(&["score", "relev", "label", "grade", "judg", "rating", "rank"], &["rel", "rels"])),
        ];
        let mut said = columns.into_iter().filter(|(_, is_said)| *is_said).map(|(column, _)| column);
        said.next().filter(|_| said.next().is_none())
    }

    /// Whether a first line's `names` say that the columns are in another order than `expected`.
    pub fn are_otherwise(names: &[&str], expected: &[Self]) -> bool {
        let is_other = |(name, expected): (&&str, &Self)| Self::named(name).is_some_and(|named| named != *expected);
        names.iter().zip(expected).any(is_other)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_say_what_a_column_holds() {
        for (name, expected) in [
            ("query-id", Some(Column::Query)),
            ("qid", Some(Column::Query)),
            ("corpus-id", Some(Column::Doc)),
            ("pid", Some(Column::Doc)),
            ("rel", Some(Column::Score)),
            ("iteration", Some(Column::Iteration)),
            ("query_doc", None),
            ("a", None),
        ] {
            assert_eq!(Column::named(name), expected, "{name}");
        }
        let expected = [Column::Query, Column::Doc, Column::Score];
        assert!(!Column::are_otherwise(&["qid", "what", "label"], &expected));
        assert!(Column::are_otherwise(&["pid", "qid", "rel"], &expected));
    }
}
