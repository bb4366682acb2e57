//! TREC run files, as trec_eval reads them: `query Q0 document rank score tag`, one line per hit.

use std::fmt::Write as _;
use std::path::Path;

use super::hits::Hit;
use crate::files::CommandError;
use crate::files::output::write_atomically;

/// Writes the rankings of all queries. `doc_ids[hit.doc]` is a hit's id; ranks count from 1. Scores have the digits
/// that give back the very same 32-bit number, so that trec_eval sees the same ties.
///
/// # Errors
/// [`CommandError::File`].
pub fn write_run<'a>(
    path: &Path,
    rankings: impl IntoIterator<Item = (&'a str, &'a [Hit])>,
    doc_ids: &[String],
    tag: &str,
) -> Result<(), CommandError> {
    let mut text = String::new();
    for (query, ranking) in rankings {
        for (rank, hit) in (1..).zip(ranking) {
            // Writing into a string cannot fail.
            let _ = writeln!(text, "{query} Q0 {} {rank} {} {tag}", doc_ids[hit.doc as usize], hit.score);
        }
    }
    write_atomically(path, text.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_carry_rank_and_exact_score() {
        let path = tempfile::tempdir().unwrap().keep().join("dense.trec");
        let hits = [Hit::new(1, 0.1 + 0.2), Hit::new(0, 1e-7)];
        let ids = ["a".to_owned(), "b".to_owned()];
        write_run(&path, [("q", hits.as_slice())], &ids, "dense").unwrap();
        let text = std::fs::read_to_string(&path).unwrap();
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines.len(), 2);
        assert!(lines[0].starts_with("q Q0 b 1 0.3") && lines[1].starts_with("q Q0 a 2 0.0000001"), "{text}");
        let score: f32 = lines[0].split(' ').nth(4).unwrap().parse().unwrap();
        assert_eq!(score, hits[0].score);
    }
}
