//! Balance between ranks and padding inside sub-batches: Tercet's dealing against the published trainer's.
//!
//! ```text
//! cargo bench -p tercet-sampler --bench balance -- [--store DIR] [--steps N] [--plot FILE.svg]
//! ```
//!
//! Batches are drawn, with replacement, from the lengths of a token store's rows (each of its data sets is a
//! distribution) and from a synthetic heavy-tailed distribution, so the paper's batch sizes can be tried on a store of
//! any size. For every length group and world size both sides deal the same batches. A text costs 6·d·tokens + tokens²
//! (d 1024). The balance is given twice: of the real tokens, and of the encoded tokens, which include padding.

mod batches;
mod distribution;
mod plot;
mod sides;

use std::path::PathBuf;

use batches::{FINE_TUNING, Table, UNSUPERVISED};
use distribution::Distribution;
use sides::{Figures, Side, measure};

const WORLDS: [usize; 5] = [2, 8, 24, 96, 1024];

/// The figures of one distribution, world size and side, over all its length groups.
struct Line {
    distribution: String,
    world_size: usize,
    side: Side,
    figures: Figures,
}

fn main() {
    let mut args = std::env::args().skip(1).filter(|arg| arg != "--bench");
    let (mut store, mut plot, mut steps) = (None, None, 10);
    while let Some(arg) = args.next() {
        let mut value = || args.next().unwrap_or_else(|| panic!("{arg} needs a value"));
        match arg.as_str() {
            "--store" => store = Some(PathBuf::from(value())),
            "--plot" => plot = Some(PathBuf::from(value())),
            "--steps" => steps = value().parse().expect("--steps takes a number"),
            other => panic!("unknown argument {other}"),
        }
    }
    let mut distributions = vec![Distribution::heavy_tailed(1), Distribution::heavy_tailed(8)];
    if let Some(dir) = store {
        distributions.extend(Distribution::of_store(&dir));
    }
    println!(
        "{:<22} {:>6}  {:<9} {:>8} {:>8} {:>8} {:>8}  {:>9}",
        "distribution", "ranks", "side", "median", "p99", "worst", "padded", "padding"
    );
    let mut lines = Vec::new();
    for distribution in &distributions {
        // One passage a query is the unsupervised stage; several are fine-tuning.
        let table: Table = if distribution.group_size == 1 { UNSUPERVISED } else { FINE_TUNING };
        for world_size in WORLDS {
            for side in [Side::Tercet, Side::Published] {
                let figures = measure(distribution, &table, world_size, side, steps);
                let Figures { median, p99, worst, padded_p50, padding, .. } = figures;
                println!(
                    "{:<22} {world_size:>6}  {:<9} {median:>8.4} {p99:>8.4} {worst:>8.4} {padded_p50:>8.3}  {:>7.2} %",
                    distribution.name,
                    side.name(),
                    100.0 * padding
                );
                lines.push(Line { distribution: distribution.name.clone(), world_size, side, figures });
            }
        }
    }
    if let Some(path) = plot {
        plot::draw(&path, &lines).expect("the plot can be drawn");
    }
}
