//! The NVIDIA GPUs of this machine: how many ranks fit here.

use std::env;
use std::num::NonZeroUsize;

use tercet_configs::VisibleDevices;

use crate::screen::Screen;

/// One rank per NVIDIA GPU that this process may use, or 1 without any; and a remark where it may use fewer than it
/// seems.
pub fn default_ranks(screen: &Screen) -> NonZeroUsize {
    let (num, fewer) = usable_gpus();
    if let Some(why) = fewer {
        screen.say(&format!("warning: {why}: {num} GPUs are used\n"));
    }
    NonZeroUsize::new(num).unwrap_or(NonZeroUsize::MIN)
}

/// NVIDIA GPUs that this process may use.
pub fn num_gpus() -> usize {
    usable_gpus().0
}

/// The same, and the reason if they are fewer than the user probably expects.
fn usable_gpus() -> (usize, Option<String>) {
    let present = std::fs::read_dir("/proc/driver/nvidia/gpus").map_or(0, |gpus| gpus.flatten().count());
    match env::var("CUDA_VISIBLE_DEVICES") {
        Ok(list) if present > 0 => {
            let VisibleDevices { num, remark, .. } = VisibleDevices::read(&list, Some(present));
            (num, remark.map(|remark| format!("CUDA_VISIBLE_DEVICES, {list:?}, {remark}")))
        }
        _ => (present, None),
    }
}
