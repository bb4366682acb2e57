//! What is said on standard error while it is worked: a line now and then.

use std::io::{self, Write};
use std::time::{Duration, Instant};

/// There is not more than a line in so long.
const EVERY: Duration = Duration::from_secs(10);

/// Waits that are shorter are not worth a line.
const LEAST_WAIT: Duration = Duration::from_secs(1);

/// When something was said last, and what is known since when.
#[derive(Debug)]
pub struct Progress {
    begun: Instant,
    next: Instant,
    /// A wait until then has been told of.
    waits_until: Instant,
}

impl Progress {
    /// The progress of what begins now.
    pub fn begin() -> Self {
        let begun = Instant::now();
        Self { begun, next: begun + EVERY, waits_until: begun }
    }

    /// Whether nothing was said for a while, and it is time for a line.
    pub fn is_due(&mut self) -> bool {
        let now = Instant::now();
        let is_due = now >= self.next;
        if is_due {
            self.next = now + EVERY;
        }
        is_due
    }

    /// Says that nothing is sent for a while, unless that is known.
    pub fn waits(&mut self, wait: Duration, why: &str) {
        let until = Instant::now() + wait;
        if wait >= LEAST_WAIT && until > self.waits_until + LEAST_WAIT {
            say(&format!("waiting {}: {why}", short(wait)));
            self.waits_until = until;
        }
    }

    /// The time for the rest in words, if a part of it is done.
    pub fn left(&self, done: usize, all: usize) -> String {
        match (done, all.saturating_sub(done)) {
            (0, _) | (_, 0) => String::new(),
            (done, rest) => {
                format!("; about {} left", short(self.begun.elapsed().mul_f64(rest as f64 / done as f64)))
            }
        }
    }
}

/// A line on standard error.
pub fn say(what: &str) {
    // Nobody is left to be told that standard error is closed.
    _ = writeln!(io::stderr(), "tercet: {what}");
}

/// `3m10s`, and the like.
fn short(time: Duration) -> String {
    let secs = time.as_secs_f64().round() as u64;
    match (secs / 3600, secs / 60 % 60, secs % 60) {
        (0, 0, secs) => format!("{secs} s"),
        (0, minutes, secs) => format!("{minutes}m{secs:02}s"),
        (hours, minutes, _) => format!("{hours}h{minutes:02}m"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_short() {
        let of = |secs| short(Duration::from_secs(secs));
        assert_eq!([of(7), of(190), of(7260)], ["7 s", "3m10s", "2h01m"]);
        let mut progress = Progress::begin();
        progress.begun = progress.begun.checked_sub(Duration::from_secs(30)).unwrap();
        assert_eq!([progress.left(0, 9), progress.left(9, 9), progress.left(3, 9)], ["", "", "; about 1m00s left"]);
    }
}
