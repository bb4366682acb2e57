//! Tests run side by side, but a machine of two cores should not have more ranks than it can start in time.

use std::sync::{Condvar, Mutex};

/// Ranks that run at the same time at most.
const SLOTS: usize = 4;

static FREE: Mutex<usize> = Mutex::new(SLOTS);
static FREED: Condvar = Condvar::new();

/// Slots that a run holds until it is dropped.
pub struct Held(usize);

/// Waits for `ranks` slots; more than there are means all of them.
pub fn take(ranks: usize) -> Held {
    let wanted = ranks.min(SLOTS);
    // A test that failed poisons nothing here: the count is right whenever the lock is free.
    let free = FREE.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
    let mut free = FREED.wait_while(free, |free| *free < wanted).unwrap_or_else(|poisoned| poisoned.into_inner());
    *free -= wanted;
    Held(wanted)
}

/// Waits until nothing else runs, for what measures time or memory.
pub fn take_all() -> Held {
    take(SLOTS)
}

impl Drop for Held {
    fn drop(&mut self) {
        *FREE.lock().unwrap_or_else(|poisoned| poisoned.into_inner()) += self.0;
        FREED.notify_all();
    }
}
