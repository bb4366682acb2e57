//! From a ranked list to negatives: known answers go, what is left has ranks, filters (`sieve.rs`) go through the
//! range, some are drawn.

use std::collections::{HashMap, HashSet};

use tercet_protocol::args::{Draw, Few, MineArgs};
use tercet_retrieval::Hit;
use tercet_sampler::text_id;

use super::known::RowIds;

/// Why a passage of a list is no negative.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Reason {
    /// It is a positive of the row.
    Positive,
    /// It is a positive of another row whose query is the same.
    PositiveElsewhere,
    /// It is the query.
    Query,
    /// Another on the list, which is better, has the same tokens.
    Copy,
    /// It has no token.
    Tokenless,
    /// It is nearly a positive.
    NearDuplicate,
    /// It has an answer in it.
    Answer,
    /// It scores too near the lowest positive, by share.
    MaxShare,
    /// The same, by difference.
    Margin,
    /// It scores too high.
    MaxScore,
    /// It scores too low.
    MinScore,
    /// It is in another language.
    Language,
    /// Its document has enough already.
    Document,
}

impl Reason {
    /// As the report names it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Positive => "positive",
            Self::PositiveElsewhere => "positive_elsewhere",
            Self::Query => "query",
            Self::Copy => "copy",
            Self::Tokenless => "tokenless",
            Self::NearDuplicate => "near_duplicate",
            Self::Answer => "answer",
            Self::MaxShare => "max_share",
            Self::Margin => "margin",
            Self::MaxScore => "max_score",
            Self::MinScore => "min_score",
            Self::Language => "language",
            Self::Document => "document",
        }
    }
}

/// A list without what is known.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Candidates {
    /// What has ranks, best first.
    pub ranked: Vec<Hit>,
    /// What is left out, and why.
    pub removed: Vec<Reason>,
    /// Where only other rows know more answers: ranks of the range if these had ranks, and how many they take.
    pub known_elsewhere: Option<(u64, u64)>,
}

impl Candidates {
    /// The candidates of a row's `list`. `identities` gives those of a passage; `answers` are of what is known of the
    /// query, ascending.
    pub fn of(
        list: &[Hit],
        identities: impl Fn(u32) -> [u64; 2],
        ids: &RowIds,
        answers: &[u64],
        range: std::ops::Range<usize>,
    ) -> Self {
        let nothing = text_id(&[]);
        let mut found = Self::default();
        let mut seen = HashMap::new();
        // Ranks if only the row's own answers were known.
        let (mut rank, mut elsewhere) = (0, 0);
        for hit in list {
            let own = identities(hit.doc);
            let is_among = |known: &[u64]| own.iter().any(|id| known.contains(id));
            let reason = if own[0] == nothing {
                Reason::Tokenless
            } else if is_among(&ids.positives) {
                Reason::Positive
            } else if ids.queries.iter().flatten().any(|query| own.contains(query)) {
                Reason::Query
            } else if own.iter().any(|id| answers.binary_search(id).is_ok()) {
                elsewhere += u64::from(range.contains(&rank));
                rank += 1;
                Reason::PositiveElsewhere
            } else if let Some(&place) = seen.get(&own[0]) {
                // The first of the corpus stands for all copies with one score.
                let kept: &mut Hit = &mut found.ranked[place];
                if kept.score == hit.score {
                    kept.doc = kept.doc.min(hit.doc);
                }
                Reason::Copy
            } else {
                seen.insert(own[0], found.ranked.len());
                rank += 1;
                found.ranked.push(*hit);
                continue;
            };
            found.removed.push(reason);
        }
        let own: HashSet<u64> = ids.queries.iter().flatten().chain(&ids.positives).copied().collect();
        if answers.iter().any(|id| !own.contains(id)) {
            let ranks = rank.min(range.end).saturating_sub(range.start) as u64;
            found.known_elsewhere = Some((ranks, elsewhere));
        }
        found
    }
}

/// A negative: its rank, from 0, and what it is.
pub(super) type Picked = (usize, Hit);

/// What was drawn for a row.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Drawn {
    /// In the order of ranks.
    pub picked: Vec<Picked>,
    /// What did not go through, and why.
    pub removed: Vec<Reason>,
    /// Passages beyond the range are among the picked.
    pub is_widened: bool,
    /// The row is left out.
    pub is_dropped: bool,
}

impl Drawn {
    /// From what has ranks; `judge` is called in their order. `row` is the row's number in its file.
    pub fn of(
        ranked: &[Hit],
        args: &MineArgs,
        row: u64,
        mut judge: impl FnMut(Hit) -> anyhow::Result<Option<Reason>>,
    ) -> anyhow::Result<Self> {
        let mut drawn = Self::default();
        let end = args.range.depth.min(ranked.len());
        let mut left = Vec::new();
        for (rank, hit) in ranked.iter().enumerate().take(end).skip(args.range.skip) {
            match judge(*hit)? {
                Some(reason) => drawn.removed.push(reason),
                None => left.push((rank, *hit)),
            }
        }
        if args.draw == Draw::Uniform {
            let key = |&(rank, _): &Picked| (mix(args.seed, row, (rank - args.range.skip) as u64), rank);
            // A hash for each, and not for each comparison.
            left.sort_by_cached_key(key);
        }
        left.truncate(args.negatives);
        left.sort_unstable_by_key(|(rank, _)| *rank);
        drawn.picked = left;
        for (rank, hit) in ranked.iter().enumerate().skip(end.max(args.range.skip)) {
            if args.few != Few::Widen || drawn.picked.len() >= args.negatives {
                break;
            }
            match judge(*hit)? {
                Some(reason) => drawn.removed.push(reason),
                None => {
                    drawn.picked.push((rank, *hit));
                    drawn.is_widened = true;
                }
            }
        }
        if args.few == Few::Drop && drawn.picked.len() < args.negatives {
            drawn.picked.clear();
            drawn.is_dropped = true;
        }
        Ok(drawn)
    }
}

/// The first 8 bytes of BLAKE3 over the three numbers.
fn mix(seed: u64, row: u64, rank: u64) -> u64 {
    let hash = blake3::hash(&[seed, row, rank].map(u64::to_le_bytes).concat());
    u64::from_le_bytes(std::array::from_fn(|i| hash.as_bytes()[i]))
}

#[cfg(test)]
mod tests {
    use tercet_protocol::Command;

    use super::*;

    fn args(options: &str) -> MineArgs {
        let line = format!("mine --model m --rows r --out o.jsonl {options}");
        match Command::parse(line.split_whitespace().map(Into::into)).unwrap() {
            Command::Mine(args) => args,
            other => panic!("{other:?}"),
        }
    }

    fn ranking(len: u32) -> Vec<Hit> {
        (0..len).map(|doc| Hit::new(doc, -(doc as f32))).collect()
    }

    /// The ranks that are drawn if `removed` do not go through.
    fn drawn(len: u32, options: &str, row: u64, removed: &[u32]) -> (Vec<usize>, Drawn) {
        let judge = |hit: Hit| Ok(removed.contains(&hit.doc).then_some(Reason::Answer));
        let drawn = Drawn::of(&ranking(len), &args(options), row, judge).unwrap();
        assert!(drawn.picked.iter().all(|(rank, hit)| hit.doc == *rank as u32));
        (drawn.picked.iter().map(|(rank, _)| *rank).collect(), drawn)
    }

    #[test]
    fn a_draw_is_fixed_by_seed_and_row_and_keeps_the_order() {
        let draw = |seed: u64, row: u64| drawn(90, &format!("--range 0-90 --seed {seed}"), row, &[]).0;
        let first = draw(42, 5);
        assert_eq!(first, draw(42, 5));
        assert!(first != draw(42, 6) && first != draw(43, 5));
        assert!(first.len() == 7 && first.is_sorted());
        // What a filter takes away is replaced; the others stay.
        let (others, _) = drawn(90, "--range 0-90", 5, &[first[3] as u32]);
        assert_eq!(others.iter().filter(|rank| first.contains(rank)).count(), 6);
    }

    #[test]
    fn every_rank_of_the_range_is_drawn_about_equally_often() {
        let mut counts = [0; 30];
        for row in 0..4000 {
            drawn(40, "--range 10-30 --negatives 5 --seed 1", row, &[]).0.iter().for_each(|rank| counts[*rank] += 1);
        }
        assert!(counts[..10].iter().all(|count| *count == 0));
        assert!(counts[10..].iter().all(|count| (850..1150).contains(count)), "{counts:?}");
    }

    #[test]
    fn the_top_is_the_top() {
        assert_eq!(drawn(40, "--range 10-30 --negatives 3 --draw top", 1, &[10, 12]).0, [11, 13, 14]);
    }

    #[test]
    fn too_few_are_widened_kept_or_dropped() {
        let few = |few: &str, len: u32| drawn(len, &format!("--range 2-6 --negatives 4 --few {few}"), 1, &[3, 6]);
        let (ranks, widened) = few("widen", 9);
        assert_eq!((ranks, widened.is_widened, widened.removed.len()), (vec![2, 4, 5, 7], true, 2));
        let (ranks, widened) = few("widen", 7);
        assert_eq!((ranks, widened.is_widened, widened.removed.len()), (vec![2, 4, 5], false, 2));
        let (ranks, kept) = few("keep", 9);
        assert_eq!((ranks, kept.is_widened, kept.is_dropped, kept.removed.len()), (vec![2, 4, 5], false, false, 1));
        let (ranks, dropped) = few("drop", 9);
        assert_eq!((ranks, dropped.is_dropped), (vec![], true));
        for len in 0..3 {
            assert_eq!(few("widen", len).0.len(), usize::from(len == 3), "{len}");
        }
    }

    #[test]
    fn what_is_known_has_no_rank() {
        // Passages 0 and 5 have one text, 1 is the row's, 2 another row's, 3 the query, 4 empty, 6 the row's with a
        // title.
        let nothing = text_id(&[]);
        let of = |doc: u32| match doc {
            0 | 5 => [7, 7],
            1 => [10, 10],
            2 => [11, 11],
            3 => [12, 12],
            4 => [nothing, nothing],
            6 => [8, 10],
            doc => [100 + u64::from(doc); 2],
        };
        let ids = RowIds { queries: [Some(12), Some(13)], positives: vec![10] };
        let list: Vec<Hit> = [5, 1, 2, 3, 4, 0, 6, 8, 9].into_iter().map(|doc| Hit::new(doc, 1.0)).collect();
        let found = Candidates::of(&list, of, &ids, &[10, 11, 12, 13], 1..3);
        assert_eq!(found.ranked.iter().map(|hit| hit.doc).collect::<Vec<_>>(), [0, 8, 9]);
        use Reason::{Copy, Positive, PositiveElsewhere, Query, Tokenless};
        assert_eq!(found.removed, [Positive, PositiveElsewhere, Query, Tokenless, Copy, Positive]);
        // Ranks 2 and 3 would be passage 2 and 8.
        assert_eq!(found.known_elsewhere, Some((2, 1)));
        assert_eq!(Candidates::of(&list, of, &ids, &[10, 12, 13], 1..3).known_elsewhere, None);
    }
}
