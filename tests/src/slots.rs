//! Bounds the number of ranks at a time. Tests run side by side, but a machine of two cores should not have more ranks
//! than it can start in time.

use std::sync::{Condvar, Mutex};

/// The largest number of ranks at a time.
const SLOTS: usize = 4;

static FREE: Mutex<usize> = Mutex::new(SLOTS);
static FREED: Condvar = Condvar::new();

/// Slots that a run holds until it is dropped.
pub struct Held(usize);

/// Waits for `ranks` slots, or for all if there are fewer.
pub fn take(ranks: usize) -> Held {
    let wanted = ranks.min(SLOTS);
    // A poisoned lock does no harm: the count is right whenever the lock is free.
    let free = FREE.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
    let mut free = FREED.wait_while(free, |free| *free < wanted).unwrap_or_else(|poisoned| poisoned.into_inner());
    *free -= wanted;
    Held(wanted)
}

/// Waits until nothing else runs, for tests that measure time or memory.
pub fn take_all() -> Held {
    take(SLOTS)
}

impl Drop for Held {
    fn drop(&mut self) {
        *FREE.lock().unwrap_or_else(|poisoned| poisoned.into_inner()) += self.0;
        FREED.notify_all();
    }
}
