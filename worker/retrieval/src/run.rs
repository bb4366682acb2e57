//! TREC run files, as trec_eval reads them: `query Q0 document rank score tag`, one line per hit.

use std::io::{self, Write};

use crate::hits::{Hit, Ids};

/// Writes the ranking of one query; ranks count from 1. Scores have the digits that give back the very same 32-bit
/// number, so that trec_eval sees the same ties.
///
/// # Errors
/// As of `out`.
pub fn run_lines(
    out: &mut impl Write,
    query: &str,
    ranking: &[Hit],
    ids: &(impl Ids + ?Sized),
    tag: &str,
) -> io::Result<()> {
    for (rank, hit) in (1..).zip(ranking) {
        write!(out, "{query} Q0 ")?;
        out.write_all(ids.id(hit.doc))?;
        writeln!(out, " {rank} {} {tag}", hit.score)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Two;

    impl Ids for Two {
        fn id(&self, doc: u32) -> &[u8] {
            if doc == 0 { b"a" } else { "é#1".as_bytes() }
        }
    }

    #[test]
    fn lines_carry_rank_and_exact_score() {
        let hits = [Hit::new(1, 0.1 + 0.2), Hit::new(0, 1e-7)];
        let mut text = Vec::new();
        run_lines(&mut text, "q", &hits, &Two, "dense").unwrap();
        let text = String::from_utf8(text).unwrap();
        let lines: Vec<&str> = text.lines().collect();
        assert!(lines[0].starts_with("q Q0 é#1 1 0.3") && lines[1] == "q Q0 a 2 0.0000001 dense", "{text}");
        let score: f32 = lines[0].split(' ').nth(4).unwrap().parse().unwrap();
        assert_eq!((lines.len(), score), (2, hits[0].score));
    }
}
