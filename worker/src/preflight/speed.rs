//! How fast ranks compute and how fast they reach each other.
//!
//! A machine does other things as well, so everything is tried often and the best counts; and while something looks slow
//! it is tried again, up to [`ROUNDS`] times. What stays slow is.

use std::time::Instant;

use tch::{Device, Kind, Tensor};
use tercet_cluster::{Collective, CollectiveError, ReduceOp, gather_counts};
use tercet_protocol::says::doctor::{LinkFacts, NetworkFacts, ProductFacts};

use super::verdict::{SLOW_LINK, SLOW_RANK, median};
use crate::machine::device::device_of;
use crate::machine::memory::cpu_secs;

/// How often a measurement is repeated at most while something looks slow.
const ROUNDS: usize = 5;

/// Trials of a round.
const TRIALS: usize = 8;

/// What goes over a link at a time.
const LINK_BYTES: usize = 4 << 20;

/// This rank's matrix products, all ranks computing at the same time. Every rank calls it.
pub fn products(ranks: &dyn Collective) -> Result<ProductFacts, CollectiveError> {
    let device = device_of(ranks);
    // Milliseconds each: long beside what it takes to start one, short beside a time slice.
    let (len, kind) = if device.is_cuda() { (8192, Kind::BFloat16) } else { (512, Kind::Float) };
    let [left, right] = [(); 2].map(|()| Tensor::randn([len, len], (kind, device)));
    let flops = 2.0 * (len * len * len) as f64;
    let mut best = ProductFacts { on_gpu: device.is_cuda(), ..ProductFacts::default() };
    for _ in 0..ROUNDS {
        ranks.barrier()?;
        for _ in 0..TRIALS {
            let (started, cpu_started) = (Instant::now(), cpu_secs());
            let product = left.matmul(&right);
            let _ = product.get(0).get(0).to_kind(Kind::Double).double_value(&[]);
            let secs = started.elapsed().as_secs_f64();
            // A core that is shared with others is not a slow core.
            let cpu_secs = match device {
                Device::Cuda(_) => secs,
                _ => (cpu_secs() - cpu_started) / f64::from(tch::get_num_threads().max(1)),
            };
            best.flops_per_sec = best.flops_per_sec.max(flops / secs);
            best.flops_per_cpu_sec = best.flops_per_cpu_sec.max(flops / cpu_secs.max(1e-9));
        }
        let rates = gather(ranks, best.flops_per_cpu_sec)?;
        if rates.iter().all(|rate| *rate >= SLOW_RANK * median(&rates)) {
            break;
        }
    }
    Ok(best)
}

/// All-reduce, links of the ring, and links between machines. Every rank calls it, and all get the same; `hosts` are the
/// ranks' machines.
pub fn network(ranks: &dyn Collective, hosts: &[String]) -> Result<NetworkFacts, CollectiveError> {
    if ranks.world_size() == 1 {
        return Ok(NetworkFacts::default());
    }
    let mut links = ring(ranks, hosts)?;
    let local_ranks = gather_counts(ranks, ranks.local_rank())?;
    let firsts: Vec<usize> = (0..ranks.world_size()).filter(|rank| local_ranks[*rank] == 0).collect();
    links.extend(pairs(ranks, &firsts, hosts)?);
    Ok(NetworkFacts { all_reduce_bytes_per_sec: all_reduce(ranks)?, links })
}

fn all_reduce(ranks: &dyn Collective) -> Result<f64, CollectiveError> {
    let mut values = vec![0f32; LINK_BYTES / size_of::<f32>()];
    let mut best = f64::INFINITY;
    for _ in 0..TRIALS {
        ranks.barrier()?;
        let started = Instant::now();
        ranks.all_reduce(values.as_mut_slice().into(), ReduceOp::Sum)?;
        let mut secs = [started.elapsed().as_secs_f64()];
        ranks.all_reduce(secs[..].as_mut().into(), ReduceOp::Max)?;
        best = best.min(secs[0]);
    }
    let world = ranks.world_size() as f64;
    Ok(2.0 * (world - 1.0) / world * LINK_BYTES as f64 / best)
}

/// The links between neighbours. A rank's exchange ends when both of its links have carried their part, so a link is at
/// least as fast as the faster of its two ends.
fn ring(ranks: &dyn Collective, hosts: &[String]) -> Result<Vec<LinkFacts>, CollectiveError> {
    let (send, mut recv) = (vec![1u8; LINK_BYTES], vec![0u8; LINK_BYTES]);
    let world = ranks.world_size();
    let mut best = f64::INFINITY;
    let mut links = Vec::new();
    for _ in 0..ROUNDS {
        for _ in 0..TRIALS {
            ranks.barrier()?;
            let started = Instant::now();
            ranks.ring_exchange(send[..].into(), recv.as_mut_slice().into())?;
            best = best.min(started.elapsed().as_secs_f64());
        }
        let secs = gather(ranks, best)?;
        let ends = (0..world).map(|rank| (rank, (rank + 1) % world));
        links = ends.map(|(from, to)| link(hosts, from, to, secs[from].min(secs[to]))).collect();
        if none_is_slow(&links) {
            break;
        }
    }
    Ok(links)
}

/// Each of `firsts` with each other one, as many pairs at a time as there are.
fn pairs(ranks: &dyn Collective, firsts: &[usize], hosts: &[String]) -> Result<Vec<LinkFacts>, CollectiveError> {
    let (send, mut recv) = (vec![1u8; LINK_BYTES], vec![0u8; LINK_BYTES]);
    let mut links = Vec::new();
    for round in round_robin(firsts.len()) {
        let own = round.iter().find_map(|&(a, b)| match ranks.rank() {
            rank if rank == firsts[a] => Some(firsts[b]),
            rank if rank == firsts[b] => Some(firsts[a]),
            _ => None,
        });
        let mut best = f64::INFINITY;
        ranks.barrier()?;
        if let Some(peer) = own {
            for _ in 0..TRIALS {
                let started = Instant::now();
                ranks.pair_exchange(peer, &send, &mut recv)?;
                best = best.min(started.elapsed().as_secs_f64());
            }
        }
        let secs = gather(ranks, best)?;
        links.extend(round.iter().map(|&(a, b)| {
            let (from, to) = (firsts[a], firsts[b]);
            link(hosts, from, to, secs[from].max(secs[to]))
        }));
    }
    Ok(links)
}

/// Rounds of pairs of `count` things, in which each meets each other once, and none two at a time.
fn round_robin(count: usize) -> Vec<Vec<(usize, usize)>> {
    // The circle method: the last one stays, the others walk round; of an odd number, who meets nobody has a rest.
    let even = count.next_multiple_of(2);
    if count < 2 {
        return Vec::new();
    }
    let round = |turn: usize| {
        let at = |place: usize| if place == even - 1 { even - 1 } else { (place + turn) % (even - 1) };
        let pairs = (0..even / 2).map(|place| (at(place), at(even - 1 - place)));
        pairs.filter(|&(a, b)| a < count && b < count).map(|(a, b)| (a.min(b), a.max(b))).collect()
    };
    (0..even - 1).map(round).collect()
}

fn link(hosts: &[String], from: usize, to: usize, secs: f64) -> LinkFacts {
    let bytes_per_sec = LINK_BYTES as f64 / secs;
    LinkFacts { from, to, from_host: hosts[from].clone(), to_host: hosts[to].clone(), bytes_per_sec }
}

fn none_is_slow(links: &[LinkFacts]) -> bool {
    [true, false].into_iter().all(|within| {
        let of_kind = links.iter().filter(|link| (link.from_host == link.to_host) == within);
        let rates: Vec<f64> = of_kind.map(|link| link.bytes_per_sec).collect();
        rates.iter().all(|rate| *rate >= SLOW_LINK * median(&rates))
    })
}

/// Every rank's value.
fn gather(ranks: &dyn Collective, own: f64) -> Result<Vec<f64>, CollectiveError> {
    let mut all = vec![0.0; ranks.world_size()];
    ranks.all_gather([own][..].into(), all.as_mut_slice().into(), &vec![1; ranks.world_size()])?;
    Ok(all)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn everyone_meets_everyone_once_and_nobody_two_at_a_time() {
        for count in 0..14 {
            let rounds = round_robin(count);
            let mut met = BTreeSet::new();
            for round in &rounds {
                let busy: BTreeSet<usize> = round.iter().flat_map(|&(a, b)| [a, b]).collect();
                assert_eq!(busy.len(), 2 * round.len(), "{count}: {round:?}");
                round.iter().for_each(|pair| assert!(met.insert(*pair), "{count}: {pair:?} twice"));
            }
            let all = (0..count).flat_map(|a| (a + 1..count).map(move |b| (a, b))).collect();
            assert_eq!(met, all, "{count}");
        }
    }

    #[test]
    fn one_rank_computes_and_has_no_links() {
        let ranks = tercet_cluster::Solo::new();
        let product = products(&ranks).unwrap();
        assert!(product.flops_per_sec > 1e6 && product.flops_per_cpu_sec > 1e6, "{product:?}");
        assert_eq!(network(&ranks, &["a".into()]).unwrap(), NetworkFacts::default());
    }
}
