//! Rows counted by the length of their longest text, in ranges that grow with it.

use std::fmt::Write;

use tercet_sampler::DatasetMeta;

/// Rows in each range. Ranges end at 2, 3, 4, 6, 8, 12, … tokens: two to a doubling.
pub struct LengthCounts(Vec<u64>);

impl LengthCounts {
    /// The rows of all `datasets` that batches can take.
    pub fn of<'a>(datasets: impl IntoIterator<Item = &'a DatasetMeta>) -> Self {
        let mut counts = Vec::new();
        for dataset in datasets {
            let mut before = 0;
            for &(len, rows) in &dataset.rows_up_to {
                let range = (0..).find(|&i| len <= range_end(i)).unwrap_or(0);
                if range >= counts.len() {
                    counts.resize(range + 1, 0);
                }
                counts[range] += rows - before;
                before = rows;
            }
        }
        Self(counts)
    }

    /// From the first range that has rows to the last: the lengths, and how many rows.
    pub fn ranges(&self) -> impl Iterator<Item = (String, u64)> {
        let first = self.0.iter().position(|&rows| rows > 0).unwrap_or(0);
        let range = |i: usize| match i.checked_sub(1).map_or(1, |before| range_end(before) + 1) {
            low if low == range_end(i) => low.to_string(),
            low => format!("{low}–{}", range_end(i)),
        };
        self.0.iter().enumerate().skip(first).map(move |(i, &rows)| (range(i), rows))
    }

    /// A line for each range, with its share of all rows.
    pub fn table(&self) -> String {
        let all: u64 = self.0.iter().sum();
        let mut table = format!("{:>13}  {:>12}  {:>7}\n", "longest text", "rows", "share");
        for (range, rows) in self.ranges() {
            let share = 100.0 * rows as f64 / all.max(1) as f64;
            // Writing to a string cannot fail.
            _ = writeln!(table, "{range:>13}  {rows:>12}  {share:>5.1} %");
        }
        table
    }
}

fn range_end(i: usize) -> usize {
    let doubling = 2 << (i / 2);
    if i.is_multiple_of(2) { doubling } else { doubling + doubling / 2 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_end_twice_in_a_doubling() {
        assert_eq!([0, 1, 2, 3, 4, 5, 24].map(range_end), [2, 3, 4, 6, 8, 12, 8192]);
        let ranges: Vec<_> = LengthCounts(vec![0, 0, 5, 0, 7]).ranges().collect();
        assert_eq!(ranges, [("4".to_owned(), 5), ("5–6".to_owned(), 0), ("7–8".to_owned(), 7)]);
        let table = LengthCounts(vec![0, 3, 1]).table();
        assert!(table.contains("75.0 %") && table.contains("25.0 %"), "{table}");
    }
}
