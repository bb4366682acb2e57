//! Tests every sickness on made-up machines: what is found, where, how bad it is, and the words.

mod device;

use tercet_protocol::says::doctor::{FolderFacts, GpuFacts, LinkFacts, ProductFacts};

use crate::preflight::software::{NOT_FOUND, NVRTC};
use crate::preflight::verdict::*;

fn gpu(index: u64) -> GpuFacts {
    GpuFacts {
        index,
        uuid: format!("GPU-{index}"),
        name: "A100".into(),
        driver: "535.161".into(),
        memory_bytes: Some(80 << 30),
        used_bytes: Some(4 << 20),
        throttle_reasons: Some(0x1),
        uncorrected_errors: Some(0),
        temperature: Some(31.0),
        power_limit: Some(400.0),
        default_power_limit: Some(400.0),
    }
}

/// Three healthy machines a, b and c with two ranks and two GPUs each.
fn healthy() -> Vec<RankFacts> {
    let folder = FolderFacts {
        path: "runs/a".into(),
        free_bytes: 100 << 30,
        checkpoint_bytes: Some(1 << 30),
        num_checkpoints: 4,
        write_bytes_per_sec: Some(1e9),
        sees_rank_0: Some(true),
        ..FolderFacts::default()
    };
    let machine = MachineFacts {
        num_ranks: 2,
        num_cores: 64,
        memory_bytes: 512 << 30,
        available_bytes: 400 << 30,
        shm_free_bytes: 200 << 30,
        gpus: vec![gpu(0), gpu(1)],
        clock_share: Some(0.9),
        num_throttled: Some(0),
        folder: Some(folder),
        ..MachineFacts::default()
    };
    let rank = |rank: usize| RankFacts {
        rank,
        host: ["a", "b", "c"][rank / 2].into(),
        versions: [("libtorch", "2.13.0"), ("MPI", "Open MPI v4.1.4")].map(|(n, v)| (n.into(), v.into())).into(),
        hashes: ["program", "recipe", "token store"]
            .map(|name| (name.into(), Some("0123456789abcdef".repeat(4))))
            .into(),
        machine: rank.is_multiple_of(2).then(|| machine.clone()),
        product: Some(ProductFacts { flops_per_sec: 1e13, flops_per_cpu_sec: 1e13, on_gpu: true }),
        ..RankFacts::default()
    };
    (0..6).map(rank).collect()
}

fn machine(facts: &mut [RankFacts], rank: usize) -> &mut MachineFacts {
    facts[rank].machine.as_mut().unwrap()
}

/// The findings after one change.
fn found(change: impl FnOnce(&mut Vec<RankFacts>)) -> Vec<Finding> {
    let mut facts = healthy();
    change(&mut facts);
    findings(&facts, None)
}

/// Asserts that there is one finding, with this machine, level and words.
fn is(found: &[Finding], host: &str, level: Level, words: &[&str]) {
    assert_eq!(found.len(), 1, "{found:?}");
    assert_eq!((found[0].host.as_str(), found[0].level), (host, level), "{found:?}");
    words.iter().for_each(|word| assert!(found[0].text.contains(word), "{word}: {found:?}"));
}

#[test]
fn healthy_machines_are_not_found_fault_with() {
    assert_eq!(found(|_| ()), []);
    assert_eq!(level(&[]), Level::Ok);
}

#[test]
fn gpus_without_a_compiler_for_our_kernels_are_told_of() {
    let mut facts = healthy();
    facts.iter_mut().for_each(|rank| _ = rank.versions.insert(NVRTC.into(), "13.0".into()));
    assert_eq!(findings(&facts, None), []);
    facts.iter_mut().for_each(|rank| _ = rank.versions.insert(NVRTC.into(), NOT_FOUND.into()));
    let found = findings(&facts, None);
    let hosts: Vec<&str> = found.iter().map(|finding| finding.host.as_str()).collect();
    assert_eq!(hosts, ["a", "b", "c"]);
    assert!(
        found.iter().all(|one| one.level == Level::Warning && one.text.contains("NVRTC is not found")),
        "{found:?}"
    );
}

#[test]
fn another_version_or_program_or_store_names_the_ranks_that_have_it() {
    let other = "f".repeat(64);
    let old = found(|facts| {
        facts[2..4].iter_mut().for_each(|rank| _ = rank.versions.insert("libtorch".into(), "2.12.0".into()))
    });
    is(
        &old,
        "b",
        Level::Sick,
        &["ranks 2 to 3", "version of libtorch is 2.12.0, most ranks' is 2.13.0", "install the same"],
    );
    let program = found(|facts| _ = facts[5].hashes.insert("program".into(), Some(other.clone())));
    is(&program, "c", Level::Sick, &["rank 5: the program is ffffffffffff, most ranks' is 0123456789ab:"]);
    let store = found(|facts| _ = facts[0].hashes.insert("token store".into(), Some(other.clone())));
    is(&store, "a", Level::Sick, &["rank 0: the token store is ffffffffffff"]);
    let gone = found(|facts| _ = facts[4].hashes.insert("token store".into(), None));
    is(&gone, "c", Level::Sick, &["rank 4: the token store is not there", "other ranks have it"]);
}

#[test]
fn what_is_wrong_everywhere_is_the_recipes_mistake() {
    let none = found(|facts| facts.iter_mut().for_each(|rank| _ = rank.hashes.insert("token store".into(), None)));
    is(&none, "", Level::Mistake, &["token store is not there"]);
    let recipe = found(|facts| facts.iter_mut().for_each(|rank| rank.recipe_error = Some("recipe r: no".into())));
    is(&recipe, "", Level::Mistake, &["recipe r: no"]);
    let one = found(|facts| facts[3].recipe_error = Some("recipe r: no".into()));
    is(&one, "b", Level::Sick, &["rank 3: recipe r: no"]);
}

#[test]
fn a_sick_gpu_is_named() {
    let ecc = found(|facts| machine(facts, 2).gpus[1].uncorrected_errors = Some(3));
    is(&ecc, "b", Level::Sick, &["GPU 1: 3 uncorrected memory errors"]);
    let hot = found(|facts| machine(facts, 2).gpus[0].throttle_reasons = Some(0x41));
    is(&hot, "b", Level::Sick, &["GPU 0: its clock is held down by heat", "0x41"]);
    let capped = found(|facts| machine(facts, 0).gpus[0].power_limit = Some(250.0));
    is(&capped, "a", Level::Warning, &["limited to 250 W instead of 400 W"]);
    let used = found(|facts| machine(facts, 0).gpus[0].used_bytes = Some(60 << 30));
    is(&used, "a", Level::Warning, &["61440 MiB of its 81920 MiB are in use by others"]);
    let hangs = found(|facts| machine(facts, 4).gpu_error = Some("nvidia-smi: has not answered within 20 s".into()));
    is(&hangs, "c", Level::Sick, &["has not answered within 20 s", "dmesg"]);
    let lost = found(|facts| _ = machine(facts, 4).gpus.pop());
    assert!(
        lost.iter().any(|f| f.level == Level::Sick && f.host == "c" && f.text.contains("1 GPUs, most machines have 2"))
    );
}

#[test]
fn gpus_unlike_the_others_are_a_warning() {
    let model = found(|facts| machine(facts, 2).gpus[1].name = "A800".into());
    is(&model, "b", Level::Warning, &["GPU 1: model A800, most GPUs' is A100"]);
    let driver = found(|facts| machine(facts, 4).gpus.iter_mut().for_each(|gpu| gpu.driver = "470.1".into()));
    is(&driver, "c", Level::Warning, &["driver 470.1, most GPUs' is 535.161"]);
}

#[test]
fn little_memory_is_told_before_it_runs_out() {
    let little = found(|facts| machine(facts, 2).available_bytes = 900 << 20);
    is(&little, "b", Level::Warning, &["only 900 MiB of memory are free for 2 ranks"]);
    let none = found(|facts| machine(facts, 2).available_bytes = 100 << 20);
    is(&none, "b", Level::Sick, &["100 MiB"]);
    let shm = found(|facts| machine(facts, 2).shm_free_bytes = 1 << 20);
    is(&shm, "b", Level::Warning, &["/dev/shm has 1 MiB left", "--shm-size"]);
    let slow = found(|facts| machine(facts, 2).clock_share = Some(0.3));
    is(&slow, "b", Level::Warning, &["30 % of their highest clock"]);
    let hot = found(|facts| machine(facts, 2).num_throttled = Some(7));
    is(&hot, "b", Level::Warning, &["slowed by heat 7 times"]);
}

#[test]
fn ranks_see_the_gpus_that_are_meant() {
    let set = |list: &str, num_ranks: usize| {
        found(|facts| {
            machine(facts, 2).num_ranks = num_ranks;
            facts[2..4].iter_mut().for_each(|rank| rank.visible_devices = Some(list.into()));
        })
    };
    for good in ["0,1", "1,0", "GPU-8932f937,GPU-3c31", "0"] {
        assert_eq!(set(good, if good == "0" { 1 } else { 2 }), [], "{good}");
    }
    is(&set("", 2), "b", Level::Warning, &["CUDA_VISIBLE_DEVICES, \"\", hides its 2 GPUs"]);
    is(&set("-1", 2), "b", Level::Warning, &["hides its 2 GPUs"]);
    is(&set("NoDevFiles", 2), "b", Level::Warning, &["hides its 2 GPUs"]);
    is(&set("0,0", 2), "b", Level::Warning, &["names 0 twice", "ranks see 0 of its 2 GPUs"]);
    is(&set("0,7", 2), "b", Level::Warning, &["names GPU 7, but there are only GPUs 0 to 1", "ranks see 1 of its 2"]);
    is(&set("MIG-a,MIG-b", 2), "b", Level::Warning, &["shows only the first"]);
    is(&set("0", 2), "b", Level::Warning, &["2 ranks share 1 GPUs (CUDA_VISIBLE_DEVICES, \"0\")"]);
    is(&found(|facts| machine(facts, 2).num_ranks = 4), "b", Level::Warning, &["4 ranks share 2 GPUs"]);
    // Each rank was given a GPU of its own.
    let own = found(|facts| (2..4).for_each(|rank| facts[rank].visible_devices = Some((rank - 2).to_string())));
    assert_eq!(own, []);
}

#[test]
fn the_run_folder_must_take_what_rank_0_writes() {
    fn folder(facts: &mut [RankFacts], rank: usize) -> &mut FolderFacts {
        machine(facts, rank).folder.as_mut().unwrap()
    }
    let read_only = found(|facts| folder(facts, 0).error = Some("Read-only file system (os error 30)".into()));
    is(&read_only, "a", Level::Sick, &["run folder runs/a: nothing can be written there: Read-only file system"]);
    let forbidden = found(|facts| {
        (folder(facts, 0).error, folder(facts, 0).is_mistake) = (Some("Permission denied (os error 13)".into()), true);
    });
    is(&forbidden, "a", Level::Mistake, &["nothing can be written there: Permission denied"]);
    let elsewhere = found(|facts| folder(facts, 2).error = Some("Read-only file system".into()));
    assert_eq!(elsewhere, [], "only rank 0 writes");
    let tight = found(|facts| folder(facts, 0).free_bytes = 2 << 30);
    is(&tight, "a", Level::Warning, &["2048 MiB are free, a checkpoint takes about 1024 MiB and 4 are to come"]);
    let full = found(|facts| folder(facts, 0).free_bytes = 1 << 20);
    is(&full, "a", Level::Sick, &["1 MiB are free"]);
    let unmeasured =
        found(|facts| (folder(facts, 0).free_bytes, folder(facts, 0).write_bytes_per_sec) = (1 << 20, None));
    is(&unmeasured, "a", Level::Warning, &["1 MiB are free"]);
    let slow = found(|facts| folder(facts, 0).write_bytes_per_sec = Some(3e6));
    is(&slow, "a", Level::Warning, &["3.0 MB/s are written to it"]);
    let own = found(|facts| folder(facts, 4).sees_rank_0 = Some(false));
    is(&own, "c", Level::Warning, &["run folder runs/a is not rank 0's"]);
}

#[test]
fn a_clock_that_is_off_is_told() {
    let late = found(|facts| facts[2].clock_ahead_secs = -40.0);
    is(&late, "b", Level::Warning, &["-40.0 s from rank 0's"]);
    assert_eq!(found(|facts| facts[2].clock_ahead_secs = 0.5), []);
}

#[test]
fn a_slow_rank_is_sick_and_a_busy_one_is_not() {
    let product =
        |flops_per_sec, flops_per_cpu_sec, on_gpu| Some(ProductFacts { flops_per_sec, flops_per_cpu_sec, on_gpu });
    let slow = found(|facts| facts[3].product = product(6e12, 6e12, true));
    is(&slow, "b", Level::Sick, &["rank 3: matrix products at 6000.0 GFLOP/s, the median is 10000.0"]);
    let busy = found(|facts| facts[3].product = product(6e12, 9e12, false));
    is(&busy, "b", Level::Warning, &["busy with other work"]);
    let one_core = found(|facts| facts[3].product = product(6e12, 6e12, false));
    is(&one_core, "b", Level::Warning, &["rank 3: matrix products at 6000.0 GFLOP/s", "other ranks of its machine"]);
    let machine = found(|facts| facts[2..4].iter_mut().for_each(|rank| rank.product = product(6e12, 6e12, false)));
    assert_eq!(machine.iter().map(|finding| finding.level).collect::<Vec<_>>(), [Level::Sick; 2]);
    assert_eq!(found(|facts| facts[3].product = product(8e12, 8e12, true)), []);
}

fn network(links: &[(usize, usize, f64)]) -> NetworkFacts {
    let host = |rank: usize| ["a", "b", "c", "d"][rank / 2].to_owned();
    let link = |&(from, to, rate): &(usize, usize, f64)| LinkFacts {
        from,
        to,
        from_host: host(from),
        to_host: host(to),
        bytes_per_sec: rate,
    };
    NetworkFacts { all_reduce_bytes_per_sec: 1e9, links: links.iter().map(link).collect() }
}

#[test]
fn a_slow_link_is_named_by_both_ends_and_its_kind() {
    let usual =
        [(0, 1, 1e10), (2, 3, 1e10), (4, 5, 1e10), (0, 2, 1e9), (0, 4, 1e9), (2, 4, 1e9), (2, 6, 1e9), (4, 6, 1e9)];
    let with = |slow: (usize, usize, f64)| {
        let links: Vec<_> =
            usual.iter().map(|link| if (link.0, link.1) == (slow.0, slow.1) { slow } else { *link }).collect();
        findings(&healthy(), Some(&network(&links)))
    };
    assert_eq!(with((2, 4, 0.5e9)), [], "above a third");
    is(
        &with((2, 4, 1e8)),
        "b",
        Level::Sick,
        &["ranks 2 (b) and 4 (c) carries 100.0 MB/s, the median between machines is 1000.0"],
    );
    is(&with((2, 3, 1e9)), "b", Level::Warning, &["ranks 2 (b) and 3 (b)", "within machines is 10000.0"]);
}

#[test]
fn a_machine_whose_links_are_all_slow_is_named_instead() {
    let links = [(0, 2, 1e9), (0, 4, 1e9), (2, 4, 1e9), (0, 6, 1e8), (2, 6, 1.2e8), (4, 6, 1e8), (1, 2, 1e9)];
    let found = findings(&healthy(), Some(&network(&links)));
    is(
        &found,
        "d",
        Level::Sick,
        &["all its links to other machines are slow: 120.0 MB/s at best, the median is 1000.0"],
    );
}
