//! Sums of rows that belong together, always in the order in which the rows lie.
//!
//! libtorch's `index_add` goes over the rows in order on a CPU. On a GPU it adds by atomic operations, in whatever
//! order threads come, so that the last bits differ from run to run. Here one thread makes each sum there, row by row.
//! (libtorch's deterministic mode would sort and do likewise, but only while it is on.)
//!
//! Legend: K rows, n their width, R sums.

use tch::{Device, Kind, Tensor};

/// Adds to row `index[k]` of `table` every row k of `rows`, [K, n]; `index` is int64 `[K]`, in any order.
pub fn add_rows(table: &mut Tensor, index: &Tensor, rows: &Tensor) {
    match table.device() {
        Device::Cpu => drop(table.index_add_(0, index, rows)),
        _ => add_sorted_rows(table, index, rows),
    }
}

/// The sums of runs of `rows`, [R, n] from [K, n]: the first `lengths[0]` rows, those that follow, and so on. `owner`
/// says the same row by row, the run that each is of. Both are int64, `[R]` and `[K]`. Autograd can differentiate it.
pub fn of_runs(rows: &Tensor, owner: &Tensor, lengths: &Tensor) -> Tensor {
    match rows.device() {
        Device::Cpu => {
            let zeros = Tensor::zeros([lengths.size()[0], rows.size()[1]], (rows.kind(), rows.device()));
            zeros.index_add(0, owner, rows)
        }
        _ => runs_by_segments(rows, lengths),
    }
}

/// Adds the sums of [`of_runs`] to `sums`, [R, n], which may be a view.
pub fn add_runs(sums: &mut Tensor, rows: &Tensor, owner: &Tensor, lengths: &Tensor) {
    match rows.device() {
        Device::Cpu => drop(sums.index_add_(0, owner, rows)),
        _ => drop(sums.g_add_(&runs_by_segments(rows, lengths))),
    }
}

/// [bags, n]: Σ weight · row over each bag, in order. Bag b is the rows `index[starts[b]]` up to where the next begins.
pub fn of_bags(rows: &Tensor, index: &Tensor, starts: &Tensor, weights: Option<&Tensor>) -> Tensor {
    const SUM: i64 = 0;
    Tensor::internal_embedding_bag_forward_only(rows, index, starts, false, SUM, false, weights, false, -1).0
}

/// Sorts the rows by their index. The first row of every index becomes the sum of all rows of that index; the others
/// become 0, and zeros may be added in any order. The number of sums is not asked for, so the host does not wait for
/// the device.
fn add_sorted_rows(table: &mut Tensor, index: &Tensor, rows: &Tensor) {
    if index.numel() == 0 {
        return;
    }
    let (sorted, order) = index.sort_stable(true, 0, false);
    let place = Tensor::arange(index.size()[0], (Kind::Int64, index.device()));
    let edge = |right, side| sorted.searchsorted(&sorted, false, right, side, None::<&Tensor>);
    // A row that is not the first of its index has an empty bag: it starts where the run ends.
    let starts = place.where_self(&edge(false, "left").eq_tensor(&place), &edge(true, "right"));
    let _ = table.index_add_(0, &sorted, &of_bags(rows, &order, &starts, None));
}

fn runs_by_segments(rows: &Tensor, lengths: &Tensor) -> Tensor {
    if rows.size()[0] == 0 {
        return Tensor::zeros([lengths.size()[0], rows.size()[1]], (rows.kind(), rows.device()));
    }
    // The lengths are not checked, which would wait for the device. A run without rows has the sum 0.
    Tensor::segment_reduce(rows, "sum", Some(lengths), None::<&Tensor>, None::<&Tensor>, 0, true, 0.0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tensors::libtorch;

    const OPTIONS: (Kind, Device) = (Kind::Double, Device::Cpu);

    fn rows(count: i64, width: i64) -> Tensor {
        Tensor::arange(count * width, OPTIONS).sin().view([count, width])
    }

    /// Both to 1e-14: a sum of few numbers of about 1.
    fn same(ours: &Tensor, theirs: &Tensor) {
        assert_eq!(ours.size(), theirs.size());
        assert!(ours.numel() == 0 || (ours - theirs).abs().max().double_value(&[]) < 1e-14, "{ours} {theirs}");
    }

    #[test]
    fn rows_by_sorting_are_index_adds() {
        let cases: [&[i64]; 5] = [&[], &[3], &[5, 5, 5, 5], &[0, 1, 2, 3, 4, 5], &[4, 0, 4, 2, 0, 4, 4, 5, 2]];
        for index in cases {
            let (rows, index) = (rows(index.len() as i64, 7), Tensor::from_slice(index));
            let mut ours = Tensor::ones([6, 7], OPTIONS);
            let theirs = ours.index_add(0, &index, &rows);
            add_sorted_rows(&mut ours, &index, &rows);
            same(&ours, &theirs);
        }
    }

    #[test]
    fn runs_by_segments_are_index_adds_and_so_are_their_gradients() {
        same(&runs_by_segments(&rows(0, 3), &Tensor::from_slice(&[0i64, 0])), &Tensor::zeros([2, 3], OPTIONS));
        for lengths in [&[3i64, 0, 1, 4][..], &[5], &[0, 1, 0]] {
            let owners = lengths.iter().zip(0i64..).flat_map(|(&len, run)| std::iter::repeat_n(run, len as usize));
            let (owner, count) = (Tensor::from_slice(&owners.collect::<Vec<_>>()), lengths.iter().sum());
            let lengths = Tensor::from_slice(lengths);
            let [ours, theirs] = [(); 2].map(|()| rows(count, 3).set_requires_grad(true));
            let (sums, exact) = (runs_by_segments(&ours, &lengths), of_runs(&theirs, &owner, &lengths));
            same(&sums.detach(), &exact.detach());
            let seed = self::rows(lengths.size()[0], 3);
            libtorch::backward(&[(&sums, &seed), (&exact, &seed)]);
            same(&ours.grad(), &theirs.grad());
            let mut added = tch::no_grad(|| seed.copy());
            tch::no_grad(|| add_runs(&mut added, &ours, &owner, &lengths));
            same(&added, &tch::no_grad(|| &seed + &exact));
        }
    }
}
