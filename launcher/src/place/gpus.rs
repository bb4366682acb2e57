//! The NVIDIA GPUs of this machine: how many ranks fit here.

use std::env;
use std::num::NonZeroUsize;
use std::path::Path;

use tercet_configs::{DeviceChoice, NvidiaDriver, UsableGpus};

use crate::screen::Screen;

/// One rank per NVIDIA GPU that this process may use, and a word where it may use fewer than it seems; 1 where there is
/// none, or where GPUs are not asked for.
pub fn default_ranks(device: DeviceChoice, screen: &Screen) -> NonZeroUsize {
    let UsableGpus { num, remark } = usable(device);
    if let Some(why) = remark {
        screen.say(&format!("warning: {why}: {num} GPUs are used\n"));
    }
    NonZeroUsize::new(num).unwrap_or(NonZeroUsize::MIN)
}

/// NVIDIA GPUs that ranks of this process would compute on.
pub fn num_gpus(device: DeviceChoice) -> usize {
    usable(device).num
}

fn usable(device: DeviceChoice) -> UsableGpus {
    let driver = NvidiaDriver::look(Path::new("/")).filter(|_| device != DeviceChoice::Cpu);
    driver.unwrap_or_default().usable(env::var("CUDA_VISIBLE_DEVICES").ok().as_deref())
}
