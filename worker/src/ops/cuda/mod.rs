//! Kernels for GPUs in float32 and bfloat16, and dropout's also in float64: loops of our own, where libtorch's
//! operations would be several passes over memory. They compute what those in `cpu/` do, with the same masks of
//! dropout.
//!
//! Their text, in `text/`, is part of the program. NVRTC, which comes with libtorch, compiles it for the card when a
//! process first needs it, in a second; the result is kept in the user's cache folder. They are launched in the stream
//! that libtorch works in. Where NVRTC is missing, or anything else goes wrong before the first launch, the log says so
//! and libtorch's operations serve.
//!
//! Every sum has one order, on every card, so results are the same in every run. Sums over rows are made in blocks of
//! 32, as in `cpu/`.
//!
//! Legend: T rows, d the width.

pub mod adamw;
mod cache;
mod driver;
pub mod dropout;
pub mod gelu;
mod launch;
pub mod layer_norm;
mod library;
mod nvrtc;
mod sums;
#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::sync::OnceLock;
use std::time::Instant;

use tch::Device;

use crate::machine::cuda::compute_capability;
use driver::{Driver, Function};
pub use launch::{Gpu, Rows};
use nvrtc::{Nvrtc, OPTIONS};

/// What the kernels are compiled from.
const TEXT: &str = concat!(
    include_str!("text/device.h"),
    include_str!("text/common.h"),
    include_str!("text/layer_norm.cu"),
    include_str!("text/gelu.cu"),
    include_str!("text/sums.cu"),
    include_str!("text/elements.cu"),
);

/// The first compute capability whose cards round to bfloat16 in one instruction (Ampere).
const OLDEST: (i32, i32) = (8, 0);

/// GPUs that a process can see at most.
const MOST_GPUS: usize = 64;

/// The kernels in the memory of a GPU.
pub struct Kernels {
    driver: Driver,
    functions: HashMap<String, Function>,
}

/// The version of NVRTC, if it is found.
pub fn nvrtc_version() -> Option<String> {
    Nvrtc::find().ok().map(|nvrtc| nvrtc.version_in_words())
}

/// Whether there are kernels for `device`. The first call for a GPU compiles them.
pub fn serves(device: Device) -> bool {
    kernels(device).is_some()
}

/// The kernels of `device`, if it is a GPU that has some.
fn kernels(device: Device) -> Option<&'static Kernels> {
    static OF_GPUS: [OnceLock<Option<Kernels>>; MOST_GPUS] = [const { OnceLock::new() }; MOST_GPUS];
    let Device::Cuda(index) = device else { return None };
    let of_gpu = || {
        let found = Kernels::of_gpu(index);
        if let Err(why) = &found {
            tracing::warn!(
                "GPU {index} computes without kernels of our own: {why}. libtorch's operations take their place: they \
                 are slower, and the masks of dropout are the card's"
            );
        }
        found.ok()
    };
    OF_GPUS.get(index)?.get_or_init(of_gpu).as_ref()
}

impl Kernels {
    fn of_gpu(index: usize) -> Result<Self, String> {
        let (major, minor) = compute_capability(index).ok_or("CUDA's runtime does not say what card it is")?;
        if (major, minor) < OLDEST {
            return Err(format!("they are for compute capability 8.0 and newer, and it has {major}.{minor}"));
        }
        let card = format!("sm_{major}{minor}");
        let (nvrtc, driver) = (Nvrtc::find()?, Driver::of_gpu(index)?);
        let version = nvrtc.version_in_words();
        let file = cache::file(&[TEXT, &card, &version, &OPTIONS.join(" ")]);
        let kept = file.as_deref().and_then(cache::read);
        // SAFETY: what is read from the cache has the checksum of a whole cubin.
        if let Some(found) = kept.and_then(|kept| unsafe { Self::load(driver.clone(), &kept) }.ok()) {
            return Ok(found);
        }
        let begin = Instant::now();
        let (cubin, _log) = nvrtc.compile(TEXT, &card, &OPTIONS)?;
        let secs = begin.elapsed().as_secs_f64();
        tracing::info!("GPU {index}: NVRTC {version} has compiled kernels for {card} in {secs:.1} s");
        // SAFETY: the compiler has made it.
        let found = unsafe { Self::load(driver, &cubin) }?;
        if let Some(Err(error)) = file.map(|file| cache::write(&file, &cubin).map_err(|e| format!("{file:?}: {e}"))) {
            tracing::warn!("compiled kernels cannot be kept, so the next start compiles them again: {error}");
        }
        Ok(found)
    }

    /// # Safety
    /// `cubin` is a whole one.
    unsafe fn load(driver: Driver, cubin: &[u8]) -> Result<Self, String> {
        let names = names();
        // SAFETY: as promised to this function.
        let functions = unsafe { driver.load(cubin, &names) }?;
        Ok(Self { driver, functions: names.into_iter().zip(functions).collect() })
    }
}

/// The names of all kernels of the text.
fn names() -> Vec<String> {
    let of_rows = ["norm_forward", "norm_backward", "gelu_forward", "gelu_backward"].into_iter();
    let of_rows = of_rows.flat_map(|name| ["f32", "bf16"].map(|kind| format!("{name}_{kind}")));
    let of_rows = of_rows.flat_map(|name| [1, 4].map(|columns| format!("{name}_{columns}")));
    let others = ["dropout_f32", "dropout_f64", "dropout_bf16", "add_sums", "adamw"].map(str::to_owned);
    of_rows.chain(others).collect()
}
