//! Measures where a step's time goes, with a stopwatch that is always in exactly one phase, so the phases sum to the
//! step.
//!
//! Training is single-threaded, so there is one stopwatch per thread. A GPU computes after the calls that ask it to, so
//! from [`follow`] on it is the GPU's own time that counts: how long it was in the work of each phase, by moments in
//! its stream, which are read when it has come to them. Nobody waits for that.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::mem::ManuallyDrop;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use tch::Device;
use tercet_cluster::heartbeat;

use super::timeline::Timeline;
use crate::tensors::libtorch::device::Moment;

pub use tercet_protocol::says::Phase;

/// The phase that the process's training thread is in, for other threads.
static CURRENT: AtomicUsize = AtomicUsize::new(Phase::Other as usize);

/// The name of the phase that training is in now; any thread may ask.
pub fn current_name() -> &'static str {
    Phase::ALL[CURRENT.load(Ordering::Relaxed)].name()
}

/// Seconds by phase.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct PhaseSecs(pub [f64; Phase::ALL.len()]);

impl PhaseSecs {
    /// The same by the phases' names.
    pub fn by_name(&self) -> BTreeMap<String, f64> {
        Phase::ALL.iter().map(|phase| phase.name().to_owned()).zip(self.0).collect()
    }
}

/// A GPU's own time.
struct OnGpu {
    index: usize,
    timeline: Timeline<Moment, Phase>,
    /// Moments to be used again: making one takes longer than marking it.
    spare: Vec<Moment>,
}

impl OnGpu {
    fn begin(&mut self, phase: Phase) {
        let mut moment = self.spare.pop().unwrap_or_default();
        moment.mark(self.index);
        self.timeline.begin(moment, phase);
    }

    fn take(&mut self) -> PhaseSecs {
        let mut secs = PhaseSecs::default();
        let add = |phase: Phase, own: f64| secs.0[phase as usize] += own;
        self.spare.extend(self.timeline.take(Moment::is_over, Moment::secs_until, add));
        secs
    }
}

struct Stopwatch {
    phase: Phase,
    since: Instant,
    secs: PhaseSecs,
    /// The GPU whose time counts in place of the clock's. Its moments are never freed: the thread may outlive CUDA.
    on_gpu: ManuallyDrop<Option<OnGpu>>,
}

impl Stopwatch {
    /// Adds the time until now to the current phase, and enters `next`. Returns the former phase.
    fn switch(&mut self, next: Phase) -> Phase {
        let now = Instant::now();
        self.secs.0[self.phase as usize] += (now - self.since).as_secs_f64();
        self.since = now;
        if let Some(on_gpu) = &mut *self.on_gpu {
            on_gpu.begin(next);
        }
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
        on_gpu: ManuallyDrop::new(None),
    });
}

/// Returns to a phase when it is dropped.
struct Back(Phase);

impl Drop for Back {
    fn drop(&mut self) {
        STOPWATCH.with_borrow_mut(|watch| watch.switch(self.0));
    }
}

/// Does `work` in `phase`, and returns to the former phase afterwards, also where `work` panics. Other phases may take
/// over within it.
pub fn during<T>(phase: Phase, work: impl FnOnce() -> T) -> T {
    let _before = Back(STOPWATCH.with_borrow_mut(|watch| watch.switch(phase)));
    work()
}

/// A step begins: the time since the last call of [`take`] does not count.
pub fn begin_step() {
    STOPWATCH.with_borrow_mut(|watch| {
        if let Some(on_gpu) = &mut *watch.on_gpu {
            on_gpu.timeline.leave_out_new();
        }
        watch.switch(watch.phase);
        watch.secs = PhaseSecs::default();
    });
}

/// The seconds by phase since the last call, or since the last [`begin_step`]. What a followed GPU has not come to yet
/// is left for the next call.
pub fn take() -> PhaseSecs {
    STOPWATCH.with_borrow_mut(|watch| {
        watch.switch(watch.phase);
        let by_clock = std::mem::take(&mut watch.secs);
        watch.on_gpu.as_mut().map_or(by_clock, OnGpu::take)
    })
}

/// From now on the time of `device` counts, if it is a GPU.
pub fn follow(device: Device) {
    if let Device::Cuda(index) = device {
        STOPWATCH.with_borrow_mut(|watch| {
            let mut on_gpu = OnGpu { index, timeline: Timeline::new(), spare: Vec::new() };
            on_gpu.begin(watch.phase);
            *watch.on_gpu = Some(on_gpu);
        });
    }
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

    #[test]
    fn what_lies_before_a_step_does_not_count() {
        during(Phase::Input, || sleep(Duration::from_millis(2)));
        begin_step();
        during(Phase::Scoring, || ());
        assert_eq!(take().0[Phase::Input as usize], 0.0);
    }

    #[test]
    fn a_panic_ends_its_phase() {
        let panics = || during(Phase::Heads, || panic!("on purpose"));
        assert!(std::panic::catch_unwind(panics).is_err());
        STOPWATCH.with_borrow(|watch| assert_eq!(watch.phase, Phase::Other));
    }
}
