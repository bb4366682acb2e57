//! Numbers and ranks as findings name them.

pub fn mib(bytes: u64) -> String {
    format!("{} MiB", bytes >> 20)
}

/// `1 GPU`, `8 GPUs`.
pub fn counted(number: usize, what: &str) -> String {
    format!("{number} {what}{}", if number == 1 { "" } else { "s" })
}

/// `rank 3`, `ranks 8 to 15`, `ranks 1, 3`.
pub fn range(ranks: &[usize]) -> String {
    match ranks {
        [rank] => format!("rank {rank}"),
        [first, .., last] if last - first + 1 == ranks.len() => format!("ranks {first} to {last}"),
        _ => format!("ranks {}", ranks.iter().map(usize::to_string).collect::<Vec<_>>().join(", ")),
    }
}

/// `rank 3: …`, `ranks 8 to 15: …`.
pub fn named(ranks: &[usize], text: &str) -> String {
    format!("{}: {text}", range(ranks))
}
