//! Work for the host that a thread does before the encoder comes to what follows from it.

use std::sync::mpsc::{Receiver, sync_channel};
use std::thread;

/// How much may be there before it is taken.
pub const AHEAD: usize = 2;

/// Does `work`, which takes what `items` yields, in its order. A thread makes it, [`AHEAD`] of them at most before they
/// are taken, and makes no more once `work` is done.
pub fn ahead<T: Send, R>(items: impl Iterator<Item = T> + Send, work: impl FnOnce(Receiver<T>) -> R) -> R {
    thread::scope(|scope| {
        let (made, coming) = sync_channel(AHEAD);
        scope.spawn(move || {
            for item in items {
                if made.send(item).is_err() {
                    return; // nobody waits for more
                }
            }
        });
        work(coming)
    })
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    #[test]
    fn everything_comes_in_order() {
        let sum = ahead(0..100, |coming| coming.iter().enumerate().all(|(i, item)| i == item));
        assert!(sum);
    }

    #[test]
    fn whoever_takes_no_more_waits_for_no_more() {
        let made = AtomicUsize::new(0);
        let items = (0..).inspect(|_| {
            made.fetch_add(1, Ordering::Relaxed);
        });
        assert_eq!(ahead(items, |coming| coming.iter().take(3).sum::<usize>()), 3);
        // Those that were taken, those that lay ready, and the one that nobody took.
        assert!(made.into_inner() <= 3 + AHEAD + 1);
    }
}
