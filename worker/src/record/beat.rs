//! The sign of life that every rank gives once a second, whatever its training thread does: a line on standard output,
//! which mpirun passes to the launcher. It needs no port and no file.
//!
//! It says only what the rank is doing: no rows, no paths.

use std::io::{self, Write};
use std::process;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{Builder, sleep};
use std::time::{Duration, Instant};

use tercet_cluster::Collective;
use tercet_cluster::heartbeat::{self, Doing};
use tercet_configs::ExitCode;
use tercet_protocol::says::{Beat, Event};

use crate::machine::phase;

/// The time between two signs of life.
const EVERY: Duration = Duration::from_secs(1);

/// The current step, from 1; 0 before the first.
static STEP: AtomicU64 = AtomicU64::new(0);

/// Whether the model is being evaluated.
static EVALUATES: AtomicBool = AtomicBool::new(false);

/// The phase that is told meanwhile, whatever part of it the rank is in.
const EVALUATION: &str = "evaluation";

/// The processor time of a thread, and since when it has not grown.
struct Clock {
    id: libc::clockid_t,
    used: (i64, i64),
    grown: Instant,
}

impl Clock {
    /// The clock of the calling thread, which must live as long as the process.
    fn of_this_thread() -> io::Result<Self> {
        let mut id = 0;
        // SAFETY: the thread is the calling one, and the clock's id is written to a variable of its type.
        match unsafe { libc::pthread_getcpuclockid(libc::pthread_self(), &mut id) } {
            0 => Ok(Self { id, used: (0, 0), grown: Instant::now() }),
            error => Err(io::Error::from_raw_os_error(error)),
        }
    }

    fn still_secs(&mut self) -> f64 {
        let mut now = libc::timespec { tv_sec: 0, tv_nsec: 0 };
        // SAFETY: the time is written to a variable of its type. The call cannot fail for a living thread.
        unsafe { libc::clock_gettime(self.id, &mut now) };
        if (now.tv_sec, now.tv_nsec) != self.used {
            (self.used, self.grown) = ((now.tv_sec, now.tv_nsec), Instant::now());
        }
        self.grown.elapsed().as_secs_f64()
    }
}

/// Records that step `step`, counted from 1, begins.
pub fn at_step(step: u64) {
    STEP.store(step, Ordering::Relaxed);
}

/// Does `work`, which evaluates the model: as long as it moves, nobody takes it for a step that hangs.
pub fn during_evaluation<T>(work: impl FnOnce() -> T) -> T {
    EVALUATES.store(true, Ordering::Relaxed);
    let result = work();
    EVALUATES.store(false, Ordering::Relaxed);
    result
}

/// Starts to give signs of life, until the process ends. The training thread calls it. When nobody reads them any more,
/// the kernel or mpirun has asked this rank to stop. If it has not stopped after `stop_secs`, it is ended, so that no
/// hanging rank outlives its launcher.
///
/// # Errors
/// The system starts no thread.
pub fn start(ranks: &dyn Collective, stop_secs: f64) -> io::Result<()> {
    let (rank, host) = (ranks.rank(), ranks.host().to_owned());
    let mut clock = Clock::of_this_thread()?;
    let beat = move || {
        while say(&line(rank, &host, clock.still_secs())).is_ok() {
            sleep(EVERY);
        }
        sleep(Duration::from_secs_f64(stop_secs));
        // SAFETY: nothing of this process is used afterwards. An ordinary exit might wait for the hanging thread.
        unsafe { libc::_exit(ExitCode::Machine.code()) }
    };
    Builder::new().name("heartbeat".into()).spawn(beat).map(drop)
}

fn line(rank: usize, host: &str, still_secs: f64) -> String {
    let now = heartbeat::now();
    let step = STEP.load(Ordering::Relaxed);
    let doing = match (now.doing, now.bucket) {
        (Doing::ReadingBatch, _) => format!("{} {step}", now.doing.name()),
        (doing, Some(bucket)) => format!("{} of bucket {bucket}", doing.name()),
        (doing, None) => doing.name().to_owned(),
    };
    let (waits, saves) = (now.doing.waits(), now.doing == Doing::WritingCheckpoint);
    let evaluates = EVALUATES.load(Ordering::Relaxed);
    let phase = if evaluates { EVALUATION } else { phase::current_name() };
    let (host, pid, phase) = (host.to_owned(), process::id(), phase.to_owned());
    let [secs, still_secs] = [now.secs, still_secs].map(|secs| (secs * 10.0).round() / 10.0);
    Event::Heartbeat(Beat { rank, host, pid, step, phase, doing, waits, saves, evaluates, secs, still_secs }).line()
}

/// Writes a line in one piece, so that other ranks' output does not get into it.
///
/// # Errors
/// Nobody reads it any more, which is no reason to stop.
pub fn say(line: &str) -> io::Result<()> {
    let mut stdout = io::stdout().lock();
    stdout.write_all(format!("{line}\n").as_bytes()).and_then(|()| stdout.flush())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thread_that_sleeps_is_still_and_one_that_asks_is_not() {
        let (sender, clock) = std::sync::mpsc::channel();
        let (wake, woken) = std::sync::mpsc::channel::<()>();
        std::thread::scope(|scope| {
            scope.spawn(move || {
                sender.send(Clock::of_this_thread().unwrap()).unwrap();
                woken.recv().unwrap();
                while woken.try_recv().is_err() {
                    std::thread::yield_now();
                }
            });
            let mut clock = clock.recv().unwrap();
            // The thread may not have begun to wait at the first look.
            while clock.still_secs() < 0.1 {
                sleep(Duration::from_millis(10));
            }
            wake.send(()).unwrap();
            while clock.still_secs() >= 0.1 {
                sleep(Duration::from_millis(10));
            }
            wake.send(()).unwrap();
        });
    }

    #[test]
    fn a_sign_of_life_begins_as_the_launcher_expects_and_fits_a_pipe() {
        let line = line(13, &"h".repeat(64), 1e6);
        assert!(line.starts_with(r#"{"event":"heartbeat","rank":13,"host":"hhh"#), "{line}");
        assert!(line.len() < libc::PIPE_BUF / 2, "{}", line.len());
    }
}
