//! What NVIDIA's driver for Linux tells of itself and of the machine's GPUs in `/proc/driver/nvidia`, without being
//! started. The launcher, the demo and the worker count GPUs by it.
//!
//! Limits: the driver's files are the machine's, also in a container or a job that may use only some of its GPUs. What
//! a process may open is its own, as far as files in `/dev` and control groups say. Under WSL there are no such files.

use std::ffi::CString;
use std::fs;
use std::path::Path;

use crate::visible_devices::VisibleDevices;

/// A driver, as its files describe it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct NvidiaDriver {
    /// Its version, such as `535.161.08`; none if its file is written otherwise than is known.
    pub version: Option<String>,
    /// The GPUs of the machine.
    pub gpus: Vec<GpuSlot>,
}

/// A GPU in its slot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GpuSlot {
    /// Its PCI address.
    pub address: String,
    /// This process may open its device file.
    pub is_open_to_us: bool,
}

/// How many GPUs a process may use.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UsableGpus {
    /// Their number.
    pub num: usize,
    /// Why they are fewer than were probably meant.
    pub remark: Option<String>,
}

impl NvidiaDriver {
    /// The driver of the machine whose files are below `root`; none if there is none.
    pub fn look(root: &Path) -> Option<Self> {
        let version = fs::read_to_string(root.join("proc/driver/nvidia/version")).ok();
        let folders = fs::read_dir(root.join("proc/driver/nvidia/gpus")).ok();
        if version.is_none() && folders.is_none() {
            return None;
        }
        let entries = folders.into_iter().flatten().flatten();
        let mut gpus: Vec<GpuSlot> = entries
            .filter_map(|entry| {
                let address = entry.file_name().into_string().ok()?;
                let text = fs::read_to_string(entry.path().join("information")).unwrap_or_default();
                Some(GpuSlot { address, is_open_to_us: minor(&text).is_none_or(|minor| is_open(root, minor)) })
            })
            .collect();
        gpus.sort_by(|one, other| one.address.cmp(&other.address));
        Some(Self { version: version.as_deref().and_then(version_of), gpus })
    }

    /// The GPUs that this process may open.
    pub fn num_open(&self) -> usize {
        self.gpus.iter().filter(|gpu| gpu.is_open_to_us).count()
    }

    /// The GPUs that a process with this `CUDA_VISIBLE_DEVICES` may use.
    pub fn usable(&self, visible_devices: Option<&str>) -> UsableGpus {
        let num_open = self.num_open();
        match visible_devices {
            Some(list) if num_open > 0 => {
                let VisibleDevices { num, remark, .. } = VisibleDevices::read(list, Some(num_open));
                UsableGpus { num, remark: remark.map(|remark| format!("CUDA_VISIBLE_DEVICES, {list:?}, {remark}")) }
            }
            _ => UsableGpus { num: num_open, remark: None },
        }
    }
}

/// `535` of `535.161.08`.
pub fn major_of(version: &str) -> Option<u32> {
    version.split('.').next()?.parse().ok()
}

/// The first word of the module's line that is numbers with dots between: the words before it differ by the kind of
/// kernel module.
fn version_of(text: &str) -> Option<String> {
    let line = text.lines().find(|line| line.starts_with("NVRM version"))?;
    let is_version = |word: &&str| word.contains('.') && word.split('.').all(|part| part.parse::<u32>().is_ok());
    line.split_whitespace().find(is_version).map(str::to_owned)
}

/// The number of the GPU's file in `/dev`.
fn minor(information: &str) -> Option<u32> {
    let (_, number) = information.lines().find_map(|line| line.split_once("Device Minor:"))?;
    number.trim().parse().ok()
}

/// Whether the process may read and write the file, by its permissions and by the control group's list of devices,
/// which the kernel asks as well. The GPU is not woken.
fn is_open(root: &Path, minor: u32) -> bool {
    let file = root.join(format!("dev/nvidia{minor}"));
    let Ok(file) = CString::new(file.as_os_str().as_encoded_bytes()) else { return false };
    // SAFETY: the name ends with NUL and lives until the call returns.
    unsafe { libc::access(file.as_ptr(), libc::R_OK | libc::W_OK) == 0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(root: &Path, name: &str, text: &str) {
        let file = root.join(name);
        fs::create_dir_all(file.parent().unwrap()).unwrap();
        fs::write(file, text).unwrap();
    }

    /// Made-up files of a machine with `num_gpus`, of which a process may open the first `num_open`.
    fn machine(num_gpus: usize, num_open: usize) -> tempfile::TempDir {
        let root = tempfile::tempdir().unwrap();
        let version = "NVRM version: NVIDIA UNIX x86_64 Kernel Module  535.161.08  Sat Dec 30 02:38:40 UTC 2023\n\
                       GCC version:  gcc version 11.4.0 (Ubuntu 11.4.0-1ubuntu1~22.04)\n";
        write(root.path(), "proc/driver/nvidia/version", version);
        for gpu in 0..num_gpus {
            let text = format!("Model: \t\t NVIDIA A100-SXM4-80GB\nIRQ:   \t\t 187\nDevice Minor: \t {gpu}\n");
            write(root.path(), &format!("proc/driver/nvidia/gpus/0000:{gpu:02x}:00.0/information"), &text);
            if gpu < num_open {
                write(root.path(), &format!("dev/nvidia{gpu}"), "");
            }
        }
        root
    }

    #[test]
    fn a_driver_tells_its_version_and_its_gpus() {
        let driver = NvidiaDriver::look(machine(8, 8).path()).unwrap();
        assert_eq!((driver.version.as_deref(), driver.gpus.len()), (Some("535.161.08"), 8));
        assert_eq!(driver.gpus[1].address, "0000:01:00.0");
        assert_eq!(major_of("535.161.08"), Some(535));
        let open =
            "NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  580.65.06  Release Build  (a@b)  Sun 2025\n";
        assert_eq!(version_of(open).as_deref(), Some("580.65.06"));
        assert_eq!(version_of("something else 1.2\n"), None);
        assert_eq!(NvidiaDriver::look(tempfile::tempdir().unwrap().path()), None);
    }

    #[test]
    fn gpus_of_others_are_not_counted() {
        let driver = NvidiaDriver::look(machine(8, 2).path()).unwrap();
        assert_eq!((driver.gpus.len(), driver.num_open()), (8, 2));
        let num = |list: Option<&str>| driver.usable(list).num;
        assert_eq!(
            [num(None), num(Some("1")), num(Some("")), num(Some("0,1")), num(Some("NoDevFiles"))],
            [2, 1, 0, 2, 0]
        );
        let wrong = driver.usable(Some("0,5"));
        assert_eq!(wrong.num, 1);
        assert!(wrong.remark.unwrap().starts_with("CUDA_VISIBLE_DEVICES, \"0,5\", names GPU 5"));
        // Without a GPU there is nothing to hide.
        assert_eq!(NvidiaDriver::default().usable(Some("0")), UsableGpus { num: 0, remark: None });
    }
}
