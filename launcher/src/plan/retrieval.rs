//! What an index and a search take, reckoned from what a part of them took.
//!
//! What is measured and what is reckoned stand under headings of their own. A dense search multiplies every query by
//! every passage, lexical searches go through postings, both in proportion to the passages. What is encoded again for a
//! query does not depend on them, but in a large corpus hardly any two queries want the same passage. Ranks share all
//! of it evenly. Not counted: reading an index that is not in the page cache, the exchange of lists (its bytes are
//! told), and starting.

use std::fmt::Write;

use tercet_configs::{Device, ModelShape};
use tercet_protocol::says::dry_run::{IndexSample, SearchSample};

use super::flops::encoder;
use super::units::{duration, grouped, scaled};
use super::work::Encoded;

/// For whom it is reckoned.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Scale {
    /// Passages of the corpus.
    pub passages: u64,
    /// Ranks.
    pub ranks: usize,
    /// Floating-point operations per second that a rank achieves there; none: as measured here.
    pub flops: Option<f64>,
}

/// Bytes that a rank sends of each hit.
const HIT_BYTES: f64 = 8.0;

/// What an index of `scale.passages` such passages takes.
pub fn index_table(sample: &IndexSample, shape: &ModelShape, scale: Scale) -> String {
    let sampled = sample.sampled.max(1) as f64;
    let (tokens, bytes) = (sample.tokens as f64 / sampled, sample.text_bytes as f64 / sample.passages.max(1) as f64);
    let per_sec = sampled / sample.encode_secs / sample.world_size as f64;
    let encoded = Encoded { num_texts: 1.0, tokens, squares: sample.squares as f64 / sampled, ..Encoded::default() };
    let flops = encoder(shape, &encoded);
    let stored: f64 = sample.stored_bytes.values().sum::<u64>() as f64 / sampled;
    let parts: Vec<String> = sample
        .stored_bytes
        .iter()
        .map(|(of, bytes)| format!("{of} {}", scaled(*bytes as f64 / sampled, "B")))
        .collect();
    let mut text = String::new();
    // Writing to a string cannot fail.
    _ = writeln!(
        text,
        "measured on {} here, with {} of {} passages:",
        ranks_of(sample.world_size, sample.device),
        grouped(sample.sampled),
        grouped(sample.passages)
    );
    _ = writeln!(text, "  a passage     {tokens:.1} tokens, {} of text, {}", scaled(bytes, "B"), scaled(flops, "FLOP"));
    _ = writeln!(
        text,
        "  encoding      {} passages/s a rank in {}, {}",
        scaled(per_sec, ""),
        sample.precision.name(),
        scaled(per_sec * flops, "FLOP/s")
    );
    _ = writeln!(text, "  stored        {} a passage: {}", scaled(stored, "B"), parts.join(", "));
    let (all, ranks) = (scale.passages as f64, scale.ranks as f64);
    let secs = match scale.flops {
        Some(rate) => flops / rate,
        None => 1.0 / per_sec,
    };
    _ = writeln!(text, "{}", heading(scale));
    _ = writeln!(text, "  disk          {}, {} a rank", scaled(all * stored, "B"), scaled(all * stored / ranks, "B"));
    _ = writeln!(text, "  time          {} ({} a passage and rank)", duration(all * secs / ranks), short(secs));
    text
}

/// What a query costs on an index of `scale.passages` passages.
pub fn search_table(sample: &SearchSample, scale: Scale) -> String {
    let queries = sample.queries.max(1) as f64;
    let mut text = String::new();
    // Writing to a string cannot fail.
    _ = writeln!(
        text,
        "measured on {} here, with {} queries of {} passages, a query:",
        ranks_of(sample.world_size, sample.device),
        grouped(sample.queries),
        grouped(sample.passages)
    );
    // The time of one rank's work, in seconds a query.
    let of_rank = |secs: f64| secs / queries * sample.world_size as f64;
    let encode = of_rank(sample.encode_secs);
    // The time of a candidate.
    let again = sample.again_secs.map(|secs| secs * sample.world_size as f64 / sample.candidates.max(1) as f64);
    let mut line = |what: &str, secs: f64, more: String| _ = writeln!(text, "  {what:<14}{:>9}{more}", short(secs));
    line("encoding", encode, String::new());
    for (ranking, secs) in &sample.first_secs {
        let per_passage = of_rank(*secs) / sample.passages.max(1) as f64;
        line(ranking, of_rank(*secs), format!("   {} a passage", short(per_passage)));
    }
    if let Some(again) = again {
        line("encoded again", again, format!("   a passage; {} for these queries", grouped(sample.candidates)));
    }
    _ = writeln!(text, "{}", heading(scale));
    let (grown, ranks) = (scale.passages as f64 / sample.passages.max(1) as f64, scale.ranks as f64);
    let mut all = encode / ranks;
    let mut line = |what: &str, secs: f64, more: &str| {
        all += secs;
        _ = writeln!(text, "  {what:<14}{:>9}{more}", short(secs));
    };
    for (ranking, secs) in &sample.first_secs {
        match (scale.flops, ranking.as_str()) {
            (Some(rate), "dense") => {
                let flops = 2.0 * sample.dense_width as f64 * scale.passages as f64;
                line(ranking, flops / rate / ranks, "   at the rate that is given");
            }
            _ => line(ranking, of_rank(*secs) * grown / ranks, ""),
        }
    }
    if let Some(again) = again {
        let candidates = (sample.rerank as u64).min(scale.passages);
        let more = format!("   {} passages that no other query wants, as fast as here", grouped(candidates));
        line("encoded again", again * candidates as f64 / ranks, &more);
    }
    let lists = HIT_BYTES * sample.top as f64 * sample.first_secs.len() as f64;
    _ = writeln!(text, "  a query       {:>9}", short(all));
    _ = writeln!(
        text,
        "  a batch reads {} a rank for {} queries; a query's lists are {} from each rank",
        scaled(sample.index_bytes as f64 * grown / ranks, "B"),
        grouped(sample.batch),
        scaled(lists, "B")
    );
    text
}

fn heading(scale: Scale) -> String {
    let rate = scale.flops.map_or(String::new(), |rate| format!(" at {} a rank", scaled(rate, "FLOP/s")));
    let (passages, ranks) = (grouped(scale.passages), scale.ranks);
    let s = if ranks == 1 { "" } else { "s" };
    format!("by arithmetic from that, for {passages} passages on {ranks} rank{s}{rate}:")
}

fn ranks_of(count: usize, device: Device) -> String {
    let device = match device {
        Device::Cpu => "CPU",
        Device::Cuda => "GPU",
    };
    format!("{count} {device} rank{}", if count == 1 { "" } else { "s" })
}

/// `31.2 µs`, `4.10 ns`; what is longer than a second as durations are.
fn short(secs: f64) -> String {
    match secs {
        s if s >= 1.0 => duration(s),
        s if s >= 1e-3 => format!("{:.3} ms", s * 1e3),
        s if s >= 1e-6 => format!("{:.2} µs", s * 1e6),
        s => format!("{:.3} ns", s * 1e9),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use tercet_configs::Precision;

    use super::*;
    use crate::plan::shape_of_tests::shape;

    #[test]
    fn an_index_by_hand() {
        let sample = IndexSample {
            world_size: 2,
            device: Device::Cpu,
            precision: Precision::Fp32,
            passages: 1_000,
            text_bytes: 50_000,
            sampled: 100,
            tokens: 1_000,
            squares: 10_000,
            encode_secs: 5.0,
            stored_bytes: BTreeMap::from([("dense".to_owned(), 1_600), ("texts".to_owned(), 400)]),
        };
        let here = index_table(&sample, &shape(false), Scale { passages: 1_000, ranks: 2, flops: None });
        // 100 passages in 5 s on two ranks are 10 a second on each; 20 bytes of each are stored.
        assert!(here.contains("10 passages/s a rank in fp32"), "{here}");
        assert!(here.contains("20 B a passage: dense 16 B, texts 4 B"), "{here}");
        assert!(here.contains("for 1,000 passages on 2 ranks:\n  disk          20.0 kB, 10.0 kB a rank\n"), "{here}");
        assert!(here.contains("time          50.0 s (100.000 ms a passage and rank)"), "{here}");
        let there = Scale { passages: 106_000_000, ranks: 24, flops: Some(1e12) };
        let there = index_table(&sample, &shape(false), there);
        assert!(there.contains("for 106,000,000 passages on 24 ranks at 1.00 TFLOP/s a rank:"), "{there}");
        assert!(there.contains("disk          2.12 GB, 88.3 MB a rank"), "{there}");
    }

    #[test]
    fn a_search_by_hand() {
        let sample = SearchSample {
            world_size: 1,
            device: Device::Cuda,
            passages: 1_000,
            index_bytes: 1_000_000,
            dense_width: 100,
            queries: 10,
            batch: 64,
            encode_secs: 0.1,
            first_secs: BTreeMap::from([("dense".to_owned(), 1.0), ("lexical".to_owned(), 0.1)]),
            again_secs: Some(20.0),
            candidates: 50,
            rerank: 200,
            top: 1000,
        };
        let table = search_table(&sample, Scale { passages: 4_000, ranks: 2, flops: None });
        for part in [
            "measured on 1 GPU rank here, with 10 queries of 1,000 passages, a query:",
            "  dense         100.000 ms   100.00 µs a passage",
            "  encoded again 400.000 ms   a passage; 50 for these queries",
            "  dense         200.000 ms\n",
            "  encoded again    40.0 s   200 passages that no other query wants, as fast as here",
            // 5 ms of encoding, 200 and 20 ms of search, and 200 times 0.4 s on two ranks.
            "  a query          40.2 s",
            "a batch reads 2.00 MB a rank for 64 queries; a query's lists are 16.0 kB from each rank",
        ] {
            assert!(table.contains(part), "{part}\n{table}");
        }
        let given = search_table(&sample, Scale { passages: 4_000, ranks: 2, flops: Some(1e6) });
        assert!(given.contains("  dense         400.000 ms   at the rate that is given"), "{given}");
    }
}
