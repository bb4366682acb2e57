//! Numbers and ranks as findings name them.

pub fn mib(bytes: u64) -> String {
    format!("{} MiB", bytes >> 20)
}

/// `rank 3: …`, `ranks 8 to 15: …`.
pub fn named(ranks: &[usize], text: &str) -> String {
    match ranks {
        [rank] => format!("rank {rank}: {text}"),
        [first, .., last] if last - first + 1 == ranks.len() => format!("ranks {first} to {last}: {text}"),
        _ => format!("ranks {}: {text}", ranks.iter().map(usize::to_string).collect::<Vec<_>>().join(", ")),
    }
}
