//! What each rank does in a job of `main.rs`. Expected values are computed here from all ranks' inputs.

use std::fmt::Debug;
use std::ops::Add;
use std::thread;
use std::time::Duration;

use tercet_cluster::{Collective, Mpi, ReduceOp, Scalar, all_ranks, any_rank, broadcast_bytes, connect, gather_counts};
use tercet_configs::Backend;

use crate::{job, started};

/// Plays `part`.
pub fn run(part: &str) {
    if part == "auto" {
        let ranks = connect(Backend::Auto, false, Duration::from_secs(60)).unwrap();
        println!("world of {}, local {}/{}", ranks.world_size(), ranks.local_rank(), ranks.local_size());
        return;
    }
    let max_message_bytes = std::env::var(job::MESSAGE_BYTES).unwrap().parse().unwrap();
    let ranks = Mpi::join(max_message_bytes).unwrap();
    ranks.barrier().unwrap();
    println!("{} {}", job::READY, std::process::id());
    match part {
        "operations" => {
            operations(&ranks);
            if ranks.world_size() == 1 {
                started::nothing_is_touched_alone(&ranks);
            }
        }
        "long_ring" => round_trip(&ranks, &vec![60_000; ranks.world_size()]),
        "long_sum" => started::order_of_sums(&ranks, 300_001),
        "bits" => bits(&ranks),
        "uneven_ring" => uneven_ring(&ranks),
        "out_of_order" | "before_a_barrier" => started::misuse(&ranks, part),
        "abandoned" => return started::misuse(&ranks, part),
        // Rank 1 fails, and its peers wait for it.
        _ if ranks.rank() == 1 => fail(&ranks, part),
        _ => {}
    }
    ranks.barrier().unwrap();
    println!("{}", job::DONE);
}

/// The first and the last rank exchange, also in pieces, while the others do nothing.
fn pairs(ranks: &dyn Collective) {
    let (rank, last) = (ranks.rank(), ranks.world_size() - 1);
    let bytes = |of: usize| (0..100).map(|i| (i * 3 + of) as u8).collect::<Vec<_>>();
    if rank == 0 || rank == last {
        let (peer, mut received) = (last - rank, [0; 100]);
        ranks.pair_exchange(peer, &bytes(rank), &mut received).unwrap();
        assert_eq!(received[..], bytes(peer));
    }
    assert!(ranks.pair_exchange(0, &[1], &mut []).is_err());
    assert!(ranks.pair_exchange(last + 1, &[], &mut []).is_err());
}

fn fail(ranks: &dyn Collective, part: &str) {
    match part {
        "panic" => panic!("the test's own panic"),
        "panic_in_a_thread" => {
            thread::spawn(|| panic!("the test's own panic"));
            thread::sleep(Duration::from_secs(600));
        }
        _ => ranks.abort(part.strip_prefix("abort ").expect("a part that exists").parse().unwrap()),
    }
}

pub fn operations(ranks: &dyn Collective) {
    reductions(ranks, |number| number as f32);
    reductions(ranks, |number| number as f64);
    reductions(ranks, |number| number as i64 - 20);
    reductions(ranks, |number| number as u8);
    gathers(ranks);
    broadcasts(ranks);
    rings(ranks);
    pairs(ranks);
    started::sums(ranks, |number| number as f32 * 1e6);
    started::sums(ranks, |number| number as f64 / 3.0);
    started::sums(ranks, |number| number as i64 - 20);
    started::gathers(ranks);
    started::several_at_once(ranks);
    values(ranks);
    refusals(ranks);
}

/// All lists of part lengths that the tests use: with empty parts at the ends, within, everywhere except on one rank,
/// and everywhere.
pub fn ragged_counts(world_size: usize) -> Vec<Vec<usize>> {
    vec![
        (0..world_size).map(|rank| rank * 7 % 17).collect(),
        (0..world_size).map(|rank| if rank % 2 == 0 { 13 } else { 0 }).collect(),
        (0..world_size).map(|rank| if rank + 1 == world_size { 21 } else { 0 }).collect(),
        vec![5; world_size],
        vec![0; world_size],
    ]
}

/// Small whole numbers, exact in every type, that differ by rank and index; any rank may have the largest.
pub fn input(rank: usize, index: usize) -> usize {
    (rank * 11 + index * 5) % 31
}

fn reductions<T>(ranks: &dyn Collective, number: fn(usize) -> T)
where
    T: Scalar + Add<Output = T> + PartialOrd + Debug,
{
    let (rank, world_size) = (ranks.rank(), ranks.world_size());
    let own = |rank: usize, len: usize| -> Vec<T> { (0..len).map(|index| number(input(rank, index))).collect() };
    for (op, combine) in [
        (ReduceOp::Sum, (|a, b| a + b) as fn(T, T) -> T),
        (ReduceOp::Max, |a, b| if a > b { a } else { b }),
        (ReduceOp::Min, |a, b| if a < b { a } else { b }),
    ] {
        let expected = |len: usize| -> Vec<T> {
            let all: Vec<Vec<T>> = (0..world_size).map(|rank| own(rank, len)).collect();
            (0..len).map(|index| all.iter().map(|values| values[index]).reduce(combine).unwrap()).collect()
        };
        for len in [0, 1, 2, 10, 101] {
            let mut values = own(rank, len);
            ranks.all_reduce(values.as_mut_slice().into(), op).unwrap();
            assert_eq!(values, expected(len), "all_reduce {op:?} of {len}");
        }
    }
}

fn gathers(ranks: &dyn Collective) {
    let (rank, world_size) = (ranks.rank(), ranks.world_size());
    let part = |rank: usize, len: usize| (0..len).map(move |index| (rank * 1000 + index) as f32);
    for counts in ragged_counts(world_size) {
        let expected: Vec<f32> = (0..world_size).flat_map(|rank| part(rank, counts[rank])).collect();
        let send: Vec<f32> = part(rank, counts[rank]).collect();
        let mut recv = vec![-1.0f32; expected.len()];
        ranks.all_gather(send[..].into(), recv.as_mut_slice().into(), &counts).unwrap();
        assert_eq!(recv, expected, "all_gather {counts:?}");
        assert_eq!(gather_counts(ranks, counts[rank]).unwrap(), counts);
    }
}

fn broadcasts(ranks: &dyn Collective) {
    for root in 0..ranks.world_size() {
        for len in [0i64, 1, 33] {
            let mut values: Vec<i64> = (0..len).map(|index| ranks.rank() as i64 * 100 + index).collect();
            ranks.broadcast(values.as_mut_slice().into(), root).unwrap();
            assert_eq!(values, (0..len).map(|index| root as i64 * 100 + index).collect::<Vec<_>>());
        }
        let mut text =
            format!("{} bytes long is rank {}'s text", "x".repeat(ranks.rank() * 9), ranks.rank()).into_bytes();
        broadcast_bytes(ranks, &mut text, root).unwrap();
        assert_eq!(text, format!("{} bytes long is rank {root}'s text", "x".repeat(root * 9)).into_bytes());
    }
}

fn rings(ranks: &dyn Collective) {
    for counts in ragged_counts(ranks.world_size()) {
        round_trip(ranks, &counts);
    }
}

/// Every rank's block of `counts[rank]` numbers travels all the way round and is home after one exchange for each rank.
fn round_trip(ranks: &dyn Collective, counts: &[usize]) {
    let (rank, world_size) = (ranks.rank(), ranks.world_size());
    let block = |owner: usize| -> Vec<i64> { (0..counts[owner]).map(|i| (owner * 100_000 + i) as i64).collect() };
    let mut held = block(rank);
    for trip in 1..=world_size {
        let owner = (rank + world_size - trip) % world_size;
        let mut recv = vec![-1i64; counts[owner]];
        ranks.ring_exchange(held[..].into(), recv.as_mut_slice().into()).unwrap();
        assert!(recv == block(owner), "ring_exchange {counts:?}, trip {trip}: {recv:?}");
        held = recv;
    }
}

fn values(ranks: &dyn Collective) {
    let last = ranks.rank() + 1 == ranks.world_size();
    let alone = ranks.world_size() == 1;
    assert!(all_ranks(ranks, true).unwrap() && any_rank(ranks, true).unwrap());
    assert!(!all_ranks(ranks, false).unwrap() && !any_rank(ranks, false).unwrap());
    assert!(any_rank(ranks, last).unwrap());
    assert_eq!(all_ranks(ranks, last).unwrap(), alone);
}

/// Mistakes that a rank can see by itself are refused before anything is sent, so the ranks stay in step.
fn refusals(ranks: &dyn Collective) {
    let world_size = ranks.world_size();
    let mut recv = vec![0.0f32; world_size + 1];
    let counts = vec![1; world_size];
    let message = ranks.all_gather([1.0f32][..].into(), recv.as_mut_slice().into(), &counts).unwrap_err().to_string();
    let rest =
        format!("all_gather: elements in the buffer of all parts: expected {world_size}, got {}", world_size + 1);
    assert_eq!(message, format!("rank {}/{world_size} {}: {rest}", ranks.rank(), ranks.host()));
    assert!(ranks.ring_exchange([1u8; 4][..].into(), recv[..1].as_mut().into()).is_err());
    assert!(ranks.broadcast(recv.as_mut_slice().into(), world_size).is_err());
    // SAFETY: nothing is started.
    unsafe {
        let message = ranks.start_reduce_scatter(recv.as_mut_slice().into(), &counts).err().unwrap().to_string();
        assert!(message.ends_with(&rest.replace("all_gather", "start_reduce_scatter")), "{message}");
        assert!(ranks.start_all_gather(recv[..world_size].as_mut().into(), &counts[1..]).is_err());
        assert!(ranks.start_ring_exchange([1u8; 4][..].into(), recv[..1].as_mut().into()).is_err());
    }
    ranks.barrier().unwrap();
}

/// Prints the bits of sums that depend on the order of addition.
fn bits(ranks: &dyn Collective) {
    let mut digest = 0u64;
    for len in [3usize, 1000, 300_000] {
        let mut values = any_floats(ranks.rank(), len);
        ranks.all_reduce(values.as_mut_slice().into(), ReduceOp::Sum).unwrap();
        digest = values
            .iter()
            .fold(digest, |digest, value| (digest ^ u64::from(value.to_bits())).wrapping_mul(0x100_0000_01b3));
    }
    println!("bits {digest:016x}");
}

/// Numbers of a rank whose sum depends on the order of addition.
pub fn any_floats(rank: usize, len: usize) -> Vec<f32> {
    let mut state = rank as u32 * 7919 + 17;
    let next = |_| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state as f32 / u32::MAX as f32 - 0.5) * 10f32.powi((state >> 8) as i32 % 7)
    };
    (0..len).map(next).collect()
}

/// Rank 1 sends 8 bytes where rank 2 waits for 12.
fn uneven_ring(ranks: &dyn Collective) {
    let send = vec![1.0f32; if ranks.rank() == 1 { 2 } else { 3 }];
    let mut recv = vec![0.0f32; 3];
    if let Err(error) = ranks.ring_exchange(send[..].into(), recv.as_mut_slice().into()) {
        eprintln!("{error}");
        ranks.abort(3);
    }
}
