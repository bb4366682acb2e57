//! Sends requests, many at a time, until each has an answer or something ends it.

use std::collections::HashSet;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::caps::Caps;
use super::endpoint::Endpoint;
use super::journal::{Answered, Entry, Journal};
use super::pace::Pace;
use super::recipe::Llm;
use super::reply::{MayHaveUsed, Reply};
use super::request::Request;
use crate::error::CurateError;

/// The longest wait of ours before a request is sent again.
const LONGEST_BACKOFF: Duration = Duration::from_secs(60);

/// A server is gone if so many requests one after another are given up, or as many as are under way.
const GIVEN_UP: usize = 3;

/// It ends if the first requests of a folder are refused, so many of them: others would be as well.
pub const REFUSED: usize = 8;

/// Why not all requests have an answer.
#[derive(Debug)]
pub enum End {
    /// The next request could go beyond this limit.
    Cap(String),
    /// The server does not answer.
    Down(String),
    /// Somebody must change something.
    Stop(String),
    /// The journal cannot be written, or the like.
    Failed(CurateError),
}

struct State<'a> {
    journal: &'a mut Journal,
    pace: Pace,
    /// The next request to take.
    next: usize,
    in_flight: usize,
    /// The requests of this run: texts of two documents can make the same one.
    taken: HashSet<String>,
    given_up: usize,
    given_up_in_a_row: usize,
    last_failure: String,
    /// Nothing was answered, and enough was refused.
    is_all_refused: bool,
    end: Option<End>,
}

struct Asking<'a> {
    endpoint: &'a Endpoint,
    llm: &'a Llm,
    caps: &'a Caps,
    state: Mutex<State<'a>>,
    changed: Condvar,
}

/// Sends `count` requests, which `request` makes, and writes what becomes of them into the journal. None: each has been
/// answered or refused.
pub fn ask(
    count: usize,
    request: impl Fn(usize) -> Result<Request, CurateError> + Sync,
    endpoint: &Endpoint,
    (llm, caps): (&Llm, &Caps),
    journal: &mut Journal,
) -> Option<End> {
    let state = State {
        journal,
        pace: Pace::new(llm.requests_per_minute, llm.tokens_per_minute),
        next: 0,
        in_flight: 0,
        taken: HashSet::new(),
        given_up: 0,
        given_up_in_a_row: 0,
        last_failure: String::new(),
        is_all_refused: false,
        end: None,
    };
    let asking = Asking { endpoint, llm, caps, state: Mutex::new(state), changed: Condvar::new() };
    std::thread::scope(|threads| {
        for _ in 0..llm.concurrency.min(count) {
            threads.spawn(|| {
                while let Some(number) = asking.take(count) {
                    match request(number) {
                        Ok(request) => asking.send(&request),
                        Err(error) => asking.end(&mut asking.state(), End::Failed(error)),
                    }
                }
            });
        }
    });
    let state = asking.state.into_inner().unwrap_or_else(PoisonError::into_inner);
    let left = (state.given_up > 0).then(|| {
        End::Down(format!("{} requests were given up, the last one for {}", state.given_up, state.last_failure))
    });
    state.end.or(left)
}

impl<'a> Asking<'a> {
    fn state(&self) -> MutexGuard<'_, State<'a>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Ends it, unless something else did.
    fn end(&self, state: &mut State<'_>, end: End) {
        state.end.get_or_insert(end);
        self.changed.notify_all();
    }

    /// The number of the next request.
    fn take(&self, count: usize) -> Option<usize> {
        let mut state = self.state();
        let number = state.next;
        state.next += 1;
        (number < count && state.end.is_none()).then_some(number)
    }

    /// Sends a request until there is an answer, or no hope of one.
    fn send(&self, request: &Request) {
        if !self.state().taken.insert(request.key.clone()) {
            return;
        }
        for attempt in 0..=self.llm.retries {
            if !self.reserve(request) {
                return;
            }
            let reply = self.endpoint.post(&request.body);
            let mut state = self.state();
            state.in_flight -= 1;
            let wait = self.settle(&mut state, request, reply);
            self.changed.notify_all();
            let Some(wait) = wait else { return };
            if attempt < self.llm.retries {
                drop(state);
                self.sleep(wait.unwrap_or_default().max(self.backoff(request, attempt)));
                continue;
            }
            state.given_up += 1;
            state.given_up_in_a_row += 1;
            if state.given_up_in_a_row >= self.llm.concurrency.max(GIVEN_UP) {
                let why = format!("the server does not answer: {}", state.last_failure);
                self.end(&mut state, End::Down(why));
            }
        }
    }

    /// Waits until the request may be sent, and writes that it is. False: it may not.
    fn reserve(&self, request: &Request) -> bool {
        let mut state = self.state();
        loop {
            if state.end.is_some() {
                return false;
            }
            if let Some(cap) = self.caps.beyond(state.journal.used().plus(request.most)) {
                if state.in_flight == 0 {
                    self.end(&mut state, End::Cap(cap));
                    return false;
                }
                // What is under way may use less than it can.
                state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
                continue;
            }
            match state.pace.wait(request.most.tokens()) {
                Some(wait) => {
                    let waited = self.changed.wait_timeout(state, wait);
                    state = waited.unwrap_or_else(PoisonError::into_inner).0;
                }
                None => break,
            }
        }
        let (key, most) = (request.key.clone(), request.most);
        let sent = Entry::Sent { key, tokens_in: most.tokens_in, tokens_out: most.tokens_out, batch: None };
        match state.journal.write(vec![sent]) {
            Ok(()) => {
                state.in_flight += 1;
                true
            }
            Err(error) => {
                self.end(&mut state, End::Failed(error));
                false
            }
        }
    }

    /// Writes what became of a request. Some: it is to be sent again, after the server's wait.
    fn settle(&self, state: &mut State<'_>, request: &Request, reply: Reply) -> Option<Option<Duration>> {
        let key = request.key.clone();
        let (entry, again) = match reply {
            Reply::Answered(answer) => {
                state.given_up_in_a_row = 0;
                let answered = Answered::new(key, answer, request.most);
                let used = answered.tokens_in + answered.tokens_out;
                state.pace.give_back(request.most.tokens().saturating_sub(used));
                (Some(Entry::Answered(answered)), None)
            }
            Reply::Refused { status, reason } => {
                state.given_up_in_a_row = 0;
                state.pace.give_back(request.most.tokens());
                (Some(Entry::Refused { key, status, reason }), None)
            }
            Reply::Stop(why) => {
                self.end(state, End::Stop(why));
                (Some(Entry::Failed { key }), None)
            }
            Reply::Again { used, why, wait } => {
                state.last_failure = why;
                if let Some(wait) = wait {
                    state.pace.pause(wait);
                    if wait > Duration::from_secs_f64(self.llm.patience_secs) {
                        let why = &state.last_failure;
                        let secs = wait.as_secs();
                        let why =
                            format!("the server asks for {secs} s of patience, more than llm.patience_secs: {why}");
                        self.end(state, End::Down(why));
                    }
                }
                let entry = match used {
                    MayHaveUsed::Nothing => Some(Entry::NotSent { key }),
                    MayHaveUsed::NoTokens => Some(Entry::Failed { key }),
                    // It stays open: counted with all that it can use.
                    MayHaveUsed::All => None,
                };
                (entry, Some(wait))
            }
        };
        let is_refused = matches!(entry, Some(Entry::Refused { .. }));
        let written = state.journal.write(entry.into_iter().collect());
        // What is under way when it ends is freed as well.
        let least = if state.is_all_refused { 1 } else { REFUSED };
        let freed = written.and_then(|()| if is_refused { state.journal.free_refused(least) } else { Ok(None) });
        match freed {
            Ok(None) => {}
            Ok(Some(why)) => {
                state.is_all_refused = true;
                self.end(state, End::Stop(why));
            }
            Err(error) => self.end(state, End::Failed(error)),
        }
        again
    }

    /// Our own wait: it doubles, and up to half of it is taken off, for each request another part.
    fn backoff(&self, request: &Request, attempt: u32) -> Duration {
        let secs = (self.llm.backoff_secs * f64::from(attempt).exp2()).min(LONGEST_BACKOFF.as_secs_f64());
        let hash = blake3::hash(format!("{} wait {attempt}", request.key).as_bytes());
        Duration::from_secs_f64(secs * (1.0 - f64::from(hash.as_bytes()[0]) / 512.0))
    }

    /// Waits, unless all ends before.
    fn sleep(&self, wait: Duration) {
        let state = self.state();
        drop(self.changed.wait_timeout_while(state, wait, |state| state.end.is_none()));
    }
}
