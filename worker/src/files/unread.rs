//! What rows hold that is not read as it was perhaps meant: keys that resemble one of ours, and types that nobody
//! knows.

use std::collections::BTreeMap;

use tercet_sampler::{Row, unknown_type};

/// Counts of it.
#[derive(Debug, Default)]
pub struct Unread {
    near_keys: BTreeMap<(String, &'static str), usize>,
    types: BTreeMap<String, usize>,
}

impl Unread {
    /// Counts what is so in `row`.
    pub fn add(&mut self, row: &Row) {
        for near in &row.near_keys {
            *self.near_keys.entry((near.key.clone(), near.meant)).or_default() += 1;
        }
        if let Some(kind) = row.kind.as_ref().filter(|kind| unknown_type(kind).is_some()) {
            *self.types.entry(kind.clone()).or_default() += 1;
        }
    }

    /// Warns of it; `of` names the rows.
    pub fn tell(&self, of: &str) {
        self.remarks().iter().for_each(|remark| tracing::warn!("{of}: {remark}"));
    }

    fn remarks(&self) -> Vec<String> {
        let keys = self.near_keys.iter().map(|((key, meant), rows)| {
            format!("{key:?} of {rows} rows is not read; perhaps {meant:?} is what is meant")
        });
        let types = self
            .types
            .iter()
            .filter_map(|(kind, rows)| Some(format!("{rows} rows have the type {kind:?}, {}", unknown_type(kind)?)));
        keys.chain(types).collect()
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use tercet_sampler::{ReadAt, WrittenRow};

    use super::*;

    #[test]
    fn keys_and_types_are_counted_and_known_ones_are_not() {
        let mut unread = Unread::default();
        for rest in [
            r#""type": "clustering", "ce_scores": [1]"#,
            r#""type": "clustering", "neg": [], "neg_list": ["b"]"#,
            r#""type": "normal", "id": 3"#,
        ] {
            let line = format!(r#"{{"query": "q", "pos": ["a"], {rest}}}"#);
            let at = ReadAt::line(&Path::new("rows.jsonl").into(), 1);
            unread.add(&WrittenRow::of_line(at, line.as_bytes()).unwrap().row);
        }
        let expected = [
            r#""ce_scores" of 1 rows is not read; perhaps "pos_scores" is what is meant"#,
            r#""neg_list" of 1 rows is not read; perhaps "neg" is what is meant"#,
            r#"2 rows have the type "clustering", which is not known, and it trains as "normal" does: perhaps "symmetric_clustering" is what is meant"#,
        ];
        assert_eq!(unread.remarks(), expected);
    }
}
