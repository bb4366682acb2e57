//! Sends requests, many at a time, until each has an answer or something ends it.

use std::collections::HashSet;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::caps::Caps;
use super::endpoint::Endpoint;
use super::journal::{Answered, Entry, Journal};
use super::pace::Pace;
use super::progress::{Progress, say};
use super::recipe::Llm;
use super::reply::{MayHaveUsed, Reply};
use super::request::Request;
use crate::error::CurateError;

/// The longest wait of ours before a request is sent again.
const LONGEST_BACKOFF: Duration = Duration::from_secs(60);

/// Requests that are given up one after another before a server counts as gone; fewer if fewer are under way.
const GIVEN_UP: usize = 3;

/// It ends if this number of a folder's requests are refused, and they are the first: others would be as well.
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

impl End {
    /// The same as an error, with what there is `so_far`.
    pub fn told(self, so_far: &str) -> CurateError {
        match self {
            Self::Cap(cap) => {
                CurateError::Usage(format!("{cap} is reached; {so_far}: raise it and type the same command again"))
            }
            Self::Down(why) => CurateError::Machine(format!("{why}; {so_far}: type the same command again")),
            Self::Stop(why) => CurateError::Usage(format!("{why}; {so_far}")),
            Self::Failed(error) => error,
        }
    }
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
    /// Whether anything came back of any request, by which it is known how the server counts.
    has_reply: bool,
    /// What became of the requests of this call: those that are settled, and of them those that pass the checks.
    settled: usize,
    passed: usize,
    progress: Progress,
    /// Nothing was answered, and enough was refused.
    is_all_refused: bool,
    end: Option<End>,
}

/// The requests to send, by number.
pub struct Asked<R, P> {
    /// How many there are.
    pub count: usize,
    /// Makes one.
    pub request: R,
    /// Whether the answer to one passes the checks.
    pub passes: P,
}

struct Asking<'a> {
    endpoint: &'a Endpoint,
    llm: &'a Llm,
    caps: &'a Caps,
    count: usize,
    state: Mutex<State<'a>>,
    changed: Condvar,
}

/// Sends the requests, and writes what becomes of them into the journal. None: each has been answered or refused.
pub fn ask<R, P>(
    asked: &Asked<R, P>,
    endpoint: &Endpoint,
    (llm, caps): (&Llm, &Caps),
    journal: &mut Journal,
) -> Option<End>
where
    R: Fn(usize) -> Result<Request, CurateError> + Sync,
    P: Fn(usize, &Request, &Answered) -> bool + Sync,
{
    let count = asked.count;
    let state = State {
        has_reply: journal.ledger().has_answers(),
        journal,
        pace: Pace::new(llm.requests_per_minute, llm.tokens_per_minute),
        next: 0,
        in_flight: 0,
        taken: HashSet::new(),
        given_up: 0,
        given_up_in_a_row: 0,
        last_failure: String::new(),
        settled: 0,
        passed: 0,
        progress: Progress::begin(),
        is_all_refused: false,
        end: None,
    };
    let asking = Asking { endpoint, llm, caps, count, state: Mutex::new(state), changed: Condvar::new() };
    say(&format!("{count} requests are wanted, {} are sent at a time", llm.concurrency.min(count)));
    std::thread::scope(|threads| {
        for _ in 0..llm.concurrency.min(count) {
            threads.spawn(|| {
                while let Some(number) = asking.take() {
                    match (asked.request)(number) {
                        Ok(request) => asking.send(&request, |answered| (asked.passes)(number, &request, answered)),
                        Err(error) => asking.end(&mut asking.state(), End::Failed(error)),
                    }
                }
            });
        }
    });
    let state = asking.state.into_inner().unwrap_or_else(PoisonError::into_inner);
    say(&state.told(count, caps));
    let left = (state.given_up > 0).then(|| {
        End::Down(format!("{} requests were given up, the last one for {}", state.given_up, state.last_failure))
    });
    state.end.or(left)
}

impl State<'_> {
    /// How far it is.
    fn told(&self, count: usize, caps: &Caps) -> String {
        let used = self.journal.ledger().used();
        let cost = caps.cost(used).map(|cost| format!(", cost {cost}")).unwrap_or_default();
        format!(
            "{} of {count} requests are settled, {} with an answer that passes; used so far: {} tokens{cost}{}",
            self.settled,
            self.passed,
            used.tokens(),
            self.progress.left(self.settled, count)
        )
    }
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
    fn take(&self) -> Option<usize> {
        let mut state = self.state();
        let number = state.next;
        state.next += 1;
        (number < self.count && state.end.is_none()).then_some(number)
    }

    /// Sends a request until there is an answer, or no hope of one.
    fn send(&self, request: &Request, passes: impl Fn(&Answered) -> bool) {
        if !self.state().taken.insert(request.key.clone()) {
            self.state().settled += 1;
            return;
        }
        for attempt in 0..=self.llm.retries {
            if !self.reserve(request) {
                return;
            }
            let reply = self.endpoint.post(&request.body);
            let mut state = self.state();
            state.in_flight -= 1;
            state.has_reply = true;
            let wait = self.settle(&mut state, request, reply, &passes);
            self.changed.notify_all();
            let Some(asked_for) = wait else { return };
            if state.end.is_some() {
                return;
            }
            if attempt < self.llm.retries {
                let wait = asked_for.unwrap_or_default().max(self.backoff(request, attempt));
                let why = match asked_for {
                    Some(_) => format!("the server says {}", state.last_failure),
                    None => format!("{}; then it is sent again", state.last_failure),
                };
                state.progress.waits(wait, &why);
                drop(state);
                self.sleep(wait);
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
            // The first request of all is alone under way: what it uses says how the server counts.
            let is_early = self.caps.limit_tokens() && !state.has_reply && state.in_flight > 0;
            let beyond = self.caps.beyond(state.journal.ledger().used_with(request.most));
            if is_early || beyond.is_some() {
                if let Some(cap) = beyond
                    && state.in_flight == 0
                {
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
    fn settle(
        &self,
        state: &mut State<'_>,
        request: &Request,
        reply: Reply,
        passes: impl Fn(&Answered) -> bool,
    ) -> Option<Option<Duration>> {
        let key = request.key.clone();
        let (entry, again) = match reply {
            Reply::Answered(answer) => {
                state.given_up_in_a_row = 0;
                let answered = Answered::new(key, answer, request.most);
                let used = answered.tokens_in + answered.tokens_out;
                state.pace.give_back(request.most.tokens().saturating_sub(used));
                state.settled += 1;
                state.passed += usize::from(passes(&answered));
                (Some(Entry::Answered(answered)), None)
            }
            Reply::Refused { status, reason } => {
                state.given_up_in_a_row = 0;
                state.pace.give_back(request.most.tokens());
                state.settled += 1;
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
        if state.progress.is_due() {
            say(&state.told(self.count, self.caps));
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
