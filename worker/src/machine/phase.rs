//! Measures where a step's time goes, with a stopwatch that is always in exactly one phase, so the phases sum to the
//! step.
//!
//! Training is single-threaded, so there is one stopwatch per thread. A device computes after the calls that ask it to:
//! its time shows in the phase that waits for it, unless [`wait_for_device`] is on.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use tch::Device;
use tercet_cluster::heartbeat;

/// What a rank is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// Waiting for the batch, building the sub-batches.
    Input,
    /// The encoder's first pass.
    Forward,
    /// Forward passes recomputed for the backward pass.
    Recompute,
    /// The encoder's backward pass.
    Backward,
    /// The three heads, forward and backward.
    Heads,
    /// Score matrices and their gradients, their communication included.
    Scoring,
    /// The loss, its gradient, and known answers.
    Loss,
    /// Waiting for the gradient's sum over ranks.
    Reduce,
    /// Clipping and updating.
    Optimizer,
    /// Everything else.
    Other,
}

const NUM_PHASES: usize = Phase::Other as usize + 1;

const NAMES: [&str; NUM_PHASES] =
    ["input", "forward", "recompute", "backward", "heads", "scoring", "loss", "reduce", "optimizer", "other"];

/// The phase that the process's training thread is in, for other threads.
static CURRENT: AtomicUsize = AtomicUsize::new(Phase::Other as usize);

/// The name of the phase that training is in now; any thread may ask.
pub fn current_name() -> &'static str {
    NAMES[CURRENT.load(Ordering::Relaxed)]
}

/// Seconds by phase.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct PhaseSecs(pub [f64; NUM_PHASES]);

impl PhaseSecs {
    /// The same by the phases' names.
    pub fn by_name(&self) -> BTreeMap<String, f64> {
        NAMES.into_iter().map(str::to_owned).zip(self.0).collect()
    }
}

struct Stopwatch {
    phase: Phase,
    since: Instant,
    secs: PhaseSecs,
    /// A device whose work counts for the phase that asked for it.
    waits_for: Option<Device>,
}

impl Stopwatch {
    /// Adds the time until now to the current phase, and enters `next`. Returns the former phase.
    fn switch(&mut self, next: Phase) -> Phase {
        if let Some(Device::Cuda(index)) = self.waits_for {
            tch::Cuda::synchronize(index as i64);
        }
        let now = Instant::now();
        self.secs.0[self.phase as usize] += (now - self.since).as_secs_f64();
        self.since = now;
        CURRENT.store(next as usize, Ordering::Relaxed);
        heartbeat::touch();
        std::mem::replace(&mut self.phase, next)
    }
}

thread_local! {
    static STOPWATCH: RefCell<Stopwatch> = RefCell::new(Stopwatch {
        phase: Phase::Other,
        since: Instant::now(),
        secs: PhaseSecs::default(),
        waits_for: None,
    });
}

/// Does `work` in `phase`, and returns to the former phase afterwards. Other phases may take over within it.
pub fn during<T>(phase: Phase, work: impl FnOnce() -> T) -> T {
    let before = STOPWATCH.with_borrow_mut(|watch| watch.switch(phase));
    let result = work();
    STOPWATCH.with_borrow_mut(|watch| watch.switch(before));
    result
}

/// The seconds by phase since the last call.
pub fn take() -> PhaseSecs {
    STOPWATCH.with_borrow_mut(|watch| {
        watch.switch(watch.phase);
        std::mem::take(&mut watch.secs)
    })
}

/// From now on a phase ends only when `device` has done its work. Benchmarks need this, and training does not.
pub fn wait_for_device(device: Device) {
    STOPWATCH.with_borrow_mut(|watch| watch.waits_for = Some(device));
}

#[cfg(test)]
mod tests {
    use std::thread::sleep;
    use std::time::Duration;

    use super::*;

    #[test]
    fn phases_nest_and_sum_to_the_whole() {
        take();
        let started = Instant::now();
        during(Phase::Scoring, || {
            sleep(Duration::from_millis(2));
            during(Phase::Heads, || sleep(Duration::from_millis(4)));
        });
        let whole = started.elapsed().as_secs_f64();
        let secs = take();
        assert!(secs.0[Phase::Scoring as usize] >= 0.002 && secs.0[Phase::Heads as usize] >= 0.004);
        let sum: f64 = secs.0.iter().sum();
        assert!(sum >= whole, "{sum} of {whole}");
        assert_eq!(secs.0[Phase::Loss as usize], 0.0);
    }
}
