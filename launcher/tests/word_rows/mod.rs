//! Rows of the stand-in tokenizer's five words.
#![allow(dead_code)]

use crate::stand_in::WORDS;

fn text(seed: usize) -> String {
    let num_words = 1 + seed * 7919 % 13;
    (0..num_words).map(|i| WORDS[(seed * 31 + i * i) % 5]).collect::<Vec<_>>().join(" ")
}

/// Rows that are all good, some of them twice, in several languages.
pub fn good_rows(num_rows: usize) -> String {
    let row = |i: usize| {
        let seed = i * 17 % (num_rows - num_rows / 10).max(1);
        let neg: Vec<String> = (0..seed % 4).map(|j| format!("\"{}\"", text(seed + j))).collect();
        let language = ["en", "de", "zh"][seed % 3];
        format!(
            "{{\"seed\": {i}, \"lang\": \"{language}\", \"query\": \"{}\", \"pos\": [\"{} {seed}\"], \"neg\": [{}]}}\n",
            text(seed),
            text(seed + 5),
            neg.join(", ")
        )
    };
    (0..num_rows).map(row).collect()
}

/// As [`good_rows`], with a malformed line here and there.
pub fn rows(num_rows: usize) -> String {
    let mut rows = String::new();
    for (i, line) in good_rows(num_rows).lines().enumerate() {
        rows += line;
        rows += if i % 41 == 40 { "\n{\"query\": 3}\n" } else { "\n" };
    }
    rows
}
