//! The distributions of rows' lengths.

use std::path::Path;

use tercet_sampler::{SpecialTokens, Store};

/// Rows of one kind by the lengths of their texts.
pub struct Distribution {
    /// Its name in the table.
    pub name: String,
    /// Passages per query.
    pub group_size: usize,
    /// Framed lengths of each row's query and passages, sorted by the longest.
    rows: Vec<Vec<usize>>,
}

/// The number of rows of the synthetic distribution.
const NUM_SYNTHETIC: u64 = 400_000;

impl Distribution {
    /// Passages of Pareto-distributed lengths (exponent 1.1, from 40 tokens, cut at 8192), queries of 3 to 60 tokens.
    pub fn heavy_tailed(group_size: usize) -> Self {
        let text = |row: u64, i: u64| {
            let uniform = (hash(row * 31 + i) >> 11) as f64 / (1u64 << 53) as f64;
            (40.0 * (1.0 - uniform).powf(-1.0 / 1.1)).min(8192.0) as usize
        };
        let row = |row: u64| {
            let query = 3 + (hash(row ^ 0xabcd) % 58) as usize;
            std::iter::once(query).chain((0..group_size as u64).map(|i| text(row, i))).collect()
        };
        Self::new(format!("heavy tail, 1 x {group_size}"), group_size, (0..NUM_SYNTHETIC).map(row).collect())
    }

    /// The data sets of a store: groups of 8 if the first row has at least 7 negatives, else pairs.
    pub fn of_store(dir: &Path) -> Vec<Self> {
        let store = Store::open(dir).expect("a token store");
        (0..store.num_datasets()).map(|dataset| Self::of_dataset(&store, dataset)).collect()
    }

    fn of_dataset(store: &Store, dataset: usize) -> Self {
        let meta = store.dataset(dataset);
        let shape = |position| store.shape(dataset, position).expect("a good store");
        let group_size = if shape(0).neg.len() >= 7 { 8 } else { 1 };
        let rows = (0..meta.num_ordered()).map(shape).filter(|shape| shape.neg.len() + 1 >= group_size);
        let rows = rows.map(|shape| {
            let texts = [shape.query, shape.pos[0]].into_iter().chain(shape.neg[..group_size - 1].iter().copied());
            texts.map(|len| len as usize + SpecialTokens::NUM_FRAMING).collect()
        });
        Self::new(format!("{}, 1 x {group_size}", meta.name), group_size, rows.collect())
    }

    fn new(name: String, group_size: usize, mut rows: Vec<Vec<usize>>) -> Self {
        rows.sort_by_key(|row| longest(row));
        Self { name, group_size, rows }
    }

    /// `count` rows whose longest text has more than `above` and at most `up_to` tokens; `None` if there are too few to
    /// draw from.
    pub fn draw(&self, above: usize, up_to: usize, count: usize, seed: u64) -> Option<Vec<&[usize]>> {
        const FEWEST: usize = 30;
        let at = |len: usize| self.rows.partition_point(|row| longest(row) <= len);
        let rows = &self.rows[at(above)..at(up_to)];
        let row = |i: u64| rows[(hash(hash(seed) ^ i) % rows.len() as u64) as usize].as_slice();
        (rows.len() >= FEWEST).then(|| (0..count as u64).map(row).collect())
    }
}

fn longest(row: &[usize]) -> usize {
    row.iter().copied().max().unwrap_or(0)
}

/// SplitMix64 (Steele, Lea and Flood, 2014).
fn hash(x: u64) -> u64 {
    let x = x.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}
