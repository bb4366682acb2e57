//! What a journal's lines come to: what is known of each request, and what all of them have used.

use std::collections::{BTreeMap, HashMap, HashSet};

use super::super::caps::Used;
use super::entry::{Answered, Entry};

/// What is known of a request for good.
#[derive(Debug, Clone)]
pub enum Known {
    /// Its answer.
    Answered(Answered),
    /// That there is none, and why.
    Refused(String),
}

/// A request that was sent and has no answer.
#[derive(Debug, Clone, Copy)]
struct Open {
    most: Used,
    batch: Option<u32>,
}

/// By how much answers have used more than their requests were taken to use at most; 1 while none has.
#[derive(Debug, Clone, Copy)]
struct Excess {
    tokens_in: f64,
    tokens_out: f64,
}

/// The sum of the lines so far.
#[derive(Debug)]
pub struct Ledger {
    known: HashMap<String, Known>,
    open: HashMap<String, Open>,
    /// The requests that have ever stood in a batch file: their answers may come late.
    batched: HashSet<String>,
    /// Those at which a server failed in a batch, with what they can have used.
    given_up: HashMap<String, Used>,
    /// What servers have counted.
    counted: Used,
    /// What open requests can use.
    under_way: Used,
    /// What those can have used that were sent again, as nothing had come back.
    lost: Used,
    excess: Excess,
    num_batches: u32,
    /// Batch files by number.
    files: BTreeMap<u32, String>,
}

impl Excess {
    /// Takes note of what a request really used.
    fn see(&mut self, used: (u64, u64), most: Used) {
        let ratio = |used: u64, most: u64| used as f64 / most.max(1) as f64;
        self.tokens_in = self.tokens_in.max(ratio(used.0, most.tokens_in));
        self.tokens_out = self.tokens_out.max(ratio(used.1, most.tokens_out));
    }

    /// What requests that are taken to use so much at most can use by what has been seen.
    fn of(self, most: Used) -> Used {
        let times = |tokens: u64, ratio: f64| match ratio > 1.0 {
            true => (tokens as f64 * ratio).ceil() as u64,
            false => tokens,
        };
        Used {
            tokens_in: times(most.tokens_in, self.tokens_in),
            tokens_out: times(most.tokens_out, self.tokens_out),
            ..most
        }
    }
}

impl Ledger {
    /// The ledger of a journal without lines.
    pub fn new() -> Self {
        Self {
            known: HashMap::new(),
            open: HashMap::new(),
            batched: HashSet::new(),
            given_up: HashMap::new(),
            counted: Used::default(),
            under_way: Used::default(),
            lost: Used::default(),
            excess: Excess { tokens_in: 1.0, tokens_out: 1.0 },
            num_batches: 0,
            files: BTreeMap::new(),
        }
    }

    /// Adds a line.
    pub fn add(&mut self, entry: Entry) {
        match entry {
            Entry::Sent { key, tokens_in, tokens_out, batch } => {
                let most = Used { requests: 1, tokens_in, tokens_out };
                self.under_way = self.under_way.plus(most);
                if batch.is_some() {
                    self.batched.insert(key.clone());
                }
                self.num_batches = self.num_batches.max(batch.unwrap_or_default());
                if let Some(before) = self.open.insert(key, Open { most, batch }) {
                    self.under_way = self.under_way.minus(before.most);
                    self.lost = self.lost.plus(before.most);
                }
            }
            Entry::Batch { number, file } => _ = self.files.insert(number, file),
            Entry::Answered(answered) => {
                if self.known.contains_key(&answered.key) {
                    return;
                }
                let used = (answered.tokens_in, answered.tokens_out);
                // None is of one that was said to have failed, and came all the same.
                if let Some(most) = self.close(&answered.key) {
                    self.excess.see(used, most);
                }
                self.count(used);
                self.known.insert(answered.key.clone(), Known::Answered(answered));
            }
            Entry::Refused { key, status, reason } => {
                if self.close(&key).is_some() {
                    self.count((0, 0));
                }
                self.known.entry(key).or_insert(Known::Refused(format!("{status}: {reason}")));
            }
            Entry::Failed { key } => {
                if self.close(&key).is_some() {
                    self.count((0, 0));
                }
            }
            Entry::Lost { key } => {
                if let Some(open) = self.open.remove(&key) {
                    self.under_way = self.under_way.minus(open.most);
                    self.lost = self.lost.plus(open.most);
                    self.given_up.insert(key, open.most);
                }
            }
            Entry::Free { key } => {
                if matches!(self.known.get(&key), Some(Known::Refused(_))) {
                    self.known.remove(&key);
                }
            }
            Entry::NotSent { key } => _ = self.close(&key),
        }
    }

    /// Takes back what was reserved for a request of which something came back, and returns it. None: nothing was.
    fn close(&mut self, key: &str) -> Option<Used> {
        if let Some(open) = self.open.remove(key) {
            self.under_way = self.under_way.minus(open.most);
            return Some(open.most);
        }
        // It came late, and takes the place of what was counted for it.
        self.given_up.remove(key).inspect(|most| self.lost = self.lost.minus(*most))
    }

    fn count(&mut self, (tokens_in, tokens_out): (u64, u64)) {
        self.counted = self.counted.plus(Used { requests: 1, tokens_in, tokens_out });
    }

    /// What is known of a request for good.
    pub fn known(&self, key: &str) -> Option<&Known> {
        self.known.get(key)
    }

    /// Whether any request was answered.
    pub fn has_answers(&self) -> bool {
        self.known.values().any(|known| matches!(known, Known::Answered(_)))
    }

    /// The requests that were refused, with the server's words; empty if any was answered.
    pub fn only_refused(&self) -> BTreeMap<&str, &str> {
        let mut refused = BTreeMap::new();
        for (key, known) in &self.known {
            match known {
                Known::Answered(_) => return BTreeMap::new(),
                Known::Refused(reason) => _ = refused.insert(key.as_str(), reason.as_str()),
            }
        }
        refused
    }

    /// The batch file in which an open request stands.
    pub fn batch_of(&self, key: &str) -> Option<u32> {
        self.open.get(key)?.batch
    }

    /// The batch files with requests of which nothing has come back, with their names, and how many these are. Journals
    /// of old have no names.
    pub fn open_batches(&self) -> BTreeMap<u32, (Option<&str>, usize)> {
        let mut all = BTreeMap::new();
        for number in self.open.values().filter_map(|open| open.batch) {
            let name = self.files.get(&number).map(String::as_str);
            all.entry(number).or_insert((name, 0)).1 += 1;
        }
        all
    }

    /// Whether something is still to come of a request that stood in a batch file.
    pub fn is_awaited(&self, key: &str) -> bool {
        self.batch_of(key).is_some() || self.given_up.contains_key(key)
    }

    /// Whether a request has ever stood in a batch file.
    pub fn was_in_batch(&self, key: &str) -> bool {
        self.batched.contains(key)
    }

    /// What an open request can use.
    pub fn most(&self, key: &str) -> Used {
        let open = self.open.get(key).map(|open| open.most);
        open.or_else(|| self.given_up.get(key).copied()).unwrap_or_default()
    }

    /// The number of batch files so far.
    pub fn num_batches(&self) -> u32 {
        self.num_batches
    }

    /// What has been used, what open requests can use included.
    pub fn used(&self) -> Used {
        self.used_with(Used::default())
    }

    /// The same, and what further requests can use that are taken to use `most`.
    pub fn used_with(&self, most: Used) -> Used {
        self.counted.plus(self.excess.of(self.under_way.plus(self.lost).plus(most)))
    }

    /// The part of [`used`](Self::used) that belongs to requests of which nothing came back.
    pub fn unanswered(&self) -> Used {
        self.excess.of(self.under_way.plus(self.lost))
    }

    /// How many times what a request was taken to use at most an answer has used; 1 while none has used more.
    pub fn excess(&self) -> f64 {
        self.excess.tokens_in.max(self.excess.tokens_out)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sent(key: &str, batch: Option<u32>) -> Entry {
        Entry::Sent { key: key.into(), tokens_in: 100, tokens_out: 20, batch }
    }

    fn answered(key: &str, tokens_in: u64, tokens_out: u64) -> Entry {
        Entry::Answered(Answered { key: key.into(), text: "Why?".into(), finish: None, tokens_in, tokens_out })
    }

    fn of(entries: Vec<Entry>) -> Ledger {
        let mut ledger = Ledger::new();
        entries.into_iter().for_each(|entry| ledger.add(entry));
        ledger
    }

    #[test]
    fn an_answer_beyond_its_request_raises_what_all_others_can_use() {
        let ledger = of(vec![sent("a", None), sent("b", None), answered("a", 250, 10), sent("c", None)]);
        assert_eq!(ledger.used(), Used { requests: 3, tokens_in: 250 + 2 * 250, tokens_out: 10 + 2 * 20 });
        assert_eq!(ledger.unanswered(), Used { requests: 2, tokens_in: 500, tokens_out: 40 });
        let one = Used { requests: 1, tokens_in: 10, tokens_out: 5 };
        assert_eq!(ledger.used_with(one), ledger.used().plus(Used { tokens_in: 25, ..one }));
        // The largest one counts.
        let ledger = of(vec![sent("a", None), answered("a", 150, 80), sent("b", None), answered("b", 120, 20)]);
        assert_eq!((ledger.excess(), ledger.used_with(one).tokens_in), (4.0, 270 + 15));
    }

    #[test]
    fn what_comes_late_takes_the_place_of_what_was_counted_for_it() {
        let lost = || Entry::Lost { key: "a".into() };
        let ledger = of(vec![sent("a", Some(1)), lost()]);
        assert_eq!(
            (ledger.used(), ledger.is_awaited("a")),
            (Used { requests: 1, tokens_in: 100, tokens_out: 20 }, true)
        );
        let ledger = of(vec![sent("a", Some(1)), lost(), answered("a", 30, 5), answered("a", 30, 5)]);
        assert_eq!(ledger.used(), Used { requests: 1, tokens_in: 30, tokens_out: 5 });
        let ledger = of(vec![sent("a", Some(1)), lost(), Entry::Failed { key: "a".into() }]);
        assert_eq!(ledger.used(), Used { requests: 1, tokens_in: 0, tokens_out: 0 });
        // An answer is counted, whatever was said before.
        let ledger = of(vec![sent("a", Some(1)), Entry::NotSent { key: "a".into() }, answered("a", 30, 5)]);
        assert_eq!(ledger.used(), Used { requests: 1, tokens_in: 30, tokens_out: 5 });
    }

    #[test]
    fn what_is_written_into_a_second_batch_is_counted_twice() {
        let ledger = of(vec![sent("a", Some(1)), sent("b", Some(1)), sent("a", Some(2))]);
        assert_eq!(ledger.used().requests, 3);
        assert_eq!(ledger.open_batches(), BTreeMap::from([(1, (None, 1)), (2, (None, 1))]));
    }
}
