//! Measures opening a store, planning over it, and jumping to a step.

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use tercet_configs::Recipe;
use tercet_sampler::{Plan, Store, deal_batch};

/// The table's head.
pub const HEADER: &str = concat!(
    "          rows  open store   plan   seek median   max  deal to 96 ranks  one rank's rows  memory beyond maps\n",
    "                        ms     ms            ms    ms                ms               ms                  MB",
);

/// The paper's unsupervised batches (arXiv 2402.03216, appendix B).
const RECIPE: &str = "
name = \"scale\"
[data]
group_size = 1
length_groups = [
    { max_len = 500, global_batch = 67_200 },
    { max_len = 1000, global_batch = 54_720 },
    { max_len = 2000, global_batch = 37_248 },
    { max_len = 3000, global_batch = 27_648 },
    { max_len = 4000, global_batch = 21_504 },
    { max_len = 5000, global_batch = 17_280 },
    { max_len = 6000, global_batch = 15_072 },
    { max_len = 7000, global_batch = 12_288 },
    { max_len = 8192, global_batch = 9_984 },
]
[loss]
preset = \"dense\"
";

const STEPS: u64 = 100;
const WORLD_SIZE: usize = 96;

/// Prints a line of figures for the store in `dir`.
pub fn run(dir: &Path) {
    let recipe = Recipe::parse(RECIPE, Path::new("scale.toml"), &[]).expect("a good recipe");
    let opening = Instant::now();
    let store = Arc::new(Store::open(dir).expect("a good store"));
    let open_ms = millis(opening);
    let planning = Instant::now();
    let plan = Plan::new(store, &recipe).expect("a good plan");
    let plan_ms = millis(planning);
    let num_rows: u64 = plan.store().manifest().datasets.iter().map(|dataset| dataset.num_rows).sum();

    let far = 2000 * plan.phases()[0].steps_per_round();
    let (mut seeks, mut deals, mut shares) = (Vec::new(), Vec::new(), Vec::new());
    let mut peak = anonymous_mb();
    for i in 0..STEPS {
        // Steps all over the epochs, in no order.
        let step = (i * 0x9e37_79b9 + 7) % far;
        let seeking = Instant::now();
        let global = plan.global_batch(step);
        seeks.push(millis(seeking));
        let dealing = Instant::now();
        let dealt = deal_batch(&plan, step, WORLD_SIZE).expect("a good batch");
        deals.push(millis(dealing));
        let reading = Instant::now();
        for &row in &dealt.deal.rows[0] {
            let (dataset, position) = global.positions[row];
            plan.store().entry(dataset, position).expect("a good entry");
        }
        shares.push(millis(reading));
        peak = peak.max(anonymous_mb());
    }
    let median = |values: &mut Vec<f64>| {
        values.sort_by(f64::total_cmp);
        values[values.len() / 2]
    };
    let longest = seeks.iter().copied().fold(0.0, f64::max);
    let (seek, deal, share) = (median(&mut seeks), median(&mut deals), median(&mut shares));
    println!(
        "{num_rows:>14}  {open_ms:>10.1}  {plan_ms:>5.1}  {seek:>12.2}  {longest:>4.1}  {deal:>16.1}  {share:>15.2}  {peak:>18.0}"
    );
}

fn millis(since: Instant) -> f64 {
    since.elapsed().as_secs_f64() * 1e3
}

/// This process's memory that no file backs, in MB.
fn anonymous_mb() -> f64 {
    let status = fs::read_to_string("/proc/self/status").expect("Linux");
    let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:")).expect("Linux 4.5 or later");
    line.trim().trim_end_matches(" kB").parse::<f64>().expect("a number") / 1000.0
}
