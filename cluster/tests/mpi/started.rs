//! What each rank does with operations that are under way while it continues.

use std::fmt::Debug;
use std::ops::Add;

use tercet_cluster::{BufferMut, Collective, Element, Memory, Pending, Scalar, part_counts};

use crate::rank_side::{any_floats, input, ragged_counts};

/// This rank's numbers of one buffer, and the sums over all ranks in rank order.
fn numbers<T: Scalar + Add<Output = T>>(ranks: &dyn Collective, len: usize, number: fn(usize) -> T) -> [Vec<T>; 2] {
    let of = |rank: usize| -> Vec<T> { (0..len).map(|index| number(input(rank, index))).collect() };
    let add = |sum: Vec<T>, other: Vec<T>| sum.into_iter().zip(other).map(|(a, b)| a + b).collect();
    [of(ranks.rank()), (0..ranks.world_size()).map(of).reduce(add).unwrap()]
}

/// The range of this rank's part.
fn own_part(ranks: &dyn Collective, counts: &[usize]) -> std::ops::Range<usize> {
    let start = counts[..ranks.rank()].iter().sum();
    start..start + counts[ranks.rank()]
}

pub fn sums<T: Scalar + Add<Output = T> + PartialEq + Debug>(ranks: &dyn Collective, number: fn(usize) -> T) {
    for len in [0, 1, 2, 10, 101, 5000] {
        let [mut values, expected] = numbers(ranks, len, number);
        // SAFETY: waited for before the values are touched.
        unsafe { ranks.start_all_reduce(values.as_mut_slice().into()) }.unwrap().wait().unwrap();
        assert_eq!(values, expected, "all_reduce of {len}");
    }
    for counts in ragged_counts(ranks.world_size()) {
        let [mut values, sums] = numbers(ranks, counts.iter().sum(), number);
        let mut expected = values.clone();
        let own = own_part(ranks, &counts);
        expected[own.clone()].copy_from_slice(&sums[own]);
        // SAFETY: as above.
        unsafe { ranks.start_reduce_scatter(values.as_mut_slice().into(), &counts) }.unwrap().wait().unwrap();
        assert_eq!(values, expected, "reduce_scatter {counts:?}");
    }
}

pub fn gathers(ranks: &dyn Collective) {
    for counts in ragged_counts(ranks.world_size()) {
        let expected: Vec<i64> = (0..counts.iter().sum::<usize>() as i64).collect();
        let own = own_part(ranks, &counts);
        let mut values = vec![-1; expected.len()];
        values[own.clone()].copy_from_slice(&expected[own]);
        // SAFETY: as above.
        unsafe { ranks.start_all_gather(values.as_mut_slice().into(), &counts) }.unwrap().wait().unwrap();
        assert_eq!(values, expected, "all_gather {counts:?}");
    }
}

/// Alone there is nothing to do, and so a rank may hand over the memory of a GPU, which MPI does not carry: an address
/// that nobody may follow.
pub fn nothing_is_touched_alone(ranks: &dyn Collective) {
    let memory = Memory::Device { stream: 0 };
    // SAFETY: with one rank no backend touches the memory.
    unsafe {
        let buffer = || BufferMut::from_raw(std::ptr::dangling_mut::<f32>().cast(), 100, Element::F32, memory);
        ranks.start_all_reduce(buffer()).unwrap().wait().unwrap();
        ranks.start_reduce_scatter(buffer(), &[100]).unwrap().wait().unwrap();
        ranks.start_all_gather(buffer(), &[100]).unwrap().wait().unwrap();
    }
}

/// All kinds are under way at the same time. They are polled in an order that differs from rank to rank, and waited for
/// in the order of their start.
pub fn several_at_once(ranks: &dyn Collective) {
    let (rank, world_size) = (ranks.rank(), ranks.world_size());
    let counts: Vec<usize> = (0..world_size).map(|rank| rank * 7 % 17).collect();
    let block = |owner: usize| vec![owner as i64; 100 + owner];
    let (send, mut recv) = (block(rank), block((rank + world_size - 1) % world_size));
    recv.fill(-1);
    let mut sums: Vec<[Vec<f32>; 2]> = (0..6).map(|i| numbers(ranks, 50 * i, |number| number as f32 / 7.0)).collect();
    let mut gathered = vec![rank as u8; counts.iter().sum()];
    {
        let mut under_way: Vec<Pending> = Vec::new();
        // SAFETY: all are waited for before the block ends, and nothing touches the memory until then.
        unsafe {
            for [values, _] in &mut sums {
                under_way.push(ranks.start_all_reduce(values.as_mut_slice().into()).unwrap());
            }
            under_way.push(ranks.start_ring_exchange(send[..].into(), recv.as_mut_slice().into()).unwrap());
            under_way.push(ranks.start_all_gather(gathered.as_mut_slice().into(), &counts).unwrap());
        }
        let num = under_way.len();
        for turn in 0..20 * num {
            under_way[(turn * (rank + 1)) % num].poll();
        }
        under_way.into_iter().for_each(|pending| pending.wait().unwrap());
    }
    for [values, expected] in sums {
        assert_eq!(values, expected);
    }
    assert_eq!(recv, block((rank + world_size - 1) % world_size));
    let expected: Vec<u8> = (0..world_size).flat_map(|rank| vec![rank as u8; counts[rank]]).collect();
    assert_eq!(gathered, expected);
}

/// Sums floats whose sum in another order has other bits. Their near-equal parts are reduced and gathered in one
/// operation and in two.
pub fn order_of_sums(ranks: &dyn Collective, len: usize) {
    let add = |sum: Vec<f32>, other: Vec<f32>| sum.into_iter().zip(other).map(|(a, b)| a + b).collect();
    let expected = (0..ranks.world_size()).map(|rank| any_floats(rank, len)).reduce(add).unwrap();
    let [mut whole, mut halves] = [any_floats(ranks.rank(), len), any_floats(ranks.rank(), len)];
    let counts = part_counts(len, ranks.world_size());
    // SAFETY: each is waited for before its values are touched.
    unsafe {
        ranks.start_all_reduce(whole.as_mut_slice().into()).unwrap().wait().unwrap();
        ranks.start_reduce_scatter(halves.as_mut_slice().into(), &counts).unwrap().wait().unwrap();
        ranks.start_all_gather(halves.as_mut_slice().into(), &counts).unwrap().wait().unwrap();
    }
    assert!(whole == expected, "not the sum in rank order");
    assert!(halves == expected, "the halves are not the whole");
    if ranks.world_size() > 2 {
        let backwards = (0..ranks.world_size()).rev().map(|rank| any_floats(rank, len)).reduce(add).unwrap();
        assert!(backwards != expected, "the order does not matter for these numbers");
    }
}

/// Misuse that must end the job, on both ranks alike.
pub fn misuse(ranks: &dyn Collective, part: &str) {
    // Leaked, because the memory of an abandoned operation must never be freed.
    let buffers = || Vec::leak(vec![1.0f32; 100_000]).into();
    // SAFETY: nothing else uses the memory.
    let [first, second] = unsafe { [ranks.start_all_reduce(buffers()), ranks.start_all_reduce(buffers())] };
    let (first, second) = (first.unwrap(), second.unwrap());
    match part {
        "out_of_order" => second.wait().unwrap(),
        "before_a_barrier" => ranks.barrier().unwrap(),
        _ => drop((first, second)),
    }
}
