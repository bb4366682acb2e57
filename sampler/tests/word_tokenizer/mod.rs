//! A tokenizer.json small enough to tokenise by hand: word number n of [`WORDS`] is token 4 + n.

use std::path::{Path, PathBuf};

use serde_json::json;

pub const WORDS: [&str; 8] = ["river", "stone", "bridge", "water", "under", "über", "橋", "over"];

/// Writes the tokenizer. Its own truncation and padding are on, so that forgetting to switch them off shows.
pub fn write(dir: &Path) -> PathBuf {
    let mut tokenizer = tercet_fixtures::word_tokenizer(WORDS);
    tokenizer["truncation"] = json!({"direction": "Right", "max_length": 5, "strategy": "LongestFirst", "stride": 0});
    tokenizer["padding"] = json!({"strategy": "BatchLongest", "direction": "Right", "pad_to_multiple_of": null, "pad_id": 1,
                                  "pad_type_id": 0, "pad_token": "<pad>"});
    let path = dir.join("tokenizer.json");
    std::fs::write(&path, tokenizer.to_string()).unwrap();
    path
}
