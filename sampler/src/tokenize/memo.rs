//! A memo of texts that were already tokenised, because mined negatives repeat each passage many times.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

/// The largest memory of the memo.
const MAX_BYTES: usize = 256 << 20;

/// The number of locks, enough that threads seldom wait for each other.
const NUM_SHARDS: usize = 64;

/// The memory of an entry beside its tokens.
const ENTRY_BYTES: usize = 96;

/// Tokenising a shorter text is faster than looking it up.
const MIN_TEXT_BYTES: usize = 64;

/// The first 128 bits of the text's BLAKE3. No two texts are known to share them, and none ever will be.
type Key = [u8; 16];

/// A bounded map from text to tokens. An entry that was not used while half of the map was filled anew is dropped.
pub(crate) struct Memo {
    shards: Vec<Mutex<Shard>>,
}

#[derive(Default)]
struct Shard {
    young: HashMap<Key, Arc<[u32]>>,
    old: HashMap<Key, Arc<[u32]>>,
    young_bytes: usize,
}

impl Memo {
    pub(crate) fn new() -> Self {
        Self { shards: (0..NUM_SHARDS).map(|_| Mutex::default()).collect() }
    }

    /// The text's tokens: the remembered ones, or those from `tokenize`.
    pub(super) fn get_or_try<E>(
        &self,
        text: &str,
        tokenize: impl FnOnce(&str) -> Result<Vec<u32>, E>,
    ) -> Result<Vec<u32>, E> {
        if text.len() < MIN_TEXT_BYTES {
            return tokenize(text);
        }
        let mut key = Key::default();
        key.copy_from_slice(&blake3::hash(text.as_bytes()).as_bytes()[..16]);
        let shard = &self.shards[key[0] as usize % NUM_SHARDS];
        // A thread that panicked while holding the lock left a consistent map.
        let lock = || shard.lock().unwrap_or_else(PoisonError::into_inner);
        let found = lock().find(&key);
        if let Some(tokens) = found {
            return Ok(tokens.to_vec());
        }
        let tokens = tokenize(text)?;
        lock().insert(key, tokens.as_slice().into());
        Ok(tokens)
    }
}

impl Shard {
    fn find(&mut self, key: &Key) -> Option<Arc<[u32]>> {
        if let Some(tokens) = self.young.get(key) {
            return Some(tokens.clone());
        }
        let tokens = self.old.remove(key)?;
        self.insert(*key, tokens.clone());
        Some(tokens)
    }

    fn insert(&mut self, key: Key, tokens: Arc<[u32]>) {
        self.young_bytes += ENTRY_BYTES + size_of_val(&*tokens);
        self.young.insert(key, tokens);
        if self.young_bytes > MAX_BYTES / NUM_SHARDS / 2 {
            self.old = std::mem::take(&mut self.young);
            self.young_bytes = 0;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_tokenised_once_while_it_is_remembered() {
        let memo = Memo::new();
        let text = "a text of some length ".repeat(4);
        let ask = |text: &str, tokens: &[u32]| memo.get_or_try(text, |_| Ok::<_, ()>(tokens.to_vec())).unwrap();
        assert_eq!(ask(&text, &[1, 2]), [1, 2]);
        assert_eq!(ask(&text, &[3]), [1, 2]);
        assert_eq!(ask(&format!("{text}."), &[4]), [4]);
        assert_eq!((ask("short", &[5]), ask("short", &[6])), (vec![5], vec![6]));
    }

    #[test]
    fn old_entries_make_room_and_used_ones_stay() {
        let mut shard = Shard::default();
        let tokens: Arc<[u32]> = vec![7; 1024].into();
        let key = |i: u32| {
            let mut key = Key::default();
            key[..4].copy_from_slice(&i.to_le_bytes());
            key
        };
        for i in 0..10_000 {
            shard.insert(key(i), tokens.clone());
            assert!(shard.find(&key(0)).is_some(), "{i}");
        }
        assert!(shard.find(&key(1)).is_none());
        let held = (shard.young.len() + shard.old.len()) * (ENTRY_BYTES + 4096);
        assert!(held <= MAX_BYTES / NUM_SHARDS + ENTRY_BYTES + 4096, "{held}");
    }
}
