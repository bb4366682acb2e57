//! How sure a difference is: the paired percentile bootstrap over queries (Efron, 1979; for retrieval Sakai, 2006).
//!
//! A sample draws as many queries as there are, with replacement, and takes the mean of what two systems differ in on
//! each of them. The interval holds the middle 95 % of the samples' means. A mean over data sets draws in each of them.
//! Samples are hashes of a seed, the data set's name and their number, so the same figures have the same intervals,
//! whatever else is in a report.

use rayon::prelude::*;
use tercet_sampler::hash;

/// How many samples are drawn.
pub const SAMPLES: usize = 10_000;
/// What they are drawn by.
pub const SEED: u64 = 0;

/// What systems differ in on the queries of a data set.
#[derive(Debug)]
pub struct Differences {
    /// The data set.
    pub name: String,
    /// [queries, columns]: a column for each two systems and metric; NaN where there is nothing to compare.
    pub values: Vec<f64>,
    /// Whether it counts in the mean over data sets.
    pub in_mean: bool,
}

/// The middle 95 %.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Interval {
    /// 2.5 % of the samples are below it.
    pub low: f64,
    /// 2.5 % are above it.
    pub high: f64,
}

/// The intervals of each data set and, last, of the mean over data sets, for each of `num` columns.
pub fn intervals(sets: &[Differences], num: usize) -> Vec<Vec<Option<Interval>>> {
    let mut all = vec![vec![0.0; num]; SAMPLES];
    let num_in_mean = sets.iter().filter(|set| set.in_mean).count();
    let mut found: Vec<_> = sets
        .iter()
        .map(|set| {
            let means = set.samples(num);
            if set.in_mean {
                let add = |(sum, mean): (&mut f64, &f64)| *sum += mean / num_in_mean as f64;
                all.iter_mut().zip(&means).for_each(|(sums, means)| sums.iter_mut().zip(means).for_each(add));
            }
            middle(&means, num)
        })
        .collect();
    found.push(if num_in_mean > 0 { middle(&all, num) } else { vec![None; num] });
    found
}

impl Differences {
    /// [samples, columns]: means.
    fn samples(&self, num: usize) -> Vec<Vec<f64>> {
        let num_queries = self.values.len() / num.max(1);
        let name = hash(&self.name.bytes().map(u64::from).collect::<Vec<_>>());
        let sample = |nth: usize| {
            let key = hash(&[SEED, name, nth as u64]);
            let mut sums = vec![0.0; num];
            for draw in 0..num_queries {
                // A number below 2^64 as a share of it, times the queries.
                let query = (u128::from(hash(&[key, draw as u64])) * num_queries as u128) >> 64;
                let row = &self.values[query as usize * num..][..num];
                sums.iter_mut().zip(row).for_each(|(sum, value)| *sum += value);
            }
            sums.iter_mut().for_each(|sum| *sum /= num_queries as f64);
            sums
        };
        (0..SAMPLES).into_par_iter().map(sample).collect()
    }
}

/// The interval of each column of `samples`; none where there are no numbers.
fn middle(samples: &[Vec<f64>], num: usize) -> Vec<Option<Interval>> {
    let column = |column: usize| {
        let mut values: Vec<f64> = samples.iter().map(|sample| sample[column]).collect();
        values.sort_by(f64::total_cmp);
        // NaN is in all samples or in none.
        let is_known = values.iter().all(|value| value.is_finite());
        is_known.then(|| Interval { low: quantile(&values, 0.025), high: quantile(&values, 0.975) })
    };
    (0..num).map(column).collect()
}

/// The quantile of `sorted` values, linear between two of them.
fn quantile(sorted: &[f64], share: f64) -> f64 {
    let place = share * (sorted.len() - 1) as f64;
    let (below, part) = (place.floor() as usize, place.fract());
    let above = sorted[(below + 1).min(sorted.len() - 1)];
    sorted[below] + part * (above - sorted[below])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(name: &str, values: Vec<f64>) -> Differences {
        Differences { name: name.into(), values, in_mean: true }
    }

    fn interval(sets: &[Differences], at: usize) -> Interval {
        intervals(sets, 1)[at][0].unwrap()
    }

    /// All 6^6 samples of six queries, each as likely as another: what drawing approaches.
    #[test]
    fn the_interval_is_that_of_all_samples_that_can_be_drawn() {
        let values = [0.1, -0.03, 0.27, 0.0, 0.41, -0.2];
        let mut means: Vec<f64> = (0..6_usize.pow(6))
            .map(|sample| (0..6).map(|draw| values[sample / 6_usize.pow(draw) % 6]).sum::<f64>() / 6.0)
            .collect();
        means.sort_by(f64::total_cmp);
        let (low, high) = (means[means.len() / 40], means[means.len() - means.len() / 40]);
        let found = interval(&[of("d", values.to_vec())], 0);
        // A quantile of 10,000 samples lies between those at 2.5 % ± 0.5 %, three of its standard errors.
        let near = |found: f64, share: f64| {
            let at = |share: f64| means[(share * means.len() as f64) as usize];
            (at(share - 0.005)..=at(share + 0.005)).contains(&found)
        };
        assert!(near(found.low, 0.025) && near(found.high, 0.975), "{found:?}, exactly {low} to {high}");
    }

    /// The mean of many queries is normal: 1.96 standard errors on both sides; of a mean over data sets as well.
    #[test]
    fn many_queries_have_the_normal_interval() {
        let values = |seed: u64| (0..2_000).map(move |i| (hash(&[seed, i]) >> 11) as f64 / (1_u64 << 53) as f64 - 0.4);
        let statistics = |values: &[f64]| {
            let n = values.len() as f64;
            let mean = values.iter().sum::<f64>() / n;
            (mean, values.iter().map(|value| (value - mean).powi(2)).sum::<f64>() / n / n)
        };
        let sets: Vec<Vec<f64>> = vec![values(1).collect(), values(2).take(500).collect()];
        let [one, two] = [0, 1].map(|at| statistics(&sets[at]));
        let all = ((one.0 + two.0) / 2.0, (one.1 + two.1) / 4.0);
        let found = intervals(&[of("a", sets[0].clone()), of("b", sets[1].clone())], 1);
        for (found, (mean, variance)) in found.iter().zip([one, two, all]) {
            let (found, half) = (found[0].unwrap(), 1.96 * variance.sqrt());
            // The quantile's own standard error is some 2.7 % of the half.
            assert!((found.low - (mean - half)).abs() < 0.1 * half, "{found:?}, {mean} ± {half}");
            assert!((found.high - (mean + half)).abs() < 0.1 * half, "{found:?}, {mean} ± {half}");
        }
    }

    #[test]
    fn a_data_sets_interval_depends_on_nothing_but_itself() {
        let values = vec![0.1, 0.5, -0.3, 0.2, 0.2, 0.9];
        let alone = interval(&[of("d", values.clone())], 0);
        let beside = intervals(&[of("c", vec![1.0, 2.0]), of("d", values.clone())], 1);
        assert_eq!(beside[1][0], Some(alone));
        // The same queries beside another column.
        let wide = values.iter().flat_map(|value| [f64::NAN, *value]).collect();
        assert_eq!(intervals(&[of("d", wide)], 2)[0], [None, Some(alone)]);
    }
}
