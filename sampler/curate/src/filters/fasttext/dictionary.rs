//! The words and labels of a model, and the rows of its matrix that a text has.

use std::collections::HashMap;
use std::io::{self, Read};

use super::file::{Arguments, Input, wrong};

const END_OF_LINE: &[u8] = b"</s>";
const LABEL: &str = "__label__";

/// Words, labels and n-grams.
#[derive(Debug)]
pub struct Dictionary {
    words: HashMap<Box<[u8]>, u32>,
    num_words: u32,
    labels: Vec<String>,
    label_counts: Vec<i64>,
    /// In quantized models: the n-grams that were kept, by their bucket; None if all were.
    kept: Option<HashMap<u32, u32>>,
    arguments: Arguments,
}

impl Dictionary {
    /// Reads it.
    ///
    /// # Errors
    /// The file is not what it should be.
    pub fn read<R: Read>(input: &mut Input<R>, arguments: &Arguments) -> io::Result<Self> {
        let (num, num_words, num_labels) = (input.int()?, input.int()?, input.int()?);
        input.long()?;
        let num_kept = input.long()?;
        if num_words < 0 || num_labels <= 0 || num_words.checked_add(num_labels) != Some(num) {
            return Err(wrong(format!("{num_words} words and {num_labels} labels of {num} entries, which cannot be")));
        }
        let (mut words, mut labels, mut label_counts) = (HashMap::new(), Vec::new(), Vec::new());
        for number in 0..num {
            let word = input.word()?;
            let count = input.long()?;
            let is_label = input.flag()?;
            if is_label != (number >= num_words) {
                return Err(wrong("words and labels are mixed, which cannot be"));
            }
            if is_label {
                let name = String::from_utf8_lossy(&word);
                labels.push(name.strip_prefix(LABEL).unwrap_or(&name).to_owned());
                label_counts.push(count);
            }
            words.insert(word.into_boxed_slice(), number as u32);
        }
        let kept = match num_kept {
            ..0 => None,
            _ => {
                let mut kept = HashMap::new();
                for _ in 0..input.count(num_kept)? {
                    kept.insert(input.int()? as u32, input.int()? as u32);
                }
                Some(kept)
            }
        };
        Ok(Self { words, num_words: num_words as u32, labels, label_counts, kept, arguments: *arguments })
    }

    /// The name of a label.
    pub fn label(&self, number: usize) -> &str {
        &self.labels[number]
    }

    /// The number of labels.
    pub fn num_labels(&self) -> usize {
        self.labels.len()
    }

    /// How often each label was there in training.
    pub fn label_counts(&self) -> &[i64] {
        &self.label_counts
    }

    /// Puts the rows that a text has into `rows`: those of its words, of the n-grams of their characters, and of the
    /// n-grams of words. A text is one line.
    pub fn rows_of(&self, text: &str, rows: &mut Vec<u32>) {
        rows.clear();
        let mut word_hashes = Vec::new();
        let is_blank = |byte: &u8| matches!(byte, b' ' | b'\n' | b'\r' | b'\t' | 0x0b | 0x0c | 0);
        let words = text.as_bytes().split(is_blank).filter(|word| !word.is_empty());
        let mut padded = Vec::new();
        for word in words.chain([END_OF_LINE]) {
            let is_end = word == END_OF_LINE;
            match self.words.get(word) {
                Some(number) if *number >= self.num_words => continue,
                None if word.starts_with(LABEL.as_bytes()) => continue,
                Some(number) => rows.push(*number),
                None => {}
            }
            if self.arguments.word_n_grams > 1 {
                word_hashes.push(hash_of(word));
            }
            if !is_end {
                padded.clear();
                padded.push(b'<');
                padded.extend_from_slice(word);
                padded.push(b'>');
                self.add_subwords(&padded, rows);
            }
            if is_end {
                break;
            }
        }
        self.add_word_n_grams(&word_hashes, rows);
    }

    fn add_subwords(&self, word: &[u8], rows: &mut Vec<u32>) {
        let (shortest, longest) = self.arguments.subword_lens;
        let continues = |at: usize| word.get(at).is_some_and(|byte| byte & 0xc0 == 0x80);
        for start in 0..word.len() {
            if continues(start) {
                continue;
            }
            let (mut end, mut len, mut hash) = (start, 1, HASH_OF_NOTHING);
            while end < word.len() && len <= longest {
                hash = hash_with(hash, word[end]);
                end += 1;
                while continues(end) {
                    hash = hash_with(hash, word[end]);
                    end += 1;
                }
                if len >= shortest && !(len == 1 && (start == 0 || end == word.len())) {
                    self.add_bucket(u64::from(hash), rows);
                }
                len += 1;
            }
        }
    }

    fn add_word_n_grams(&self, hashes: &[u32], rows: &mut Vec<u32>) {
        for start in 0..hashes.len() {
            // Hashes of words are signed there, and so are extended.
            let mut hash = i64::from(hashes[start] as i32) as u64;
            for next in hashes[start + 1..].iter().take(self.arguments.word_n_grams - 1) {
                hash = hash.wrapping_mul(116_049_371).wrapping_add(i64::from(*next as i32) as u64);
                self.add_bucket(hash, rows);
            }
        }
    }

    fn add_bucket(&self, hash: u64, rows: &mut Vec<u32>) {
        if self.arguments.num_buckets == 0 {
            return;
        }
        let bucket = (hash % u64::from(self.arguments.num_buckets)) as u32;
        let row = match &self.kept {
            None => Some(bucket),
            Some(kept) => kept.get(&bucket).copied(),
        };
        rows.extend(row.map(|row| self.num_words + row));
    }
}

/// FNV-1a of no bytes.
const HASH_OF_NOTHING: u32 = 2_166_136_261;

/// FNV-1a, but that bytes are signed, as fastText has it.
fn hash_with(hash: u32, byte: u8) -> u32 {
    (hash ^ (byte as i8) as u32).wrapping_mul(16_777_619)
}

fn hash_of(word: &[u8]) -> u32 {
    word.iter().fold(HASH_OF_NOTHING, |hash, byte| hash_with(hash, *byte))
}
