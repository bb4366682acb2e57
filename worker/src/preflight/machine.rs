//! Reads from Linux the facts about a machine's processor and memory.

use std::ffi::{CStr, CString};
use std::fs;
use std::path::Path;

use tch::Device;
use tercet_cluster::Collective;
use tercet_protocol::says::doctor::MachineFacts;

use super::gpus;
use crate::machine::{cores, memory};

/// All facts that take no time to find, except those of GPUs, which take as long as the driver does; these only
/// `with_gpus`.
pub fn look(ranks: &dyn Collective, with_gpus: bool) -> MachineFacts {
    let asked = if with_gpus { gpus::query() } else { Ok(Vec::new()) };
    let (gpus, gpu_error) = match asked {
        Ok(gpus) => (gpus, None),
        Err(error) => (Vec::new(), Some(error)),
    };
    let (shm_bytes, shm_free_bytes) = space(Path::new("/dev/shm")).unwrap_or_default();
    let memory_bytes = memory::memory_bytes();
    MachineFacts {
        num_ranks: ranks.local_size(),
        kernel: read_trimmed("/proc/sys/kernel/osrelease"),
        libc: libc_version(),
        num_cores: cores::of_host().len().max(1),
        load: read_trimmed("/proc/loadavg").split(' ').next().and_then(|load| load.parse().ok()).unwrap_or_default(),
        memory_bytes,
        available_bytes: memory::free_bytes(Device::Cpu),
        memory_limit_bytes: memory::group_limit_bytes().filter(|limit| *limit < memory_bytes),
        shm_bytes,
        shm_free_bytes,
        listed_gpus: gpus.len(),
        gpus,
        gpu_error,
        ..MachineFacts::default()
    }
}

/// The processor's name, family and model, because cloud hosts often give only the name of the maker's whole line.
pub fn processor_name() -> String {
    let text = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let first = text.split("\n\n").next().unwrap_or_default();
    let value = |key: &str| {
        first
            .lines()
            .filter_map(|line| line.split_once(':'))
            .find(|(name, _)| name.trim() == key)
            .map(|(_, v)| v.trim())
    };
    let named = [("", "model name"), ("family ", "cpu family"), ("model ", "model")];
    let parts = named.iter().filter_map(|(word, key)| Some(format!("{word}{}", value(key)?)));
    parts.collect::<Vec<_>>().join(" ")
}

/// The size of the file system that holds `path`, and its part that is free for this user, in bytes.
pub fn space(path: &Path) -> Option<(u64, u64)> {
    let path = CString::new(path.as_os_str().as_encoded_bytes()).ok()?;
    // SAFETY: statvfs is plain data, and all zeros are valid.
    let mut found: libc::statvfs = unsafe { std::mem::zeroed() };
    // SAFETY: the path ends with NUL, and `found` is valid during the call.
    let done = unsafe { libc::statvfs(path.as_ptr(), &mut found) } == 0;
    done.then_some((found.f_blocks * found.f_frsize, found.f_bavail * found.f_frsize))
}

/// The cores' current clock divided by their highest: the mean over the cores that tell.
pub fn clock_share() -> Option<f64> {
    let number =
        |core: &Path, name: &str| fs::read_to_string(core.join("cpufreq").join(name)).ok()?.trim().parse().ok();
    let share = |core: &Path| {
        let highest: f64 = number(core, "cpuinfo_max_freq")?;
        Some(number(core, "scaling_cur_freq")? / highest)
    };
    let shares: Vec<f64> = cores().iter().filter_map(|core| share(core)).collect();
    (!shares.is_empty()).then(|| shares.iter().sum::<f64>() / shares.len() as f64)
}

/// The number of times that heat has slowed cores since the machine was started, if the kernel counts it.
pub fn num_throttled() -> Option<u64> {
    let count = |core: &Path| {
        let text = fs::read_to_string(core.join("thermal_throttle/core_throttle_count")).ok()?;
        text.trim().parse::<u64>().ok()
    };
    let counts: Vec<u64> = cores().iter().filter_map(|core| count(core)).collect();
    (!counts.is_empty()).then(|| counts.iter().sum())
}

fn cores() -> Vec<std::path::PathBuf> {
    let entries = fs::read_dir("/sys/devices/system/cpu")
        .map(|entries| entries.flatten().collect::<Vec<_>>())
        .unwrap_or_default();
    let is_core =
        |name: &str| name.strip_prefix("cpu").is_some_and(|n| !n.is_empty() && n.bytes().all(|b| b.is_ascii_digit()));
    entries.iter().filter(|entry| entry.file_name().to_str().is_some_and(is_core)).map(|entry| entry.path()).collect()
}

fn read_trimmed(path: &str) -> String {
    fs::read_to_string(path).unwrap_or_default().trim().to_owned()
}

fn libc_version() -> String {
    // SAFETY: the C library returns a string that it owns and that lives for ever.
    unsafe { CStr::from_ptr(libc::gnu_get_libc_version()) }.to_string_lossy().into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a program of this machine says, its words.
    fn said(command: &str) -> Vec<String> {
        let mut words = command.split(' ');
        let output = std::process::Command::new(words.next().unwrap()).args(words).output().unwrap();
        String::from_utf8(output.stdout).unwrap().split_whitespace().map(str::to_owned).collect()
    }

    #[test]
    fn space_is_what_df_says() {
        let (size, free) = space(Path::new("/")).unwrap();
        let df = said("df --block-size=1 --output=size /");
        assert_eq!(size.to_string(), df[1]);
        assert!(free <= size);
        assert_eq!(space(Path::new("/nowhere/at/all")), None);
    }

    #[test]
    fn a_machine_is_what_its_own_programs_say() {
        let machine = look(&tercet_cluster::Solo::new(), true);
        assert_eq!(machine.num_ranks, 1);
        assert_eq!([machine.kernel], said("uname -r")[..]);
        assert_eq!(["glibc".to_owned(), machine.libc], said("getconf GNU_LIBC_VERSION")[..]);
        let pages: Vec<u64> = ["_PHYS_PAGES", "PAGE_SIZE"]
            .iter()
            .map(|name| said(&format!("getconf {name}"))[0].parse().unwrap())
            .collect();
        assert_eq!(machine.memory_bytes, pages[0] * pages[1]);
        assert!(machine.available_bytes <= machine.memory_bytes);
        // What has started this program may have been given fewer cores than there are.
        let online: usize = said("getconf _NPROCESSORS_ONLN")[0].parse().unwrap();
        assert!((1..=online).contains(&machine.num_cores), "{} of {online}", machine.num_cores);
    }
}
