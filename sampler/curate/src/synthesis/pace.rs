//! When the next request may be sent.

use std::time::{Duration, Instant};

/// Requests and tokens a minute, evenly: each request moves the moment of the next one.
#[derive(Debug)]
pub struct Pace {
    per_request: Duration,
    /// Seconds.
    per_token: f64,
    next_request: Instant,
    next_tokens: Instant,
    /// The server wants to be left alone until then.
    paused_until: Instant,
}

impl Pace {
    /// With these limits a minute; 0: none.
    pub fn new(requests: u32, tokens: u32) -> Self {
        let per_request = Duration::from_secs(60).checked_div(requests).unwrap_or_default();
        let per_token = if tokens == 0 { 0.0 } else { 60.0 / f64::from(tokens) };
        let now = Instant::now();
        Self { per_request, per_token, next_request: now, next_tokens: now, paused_until: now }
    }

    /// How long a request with this number of tokens must wait. None: it may be sent, and takes its place.
    pub fn wait(&mut self, tokens: u64) -> Option<Duration> {
        let now = Instant::now();
        let next = self.next_request.max(self.next_tokens).max(self.paused_until);
        if next > now {
            return Some(next - now);
        }
        self.next_request = now + self.per_request;
        self.next_tokens = now + self.time(tokens);
        None
    }

    /// A request used fewer tokens than it could have, by this number.
    pub fn give_back(&mut self, tokens: u64) {
        self.next_tokens = self.next_tokens.checked_sub(self.time(tokens)).unwrap_or(self.next_tokens);
    }

    /// Nothing is sent for a while.
    pub fn pause(&mut self, wait: Duration) {
        self.paused_until = self.paused_until.max(Instant::now() + wait);
    }

    /// The least time for these numbers of requests and tokens.
    pub fn least(&self, requests: u64, tokens: u64) -> Duration {
        let requests = self.per_request.as_secs_f64() * requests as f64;
        Duration::from_secs_f64(requests.max(self.per_token * tokens as f64))
    }

    fn time(&self, tokens: u64) -> Duration {
        Duration::from_secs_f64(self.per_token * tokens as f64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_wait_for_those_before_them_and_for_the_server() {
        let mut pace = Pace::new(1, 0);
        assert_eq!(pace.wait(5), None);
        assert!(pace.wait(5).unwrap() > Duration::from_secs(30));
        let mut pace = Pace::new(0, 600);
        assert_eq!(pace.wait(600), None);
        assert!(pace.wait(1).unwrap() > Duration::from_secs(30));
        pace.give_back(600);
        assert_eq!(pace.wait(0), None);
        pace.pause(Duration::from_secs(60));
        pace.give_back(600);
        assert!(pace.wait(0).unwrap() > Duration::from_secs(30));
        assert_eq!(Pace::new(60, 600).least(30, 600), Duration::from_secs(60));
    }
}
