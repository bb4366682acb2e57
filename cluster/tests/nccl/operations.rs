//! What each rank does with values on its GPU. Expected values are computed here from all ranks' inputs; their sums are
//! exact in any order, because NCCL adds in an order of its own.

use std::fmt::Debug;
use std::ops::Add;
use std::time::{Duration, Instant};

use cudarc::driver::sys;
use tercet_cluster::{BufferMut, Collective, CollectiveError, Element, Memory, Pending, ReduceOp, Scalar, part_counts};

use crate::on_gpu::OnGpu;
use crate::rank_side::{any_floats, input, ragged_counts};

/// What a rank says before the number that [`parts`] returns.
pub const NUM_PARTS: &str = "parts that were reduced and gathered";

pub fn run(ranks: &dyn Collective) {
    sums(ranks, |number| number as f32);
    sums(ranks, |number| number as f64 / 8.0);
    sums(ranks, |number| number as i64 - 20);
    sums(ranks, |number| number as u8);
    brain_floats(ranks);
    extremes(ranks);
    gathers(ranks);
    broadcasts(ranks);
    rings(ranks);
    several_at_once(ranks);
    same_bits(ranks);
    let known = OnGpu::of(&[1.0f32]);
    let on_stack = 0u8;
    assert!(ranks.is_device_memory(known.address_mut()) && !ranks.is_device_memory(&on_stack));
    assert!(ranks.description().contains("NCCL 2.") && ranks.description().contains("GPU"));
}

/// This rank's numbers of one buffer, and the sums over all ranks.
fn numbers<T: Scalar + Add<Output = T>>(ranks: &dyn Collective, len: usize, number: fn(usize) -> T) -> [Vec<T>; 2] {
    let of = |rank: usize| -> Vec<T> { (0..len).map(|index| number(input(rank, index))).collect() };
    let add = |sum: Vec<T>, other: Vec<T>| sum.into_iter().zip(other).map(|(a, b)| a + b).collect();
    [of(ranks.rank()), (0..ranks.world_size()).map(of).reduce(add).unwrap()]
}

fn own_part(ranks: &dyn Collective, counts: &[usize]) -> std::ops::Range<usize> {
    let start = counts[..ranks.rank()].iter().sum();
    start..start + counts[ranks.rank()]
}

fn sums<T: Scalar + Add<Output = T> + PartialEq + Debug>(ranks: &dyn Collective, number: fn(usize) -> T) {
    // The longest needs several of the stand-in's pieces.
    for len in [0, 1, 2, 10, 101, 300_001] {
        let [values, expected] = numbers(ranks, len, number);
        let (blocking, started) = (OnGpu::of(&values), OnGpu::of(&values));
        ranks.all_reduce(blocking.buffer_mut(), ReduceOp::Sum).unwrap();
        // SAFETY: waited for before the values are touched.
        unsafe { ranks.start_all_reduce(started.buffer_mut()) }.unwrap().wait().unwrap();
        assert!(blocking.values() == expected && started.values() == expected, "all_reduce of {len}");
    }
    parts(ranks, number);
}

/// Parts of all lengths, each summed by its owner and then given to all. Returns how often there was any.
pub fn parts<T: Scalar + Add<Output = T> + PartialEq + Debug>(ranks: &dyn Collective, number: fn(usize) -> T) -> usize {
    let mut all_counts = ragged_counts(ranks.world_size());
    all_counts.extend([part_counts(400_001, ranks.world_size()), vec![100_000; ranks.world_size()]]);
    for counts in &all_counts {
        let [values, sums] = numbers(ranks, counts.iter().sum(), number);
        let mut expected = values.clone();
        let own = own_part(ranks, counts);
        expected[own.clone()].copy_from_slice(&sums[own]);
        let values = OnGpu::of(&values);
        // SAFETY: waited for before the values are touched or freed.
        unsafe { ranks.start_reduce_scatter(values.buffer_mut(), counts) }.unwrap().wait().unwrap();
        assert!(values.values() == expected, "reduce_scatter {counts:?}");
        // SAFETY: waited for before the values are touched or freed.
        unsafe { ranks.start_all_gather(values.buffer_mut(), counts) }.unwrap().wait().unwrap();
        assert!(values.values() == sums, "all_gather {counts:?}");
    }
    all_counts.iter().filter(|counts| counts.iter().sum::<usize>() > 0).count()
}

/// Whole numbers up to 256 are exact.
fn brain_floats(ranks: &dyn Collective) {
    let half = |number: usize| ((number as f32).to_bits() >> 16) as u16;
    let bytes = |numbers: &[usize]| -> Vec<u8> { numbers.iter().flat_map(|n| half(*n).to_ne_bytes()).collect() };
    let [values, expected] = numbers(ranks, 50, |number| number as i64);
    let [values, expected] = [values, expected].map(|all| all.into_iter().map(|n| n as usize).collect::<Vec<_>>());
    let on_gpu = OnGpu::of(&bytes(&values));
    let memory = Memory::Device { stream: 0 };
    // SAFETY: there are half as many elements as bytes, kept until after the wait.
    let buffer = unsafe { BufferMut::from_raw(on_gpu.address_mut(), 50, Element::BF16, memory) };
    // SAFETY: waited for before the values are touched or freed.
    unsafe { ranks.start_all_reduce(buffer) }.unwrap().wait().unwrap();
    assert_eq!(on_gpu.values(), bytes(&expected));
}

fn extremes(ranks: &dyn Collective) {
    let of = |rank: usize| -> Vec<i64> { (0..40).map(|index| input(rank, index) as i64).collect() };
    for (op, pick) in [(ReduceOp::Max, i64::max as fn(i64, i64) -> i64), (ReduceOp::Min, i64::min)] {
        let merge = |a: Vec<i64>, b: Vec<i64>| a.into_iter().zip(b).map(|(a, b)| pick(a, b)).collect();
        let values = OnGpu::of(&of(ranks.rank()));
        ranks.all_reduce(values.buffer_mut(), op).unwrap();
        assert_eq!(values.values(), (0..ranks.world_size()).map(of).reduce(merge).unwrap());
    }
}

fn gathers(ranks: &dyn Collective) {
    let part = |rank: usize, len: usize| (0..len).map(move |index| (rank * 1000 + index) as f32);
    for counts in ragged_counts(ranks.world_size()) {
        let expected: Vec<f32> = (0..ranks.world_size()).flat_map(|rank| part(rank, counts[rank])).collect();
        let send = OnGpu::of(&part(ranks.rank(), counts[ranks.rank()]).collect::<Vec<_>>());
        let recv = OnGpu::of(&vec![-1.0f32; expected.len()]);
        ranks.all_gather(send.buffer(), recv.buffer_mut(), &counts).unwrap();
        assert_eq!(recv.values(), expected, "all_gather {counts:?}");
    }
}

fn broadcasts(ranks: &dyn Collective) {
    for root in 0..ranks.world_size() {
        let of = |rank: usize| (0..70_000).map(|index| (rank * 100 + index) as i64).collect::<Vec<_>>();
        let values = OnGpu::of(&of(ranks.rank()));
        ranks.broadcast(values.buffer_mut(), root).unwrap();
        assert!(values.values() == of(root), "broadcast from {root}");
    }
}

/// Every rank's block travels all the way round, the long ones in many of the stand-in's pieces.
fn rings(ranks: &dyn Collective) {
    let (rank, world_size) = (ranks.rank(), ranks.world_size());
    let mut all_counts = ragged_counts(world_size);
    all_counts.push((0..world_size).map(|rank| 50_000 + rank).collect());
    for counts in all_counts {
        let block = |owner: usize| -> Vec<i64> { (0..counts[owner]).map(|i| (owner * 100_000 + i) as i64).collect() };
        let mut held = OnGpu::of(&block(rank));
        for trip in 1..=world_size {
            let owner = (rank + world_size - trip) % world_size;
            let recv = OnGpu::of(&vec![-1i64; counts[owner]]);
            ranks.ring_exchange(held.buffer(), recv.buffer_mut()).unwrap();
            assert!(recv.values() == block(owner), "ring_exchange {counts:?}, trip {trip}");
            held = recv;
        }
    }
}

/// All kinds are under way at the same time, on the GPU and the host.
fn several_at_once(ranks: &dyn Collective) {
    let (rank, world_size) = (ranks.rank(), ranks.world_size());
    let block = |owner: usize| vec![owner as i64; 100 + owner];
    let previous = (rank + world_size - 1) % world_size;
    let (send, recv) = (OnGpu::of(&block(rank)), OnGpu::of(&vec![-1; 100 + previous]));
    let sums: Vec<[Vec<f32>; 2]> = (1..6).map(|i| numbers(ranks, 5000 * i, |number| number as f32 / 8.0)).collect();
    let on_gpu: Vec<OnGpu<f32>> = sums.iter().map(|[values, _]| OnGpu::of(values)).collect();
    // Parts of several lengths share the backend's memory.
    let counts: Vec<usize> = (0..world_size).map(|rank| 3000 + rank * 500).collect();
    let uneven: Vec<[Vec<f32>; 2]> = (0..3)
        .map(|i| numbers(ranks, counts.iter().sum(), [|n| n as f32, |n| n as f32 / 2.0, |n| n as f32 / 4.0][i]))
        .collect();
    let parts: Vec<OnGpu<f32>> = uneven.iter().map(|[values, _]| OnGpu::of(values)).collect();
    let mut on_host = sums[0][0].clone();
    let mut under_way: Vec<Pending> = Vec::new();
    // SAFETY: waited for before the values are touched or freed.
    unsafe {
        for values in &on_gpu {
            under_way.push(ranks.start_all_reduce(values.buffer_mut()).unwrap());
        }
        for values in &parts {
            under_way.push(ranks.start_reduce_scatter(values.buffer_mut(), &counts).unwrap());
        }
        under_way.push(ranks.start_all_reduce(on_host.as_mut_slice().into()).unwrap());
        under_way.push(ranks.start_ring_exchange(send.buffer(), recv.buffer_mut()).unwrap());
    }
    let num = under_way.len();
    for turn in 0..20 * num {
        under_way[(turn * (rank + 1)) % num].poll();
    }
    under_way.into_iter().for_each(|pending| pending.wait().unwrap());
    for (values, [_, expected]) in on_gpu.iter().zip(&sums) {
        assert!(values.values() == *expected);
    }
    let own = own_part(ranks, &counts);
    for (values, [_, expected]) in parts.iter().zip(&uneven) {
        assert!(values.values()[own.clone()] == expected[own.clone()]);
    }
    assert!(on_host == sums[0][1] && recv.values() == block(previous));
}

/// Floats whose sum in another order has other bits: all ranks get the same bits every time.
fn same_bits(ranks: &dyn Collective) {
    let sum = || {
        let values = OnGpu::of(&any_floats(ranks.rank(), 100_000));
        ranks.all_reduce(values.buffer_mut(), ReduceOp::Sum).unwrap();
        values.values().into_iter().map(f32::to_bits).collect::<Vec<_>>()
    };
    let first = sum();
    assert!(first == sum(), "runs differ");
    let words: Vec<i64> = first.iter().map(|bits| i64::from(*bits)).collect();
    for op in [ReduceOp::Max, ReduceOp::Min] {
        let mut extreme = words.clone();
        ranks.all_reduce(extreme.as_mut_slice().into(), op).unwrap();
        assert!(extreme == words, "ranks differ");
    }
}

/// For `tercet-test-gpu`: prints the bandwidth of an all-reduce of 256 MiB: the bytes that each GPU must send, divided
/// by the time.
#[allow(dead_code)]
pub fn bandwidth(ranks: &dyn Collective) {
    const LEN: usize = 64 << 20;
    const TIMES: u32 = 20;
    let values = OnGpu::of(&vec![0.0f32; LEN]);
    // SAFETY: waited for before the values are touched or freed.
    let sum = || unsafe { ranks.start_all_reduce(values.buffer_mut()) }.unwrap().wait().unwrap();
    sum();
    ranks.barrier().unwrap();
    let started = Instant::now();
    (0..TIMES).for_each(|_| sum());
    let secs = started.elapsed().as_secs_f64() / f64::from(TIMES);
    let world = ranks.world_size() as f64;
    let sent = 2.0 * (world - 1.0) / world * (4 * LEN) as f64;
    println!("rank {}: all-reduce of 256 MiB over {world} GPUs: {:.1} GB/s", ranks.rank(), sent / secs / 1e9);
}

/// Two ranks make calls that do not fit together.
pub fn misuse(ranks: &dyn Collective, part: &str) -> Result<(), CollectiveError> {
    let rank = ranks.rank();
    // SAFETY: waited for before the values are touched or freed.
    let start = |values: &OnGpu<f32>| unsafe { ranks.start_all_reduce(values.buffer_mut()) }?.wait();
    let hundred = OnGpu::of(&[1.0f32; 100]);
    match part {
        "counts_differ" => start(&OnGpu::of(&vec![1.0f32; 100 + rank])),
        "types_differ" if rank == 1 => ranks.all_reduce(OnGpu::of(&[1.0f64; 100]).buffer_mut(), ReduceOp::Sum),
        "order_differs" if rank == 1 => ranks.broadcast(hundred.buffer_mut(), 0),
        "collective_and_message" if rank == 1 => {
            // The host's half of an exchange succeeds, because both ranks do it.
            ranks.ring_exchange(hundred.buffer(), OnGpu::of(&[0.0f32; 100]).buffer_mut())
        }
        "uneven_ring" => {
            let send = OnGpu::of(&vec![1.0f32; if rank == 1 { 2 } else { 3 }]);
            ranks.ring_exchange(send.buffer(), OnGpu::of(&[0.0f32; 3]).buffer_mut())
        }
        "wrong_gpu" => start(&on_another_gpu(rank)),
        "host_memory" => {
            let mut on_stack = [1.0f32; 4];
            let memory = Memory::Device { stream: 0 };
            // SAFETY: the values outlive the call, which refuses them.
            let lie = unsafe { BufferMut::from_raw(on_stack.as_mut_ptr().cast(), 4, Element::F32, memory) };
            ranks.all_reduce(lie, ReduceOp::Sum)
        }
        "late" if rank == 1 => {
            std::thread::sleep(Duration::from_secs(600));
            Ok(())
        }
        "after_a_failure" => {
            start(&OnGpu::of(&vec![1.0f32; 100 + rank])).unwrap_err();
            start(&hundred)
        }
        _ => start(&hundred),
    }
}

/// Memory on the GPU of the other of two ranks.
fn on_another_gpu(rank: usize) -> OnGpu<f32> {
    let (mut own, mut other) = (std::ptr::null_mut(), std::ptr::null_mut());
    // SAFETY: the stand-in's GPUs 0 and 1 exist.
    unsafe {
        sys::cuDevicePrimaryCtxRetain(&mut own, rank as i32);
        sys::cuDevicePrimaryCtxRetain(&mut other, 1 - rank as i32);
        sys::cuCtxSetCurrent(other);
    }
    let values = OnGpu::of(&[1.0f32; 100]);
    // SAFETY: as above.
    unsafe { sys::cuCtxSetCurrent(own) };
    values
}
