//! Work on many things at the same time.

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;

/// Calls `work` with each of `all`, `jobs` at the same time, and returns what it returned in their order. After an
/// error nothing more is begun.
///
/// # Errors
/// The error of the first of `all` that ended with one.
pub fn map<T: Sync, R: Send, E: Send>(
    all: &[T],
    jobs: usize,
    work: impl Fn(&T) -> Result<R, E> + Sync,
) -> Result<Vec<R>, E> {
    let (next, failed) = (AtomicUsize::new(0), AtomicBool::new(false));
    let done: Mutex<Vec<(usize, Result<R, E>)>> = Mutex::new(Vec::with_capacity(all.len()));
    let worker = || {
        while !failed.load(Ordering::Relaxed) {
            let number = next.fetch_add(1, Ordering::Relaxed);
            let Some(one) = all.get(number) else { break };
            // A panic ends the others' work, too.
            let result = catch_unwind(AssertUnwindSafe(|| work(one))).unwrap_or_else(|panic| {
                failed.store(true, Ordering::Relaxed);
                resume_unwind(panic)
            });
            failed.fetch_or(result.is_err(), Ordering::Relaxed);
            // Nobody panics while holding it.
            done.lock().expect("no panic").push((number, result));
        }
    };
    thread::scope(|scope| {
        let workers: Vec<_> = (0..jobs.clamp(1, all.len().max(1))).map(|_| scope.spawn(worker)).collect();
        workers.into_iter().for_each(|worker| worker.join().unwrap_or_else(|panic| resume_unwind(panic)));
    });
    let mut done = done.into_inner().expect("no panic");
    done.sort_unstable_by_key(|(number, _)| *number);
    done.into_iter().map(|(_, result)| result).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_are_in_order_and_the_first_error_is_told() {
        let all: Vec<u32> = (0..100).collect();
        for jobs in [1, 3, 200] {
            assert_eq!(map(&all, jobs, |&n| Ok::<_, ()>(2 * n)).unwrap(), (0..200).step_by(2).collect::<Vec<_>>());
            assert_eq!(map(&all, jobs, |&n| if n % 10 == 7 { Err(n) } else { Ok(n) }).unwrap_err(), 7);
        }
        assert!(map(&[] as &[u32], 2, |_| Ok::<_, ()>(())).unwrap().is_empty());
    }
}
