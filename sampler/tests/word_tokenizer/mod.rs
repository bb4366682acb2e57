//! A tokenizer.json small enough to tokenise by hand: word number n of [`WORDS`] is token 4 + n.

use std::path::{Path, PathBuf};

use tokenizers::models::wordlevel::WordLevel;
use tokenizers::pre_tokenizers::whitespace::WhitespaceSplit;
use tokenizers::processors::template::TemplateProcessing;
use tokenizers::{AddedToken, PaddingParams, Tokenizer, TruncationParams};

pub const WORDS: [&str; 8] = ["river", "stone", "bridge", "water", "under", "über", "橋", "over"];

/// Writes the tokenizer. Its own truncation and padding are on, so that forgetting to switch them off shows.
pub fn write(dir: &Path) -> PathBuf {
    let special = ["<s>", "<pad>", "</s>", "<unk>"];
    let vocab = special.iter().chain(&WORDS).enumerate().map(|(id, word)| (word.to_string(), id as u32)).collect();
    let model = WordLevel::builder().vocab(vocab).unk_token("<unk>".into()).build().unwrap();
    let mut tokenizer = Tokenizer::new(model);
    tokenizer.with_pre_tokenizer(Some(WhitespaceSplit));
    let processor = TemplateProcessing::builder()
        .try_single("<s> $A </s>")
        .unwrap()
        .special_tokens(vec![("<s>", 0), ("</s>", 2)])
        .build()
        .unwrap();
    tokenizer.with_post_processor(Some(processor));
    tokenizer.add_special_tokens(special.map(|token| AddedToken::from(token, true))).unwrap();
    tokenizer.with_truncation(Some(TruncationParams { max_length: 5, ..Default::default() })).unwrap();
    tokenizer.with_padding(Some(PaddingParams { pad_id: 1, ..Default::default() }));
    let path = dir.join("tokenizer.json");
    tokenizer.save(&path, true).unwrap();
    path
}
