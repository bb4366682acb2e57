//! What ranks compute on: every sentence, on made-up machines.

use tercet_configs::{Backend, Device, DeviceChoice};
use tercet_protocol::says::doctor::{CudaError, DeviceFacts};

use super::{healthy, is};
use crate::preflight::verdict::*;

/// A rank's facts on a machine with driver 580 and two GPUs, all of which libtorch sees.
fn on_gpu() -> DeviceFacts {
    DeviceFacts {
        asked: DeviceChoice::Auto,
        backend: Backend::Auto,
        used: Some(Device::Cuda),
        num_local_ranks: 2,
        has_driver: true,
        driver: Some("580.65.06".into()),
        present_gpus: 2,
        open_gpus: 2,
        driver_cuda: Some(13000),
        driver_gpus: Some(2),
        libtorch_cuda: Some(13000),
        libtorch_gpus: 2,
        error: None,
    }
}

/// The same, but libtorch sees none, for this error of CUDA's.
fn blind(code: i32, words: &str) -> DeviceFacts {
    let error = Some(CudaError { code, words: words.into() });
    DeviceFacts { used: None, libtorch_gpus: 0, driver_gpus: None, error, ..on_gpu() }
}

/// Two ranks on each of three machines a, b and c that compute on GPUs, after one change.
fn ranks(change: impl FnOnce(&mut [RankFacts])) -> Vec<RankFacts> {
    let mut facts = healthy();
    facts.iter_mut().for_each(|rank| rank.device = Some(on_gpu()));
    change(&mut facts);
    facts
}

/// What a start says if both ranks of machine c have these facts.
fn said(device: &DeviceFacts, visible: Option<&str>) -> (Level, String) {
    let facts = ranks(|facts| {
        for rank in &mut facts[4..] {
            (rank.device, rank.visible_devices) = (Some(device.clone()), visible.map(str::to_owned));
        }
    });
    let unfit = unfit_devices(&facts);
    assert_eq!(unfit.len(), 1, "{unfit:?}");
    (unfit[0].level, sentences(&unfit))
}

#[test]
fn ranks_that_all_compute_on_the_same_kind_may_start() {
    assert_eq!(unfit_devices(&ranks(|_| ())), []);
    // Facts of another build, and machines without a driver.
    assert_eq!(unfit_devices(&healthy()), []);
    let on_cpu = DeviceFacts { used: Some(Device::Cpu), num_local_ranks: 9, ..DeviceFacts::default() };
    let all = ranks(|facts| facts.iter_mut().for_each(|rank| rank.device = Some(on_cpu.clone())));
    assert_eq!(unfit_devices(&all), []);
}

#[test]
fn a_driver_older_than_libtorchs_cuda_is_told_with_the_libtorch_that_it_runs() {
    let old = |driver: &str, speaks: Option<u32>| {
        let error = blind(35, "cudaErrorInsufficientDriver: CUDA driver version is insufficient");
        said(&DeviceFacts { driver: Some(driver.into()), driver_cuda: speaks, ..error }, None)
    };
    let text = "ranks 4 to 5 (c): the machine has 2 GPUs and libtorch sees none: driver 535 is older than CUDA 13.0 needs (580): \
                make TORCH=cu126 setup build";
    assert_eq!(old("535.161.08", Some(12020)), (Level::Mistake, text.into()));
    let (level, text) = old("470.82", Some(11040));
    assert!(level == Level::Mistake && text.ends_with("runs on it: install driver 525 or newer"), "{text}");
    let (level, text) = old("580.65.06", None);
    assert!(level == Level::Mistake && text.contains("libcuda.so.1 is not found") && text.contains("--nv"), "{text}");
    let (_, text) = old("580.65.06", Some(12020));
    assert!(text.contains("speaks CUDA 12.2 only") && text.contains("LD_LIBRARY_PATH"), "{text}");
    // A file that is written in another way than is known.
    let (_, text) = old("unknown", Some(12020));
    assert!(text.ends_with("its driver speaks CUDA 12.2 only, and libtorch was built for CUDA 13.0"), "{text}");
    let cu126 = DeviceFacts {
        driver: Some("515.1".into()),
        driver_cuda: Some(11070),
        libtorch_cuda: Some(12060),
        ..blind(35, "")
    };
    assert!(said(&cu126, None).1.contains("driver 515 is older than CUDA 12.6 needs (525): no libtorch"), "{cu126:?}");
}

#[test]
fn a_libtorch_for_the_cpu_on_a_machine_with_a_driver_is_told() {
    let text = "ranks 4 to 5 (c): the machine has 2 GPUs and libtorch sees none: this libtorch was built for the CPU alone: make \
                TORCH=cuda setup build, or set device = \"cpu\"";
    for code in [0, 35, 802] {
        let cpu_build = DeviceFacts { libtorch_cuda: None, ..blind(code, "") };
        assert_eq!(said(&cpu_build, None), (Level::Mistake, text.into()));
    }
}

#[test]
fn what_cuda_answers_decides_whose_fault_it_is() {
    for (code, level, words) in [
        (802, Level::Sick, "fabric manager, which connects the GPUs, is not running"),
        (803, Level::Sick, "reboot the machine after an update of its driver"),
        (804, Level::Mistake, "take it out of LD_LIBRARY_PATH: make TORCH=cu130 setup build"),
        (34, Level::Mistake, "the CUDA toolkit's stub"),
        (999, Level::Sick, "CUDA's error 999, cudaErrorUnknown: unknown error: look at `nvidia-smi` and `dmesg`"),
    ] {
        let (found, text) = said(&blind(code, "cudaErrorUnknown: unknown error"), None);
        assert!(found == level && text.contains(words), "{code}: {text}");
    }
    let (level, text) = said(&DeviceFacts { error: None, ..blind(0, "") }, None);
    assert!(level == Level::Sick && text.contains("CUDA gives no reason"), "{text}");
    let lost = DeviceFacts { present_gpus: 0, open_gpus: 0, ..blind(100, "cudaErrorNoDevice: …") };
    let (level, text) = said(&lost, None);
    assert!(level == Level::Sick && text.contains("has NVIDIA's driver and libtorch sees no GPU"), "{text}");
    assert!(text.contains("fallen off the bus"), "{text}");
    let closed = DeviceFacts { present_gpus: 8, open_gpus: 0, ..blind(100, "cudaErrorNoDevice: …") };
    let (level, text) = said(&closed, None);
    assert!(level == Level::Mistake && text.contains("has 8 GPUs") && text.contains("--gpus-per-node"), "{text}");
}

#[test]
fn a_list_that_hides_the_gpus_is_named() {
    let hidden = blind(100, "cudaErrorNoDevice: no CUDA-capable device is detected");
    for (list, words) in [
        (
            "9",
            "CUDA_VISIBLE_DEVICES, \"9\", names GPU 9, but there are only GPUs 0 to 1: CUDA ignores it and what \
             follows: correct or unset it",
        ),
        ("0,0", "names 0 twice"),
        ("NoDevFiles", "says that this job has none: ask Slurm for GPUs"),
        ("", "CUDA_VISIBLE_DEVICES, \"\", hides them: unset it, or set device = \"cpu\""),
    ] {
        let (level, text) = said(&hidden, Some(list));
        assert!(level == Level::Mistake && text.contains(words), "{list:?}: {text}");
    }
}

#[test]
fn cuda_without_a_driver_is_a_mistake_unless_other_machines_have_one() {
    let none = DeviceFacts { asked: DeviceChoice::Cuda, used: None, ..DeviceFacts::default() };
    let everywhere = ranks(|facts| facts.iter_mut().for_each(|rank| rank.device = Some(none.clone())));
    let unfit = unfit_devices(&everywhere);
    assert!(unfit.len() == 3 && unfit.iter().all(|unfit| unfit.level == Level::Mistake), "{unfit:?}");
    let text = sentences(&unfit);
    assert!(
        text.starts_with("ranks 0 to 5 (a to c, 3 machines): device is \"cuda\", and the machine has no NVIDIA driver")
    );
    assert_eq!(said(&none, None).0, Level::Sick);
}

#[test]
fn ranks_on_different_kinds_of_device_never_start_together() {
    let no_driver = DeviceFacts { used: Some(Device::Cpu), ..DeviceFacts::default() };
    let text = "ranks 4 to 5 (c): would compute on the CPU, and ranks 0 to 3 (a, b) on GPUs: the machine has no NVIDIA driver: \
                load it, leave the machine out, or set device = \"cpu\"";
    assert_eq!(said(&no_driver, None), (Level::Sick, text.into()));
    let hidden = DeviceFacts { used: Some(Device::Cpu), libtorch_gpus: 0, ..on_gpu() };
    let (level, text) = said(&hidden, Some(""));
    assert!(level == Level::Mistake && text.contains("CUDA_VISIBLE_DEVICES, \"\", hides its GPUs"), "{text}");
    let other_recipe = DeviceFacts { asked: DeviceChoice::Cpu, ..hidden };
    let (level, text) = said(&other_recipe, None);
    assert!(level == Level::Mistake && text.contains("give all ranks the same recipe"), "{text}");
}

#[test]
fn more_ranks_than_gpus_are_told_what_to_do() {
    let one = DeviceFacts { libtorch_gpus: 1, present_gpus: 1, open_gpus: 1, ..on_gpu() };
    let text = "ranks 4 to 5 (c): 2 ranks share 1 GPU, and NCCL wants one for each: start 1 there (-n 1), or set device = \"cpu\", \
                or backend = \"mpi\", which lets them share";
    assert_eq!(said(&one, None), (Level::Mistake, text.into()));
    assert_eq!(said(&one, Some("0")).0, Level::Mistake);
    let facts = |backend, lists: [&str; 2]| {
        ranks(|facts| {
            for (rank, list) in facts[4..].iter_mut().zip(lists) {
                rank.device = Some(DeviceFacts { backend, ..one.clone() });
                rank.visible_devices = Some(list.into());
            }
        })
    };
    assert_eq!(unfit_devices(&facts(Backend::Mpi, ["0", "0"])), []);
    // Each was given its own.
    assert_eq!(unfit_devices(&facts(Backend::Nccl, ["0", "1"])), []);
    let lost = DeviceFacts { libtorch_gpus: 1, ..on_gpu() };
    let (level, text) = said(&lost, None);
    assert!(
        level == Level::Sick && text.contains("sees 1 of the machine's 2 GPUs: one has fallen off the bus"),
        "{text}"
    );
}

#[test]
fn doctor_finds_the_same_and_says_it_once() {
    let crowded = DeviceFacts { libtorch_gpus: 1, open_gpus: 1, ..on_gpu() };
    let facts = ranks(|facts| facts[4..].iter_mut().for_each(|rank| rank.device = Some(crowded.clone())));
    is(&findings(&facts, None), "c", Level::Mistake, &["ranks 4 to 5: 2 ranks share 1 GPU", "-n 1"]);
    let hidden = DeviceFacts { asked: DeviceChoice::Cuda, ..blind(100, "") };
    let facts = ranks(|facts| {
        for rank in &mut facts[4..] {
            (rank.device, rank.visible_devices) = (Some(hidden.clone()), Some(String::new()));
        }
    });
    is(&findings(&facts, None), "c", Level::Mistake, &["ranks 4 to 5: the machine has 2 GPUs and libtorch sees none"]);
}

#[test]
fn a_gpu_that_nvidia_smi_no_longer_lists_is_lost_unless_it_is_anothers() {
    let with_gpus = |open_gpus, asked| {
        let machine = DeviceFacts { present_gpus: 8, open_gpus, asked, ..on_gpu() };
        let facts = ranks(|facts| facts.iter_mut().for_each(|rank| rank.device = Some(machine.clone())));
        let mut facts = facts;
        facts.iter_mut().filter_map(|rank| rank.machine.as_mut()).for_each(|machine| machine.listed_gpus = 2);
        findings(&facts, None)
    };
    assert_eq!(with_gpus(2, DeviceChoice::Auto), []);
    assert_eq!(with_gpus(3, DeviceChoice::Cpu), []);
    let lost = with_gpus(3, DeviceChoice::Auto);
    assert!(lost.len() == 3 && lost[0].level == Level::Sick, "{lost:?}");
    assert!(lost[0].text.starts_with("nvidia-smi lists 2 of its 3 GPUs: one has fallen off the bus"), "{lost:?}");
}

#[test]
fn gpus_that_libtorch_does_not_see_are_told_of_though_the_ranks_are_no_more() {
    let with = |libtorch_gpus, change: &dyn Fn(&mut RankFacts)| {
        let facts = DeviceFacts { num_local_ranks: 1, libtorch_gpus, ..on_gpu() };
        findings(
            &ranks(|all| {
                all[4..].iter_mut().for_each(|rank| {
                    rank.device = Some(facts.clone());
                    rank.machine.iter_mut().for_each(|machine| machine.num_ranks = 1);
                    change(rank);
                });
            }),
            None,
        )
    };
    is(&with(1, &|_| ()), "c", Level::Warning, &["libtorch sees 1 of its 2 GPUs", "fallen off the bus", "(MIG)"]);
    assert_eq!(with(2, &|_| ()), []);
    assert_eq!(with(1, &|rank| rank.visible_devices = Some("1".into())), []);
    assert_eq!(with(1, &|rank| rank.device.as_mut().unwrap().asked = DeviceChoice::Cpu), []);
    // What nvidia-smi has lost as well is a sickness, and said once.
    let lost = with(1, &|rank| rank.machine.iter_mut().for_each(|machine| machine.gpus.truncate(1)));
    let said = |words: &str| lost.iter().any(|one| one.text.contains(words));
    assert!(said("nvidia-smi lists 1 of its 2 GPUs") && !said("libtorch sees"), "{lost:?}");
}

#[test]
fn on_the_cpu_by_choice_gpus_are_nobodys_business() {
    let on_cpu = DeviceFacts { asked: DeviceChoice::Cpu, used: Some(Device::Cpu), ..on_gpu() };
    let facts = ranks(|facts| {
        for rank in facts {
            (rank.device, rank.visible_devices) = (Some(on_cpu.clone()), Some("7".into()));
        }
    });
    assert_eq!(findings(&facts, None), []);
}
