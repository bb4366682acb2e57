//! Decides on which cores a rank computes.
//!
//! If a run has whole machines (in a Slurm job, or on several hosts), each rank is tied to its share of their cores:
//! cores of the NUMA node that its GPU is attached to, if there is one, else an equal part of all cores, in order. So
//! its memory and its threads stay beside its device. A rank that is already tied (by `mpirun --bind-to`, `srun` or
//! OpenMP's variables) is left alone, and so is a machine that may have other work: there the kernel places threads.
//!
//! Limits: GPUs are those that the NVIDIA driver lists, in the order of their slots (`CUDA_DEVICE_ORDER=PCI_BUS_ID`).
//! If `CUDA_VISIBLE_DEVICES` names them in another way than by number, their NUMA nodes are not searched. docs/gpu.md
//! says what of this has run with a GPU.

use std::collections::BTreeSet;
use std::path::Path;
use std::{env, fs};

use tercet_cluster::Collective;
use tercet_configs::VisibleDevices;

/// Variables with which users place OpenMP's threads themselves.
const PLACED_BY_USER: [&str; 4] = ["GOMP_CPU_AFFINITY", "KMP_AFFINITY", "OMP_PLACES", "OMP_PROC_BIND"];

/// Ties the rank to its cores, if it should be tied, and sets the number of libtorch's threads: `OMP_NUM_THREADS`, else
/// one for each of the rank's cores. It must be called before there are threads that compute, because they inherit the
/// cores.
pub fn bind(ranks: &dyn Collective) {
    let (own, host) = (allowed("self"), of_host());
    // If the rank was given fewer cores than its host's, these are its share.
    let (num_shares, nth) = if own == host { (ranks.local_size(), ranks.local_rank()) } else { (1, 0) };
    let asked = env::var("OMP_NUM_THREADS").ok().and_then(|list| num_threads(&list));
    let whole_machines = env::var_os("SLURM_JOB_ID").is_some() || ranks.world_size() > ranks.local_size();
    let placed = PLACED_BY_USER.iter().any(|name| env::var_os(name).is_some());
    let mut num_cores = (own.len() / num_shares).max(1);
    if whole_machines && !placed && num_shares > 1 {
        let share = share_of(&own, &nodes_of_gpus(Path::new("/"), num_shares), num_shares, nth);
        if !share.is_empty() && asked.is_none_or(|threads| threads <= share.len()) {
            tie(&share);
            num_cores = share.len();
        }
    }
    tch::set_num_threads(asked.unwrap_or(num_cores) as i32);
}

/// The cores that this host gives to all its ranks: those of the parent process, of which the ranks' own may be a part.
pub fn of_host() -> Vec<usize> {
    // SAFETY: getppid has no preconditions and cannot fail.
    let parents = allowed(&unsafe { libc::getppid() }.to_string());
    if parents.is_empty() { allowed("self") } else { parents }
}

/// The cores that this rank may use, in Linux's notation: `0-15,64-79`.
pub fn own() -> String {
    allowed_list("self").unwrap_or_default()
}

fn allowed_list(pid: &str) -> Option<String> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    status.lines().find_map(|line| Some(line.strip_prefix("Cpus_allowed_list:")?.trim().to_owned()))
}

/// The allowed cores in order, with the hardware threads of a core side by side; none if Linux does not tell.
fn allowed(pid: &str) -> Vec<usize> {
    let mut cores = allowed_list(pid).map_or(Vec::new(), |list| parse(&list));
    cores.sort_by_cached_key(|core| {
        let siblings = fs::read_to_string(format!("/sys/devices/system/cpu/cpu{core}/topology/thread_siblings_list"));
        (siblings.ok().and_then(|list| parse(&list).first().copied()).unwrap_or(*core), *core)
    });
    cores
}

/// Reads `0-2,8` as 0, 1, 2, 8; unreadable parts are left out.
fn parse(list: &str) -> Vec<usize> {
    let part = |part: &str| {
        let (first, last) = part.trim().split_once('-').unwrap_or((part.trim(), part.trim()));
        Some(first.parse::<usize>().ok()?..=last.parse().ok()?)
    };
    list.split(',').filter_map(part).flatten().collect()
}

/// The cores of the NUMA nodes of the first `num_ranks` GPUs; none if one of them cannot be determined.
fn nodes_of_gpus(root: &Path, num_ranks: usize) -> Vec<BTreeSet<usize>> {
    let Ok(entries) = fs::read_dir(root.join("proc/driver/nvidia/gpus")) else { return Vec::new() };
    let all: BTreeSet<String> = entries.flatten().filter_map(|entry| entry.file_name().into_string().ok()).collect();
    let all: Vec<String> = all.into_iter().collect();
    let visible: Option<Vec<usize>> = match env::var("CUDA_VISIBLE_DEVICES") {
        Ok(list) => VisibleDevices::read(&list, Some(all.len())).numbers,
        Err(_) => Some((0..all.len()).collect()),
    };
    let nodes = (0..num_ranks).map(|rank| {
        let slot = all.get(*visible.as_ref()?.get(rank)?)?;
        let node = fs::read_to_string(root.join("sys/bus/pci/devices").join(slot).join("numa_node")).ok()?;
        let node: usize = node.trim().parse().ok()?;
        let cores = fs::read_to_string(root.join(format!("sys/devices/system/node/node{node}/cpulist"))).ok()?;
        Some(parse(&cores).into_iter().collect())
    });
    nodes.collect::<Option<_>>().unwrap_or_default()
}

/// The part of `cores` for rank `nth` of `num_ranks`: an even part of those near its GPU (`near`, by rank; may be
/// empty), else of all. It is empty if there are fewer cores than ranks.
fn share_of(cores: &[usize], near: &[BTreeSet<usize>], num_ranks: usize, nth: usize) -> Vec<usize> {
    if let Some(mine) = near.get(nth) {
        let sharers: Vec<usize> = (0..near.len()).filter(|rank| near[*rank] == *mine).collect();
        let theirs: Vec<usize> = cores.iter().copied().filter(|core| mine.contains(core)).collect();
        let place = sharers.iter().take_while(|rank| **rank < nth).count();
        let share = even_part(&theirs, sharers.len(), place);
        if !share.is_empty() {
            return share;
        }
    }
    even_part(cores, num_ranks, nth)
}

/// Part `nth` of `num_parts` parts of the same length; the rest belongs to no part.
fn even_part(cores: &[usize], num_parts: usize, nth: usize) -> Vec<usize> {
    let len = cores.len() / num_parts;
    cores[nth * len..][..len].to_vec()
}

/// Ties this thread, and those that it starts, to `cores`. If Linux refuses, nothing changes.
fn tie(cores: &[usize]) {
    // SAFETY: a set of cores is plain data, and all zeros are the empty set.
    let mut set: libc::cpu_set_t = unsafe { std::mem::zeroed() };
    for core in cores.iter().filter(|core| **core < libc::CPU_SETSIZE as usize) {
        // SAFETY: the core's bit lies within the set.
        unsafe { libc::CPU_SET(*core, &mut set) };
    }
    // SAFETY: the set is valid during the call and has the given size.
    unsafe { libc::sched_setaffinity(0, size_of_val(&set), &set) };
}

/// The number in `OMP_NUM_THREADS`: the first of a list, because OpenMP has one for each level.
fn num_threads(list: &str) -> Option<usize> {
    list.split(',').next()?.trim().parse().ok().filter(|threads| *threads > 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn threads_are_as_asked() {
        assert_eq!(["3", " 2,1", "", "0", "-1", "many"].map(num_threads), [Some(3), Some(2), None, None, None, None]);
    }

    #[test]
    fn lists_of_cores_are_read() {
        assert_eq!(parse("0-2,8\n"), [0, 1, 2, 8]);
        assert_eq!(parse("5"), [5]);
        assert_eq!(parse(""), [0; 0]);
        assert!(!allowed("self").is_empty());
    }

    #[test]
    fn ranks_share_evenly_and_no_core_has_two() {
        let cores: Vec<usize> = (0..10).collect();
        assert_eq!([0, 1, 2].map(|rank| share_of(&cores, &[], 3, rank)), [[0, 1, 2], [3, 4, 5], [6, 7, 8]]);
        assert!(share_of(&cores, &[], 11, 10).is_empty());
    }

    /// There are four GPUs on two NUMA nodes, the first two on the second node. The hardware threads of a core have
    /// distant numbers.
    #[test]
    fn a_rank_has_cores_beside_its_gpu() {
        let root = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| {
            let file = root.path().join(name);
            fs::create_dir_all(file.parent().unwrap()).unwrap();
            fs::write(file, text).unwrap();
        };
        for (slot, node) in [("0000:07:00.0", "1"), ("0000:0f:00.0", "1"), ("0000:47:00.0", "0"), ("0000:b7:00.0", "0")]
        {
            write(&format!("proc/driver/nvidia/gpus/{slot}/information"), "");
            write(&format!("sys/bus/pci/devices/{slot}/numa_node"), &format!("{node}\n"));
        }
        write("sys/devices/system/node/node0/cpulist", "0-3,8-11\n");
        write("sys/devices/system/node/node1/cpulist", "4-7,12-15\n");
        let near = nodes_of_gpus(root.path(), 4);
        let cores: Vec<usize> = (0..8).flat_map(|core| [core, core + 8]).collect();
        let shares = [0, 1, 2, 3].map(|rank| share_of(&cores, &near, 4, rank));
        assert_eq!(shares, [[4, 12, 5, 13], [6, 14, 7, 15], [0, 8, 1, 9], [2, 10, 3, 11]]);
        // With more ranks than GPUs, the nodes tell nothing.
        assert!(nodes_of_gpus(root.path(), 5).is_empty());
        // The job may not use the cores of the GPU's node.
        assert_eq!(share_of(&[0, 8], &near[..2], 2, 1), [8]);
    }

    #[test]
    fn a_thread_is_tied_and_its_children_are_too() {
        let first = allowed("self")[0];
        let found = std::thread::spawn(move || {
            tie(&[first]);
            std::thread::spawn(|| allowed_list("thread-self")).join().unwrap()
        });
        assert_eq!(found.join().unwrap(), Some(first.to_string()));
    }
}
