//! The fast way from text to tokens for tokenizers of the XLM-RoBERTa family, which have a Unigram model over words
//! that begin with a meta space.
//!
//! It returns the ids of the `tokenizers` crate and nothing else: no offsets, no strings. Whatever it does not know for
//! certain (another model, another normalizer, a text with special tokens in it) is left to that crate.

use std::cell::RefCell;

use aho_corasick::AhoCorasick;
use serde::Deserialize;
use serde_json::Value;
use tokenizers::normalizers::Precompiled;

use super::normalize::{Charsmap, Step};
use super::unigram::{BestPath, Unigram};

/// A tokenizer.json that this module understands completely.
pub(super) struct Pipeline {
    /// The added tokens' contents, which are cut out of a text first.
    added: AhoCorasick,
    steps: Vec<Step>,
    split_whitespace: bool,
    meta_space: char,
    model: Unigram,
}

/// Working memory, one per thread.
#[derive(Default)]
struct Scratch {
    normalized: String,
    spare: String,
    words: String,
    paths: Vec<BestPath>,
}

thread_local! {
    static SCRATCH: RefCell<Scratch> = RefCell::default();
}

impl Pipeline {
    /// None if the tokenizer has a part that is unknown here.
    pub(super) fn of(tokenizer_json: &[u8]) -> Option<Self> {
        let file: TokenizerFile = serde_json::from_slice(tokenizer_json).ok()?;
        let ModelPart::Unigram { vocab, unk_id, byte_fallback: false } = file.model else { return None };
        if file.added_tokens.iter().any(|token| token.normalized || token.content.is_empty()) {
            return None;
        }
        let mut steps = Vec::new();
        push_steps(&file.normalizer?, &mut steps)?;
        let (split_whitespace, meta_space) = pre_tokenizer(file.pre_tokenizer?)?;
        Some(Self {
            added: AhoCorasick::new(file.added_tokens.iter().map(|token| &token.content)).ok()?,
            steps,
            split_whitespace,
            meta_space,
            model: Unigram::new(&vocab, unk_id?)?,
        })
    }

    /// The text's tokens; None if it contains something that only the whole tokenizer can handle.
    pub(super) fn encode(&self, text: &str) -> Option<Vec<u32>> {
        if self.added.is_match(text) || text.contains('\0') {
            return None;
        }
        SCRATCH.with_borrow_mut(|scratch| {
            let Scratch { normalized, spare, words, paths } = scratch;
            normalized.clear();
            normalized.push_str(text);
            for step in &self.steps {
                spare.clear();
                step.apply(normalized, spare);
                std::mem::swap(normalized, spare);
            }
            words.clear();
            self.push_words(normalized, words);
            let mut tokens = Vec::new();
            for word in self.words(words) {
                self.model.encode(word, paths, &mut tokens);
            }
            Some(tokens)
        })
    }

    /// Replaces every space by a meta space, and puts one before every part of the text that has none.
    fn push_words(&self, normalized: &str, words: &mut String) {
        let mut push = |part: &str| {
            if !part.starts_with([' ', self.meta_space]) {
                words.push(self.meta_space);
            }
            for (i, piece) in part.split(' ').enumerate() {
                if i > 0 {
                    words.push(self.meta_space);
                }
                words.push_str(piece);
            }
        };
        if self.split_whitespace {
            normalized.split(char::is_whitespace).filter(|part| !part.is_empty()).for_each(push);
        } else if !normalized.is_empty() {
            push(normalized);
        }
    }

    /// The parts that each begin with a meta space.
    fn words<'a>(&self, words: &'a str) -> impl Iterator<Item = &'a str> {
        let meta_space = self.meta_space;
        let mut rest = words;
        std::iter::from_fn(move || {
            let first = rest.chars().next()?;
            let end = rest[first.len_utf8()..].find(meta_space).map_or(rest.len(), |next| first.len_utf8() + next);
            let (word, after) = rest.split_at(end);
            rest = after;
            Some(word)
        })
    }
}

/// The parts of a tokenizer.json that determine token ids.
#[derive(Deserialize)]
struct TokenizerFile {
    added_tokens: Vec<AddedToken>,
    normalizer: Option<Value>,
    pre_tokenizer: Option<Value>,
    model: ModelPart,
}

#[derive(Deserialize)]
struct AddedToken {
    content: String,
    normalized: bool,
}

#[derive(Deserialize)]
#[serde(tag = "type")]
enum ModelPart {
    Unigram {
        vocab: Vec<(String, f64)>,
        unk_id: Option<usize>,
        #[serde(default)]
        byte_fallback: bool,
    },
    #[serde(other)]
    Other,
}

fn push_steps(normalizer: &Value, steps: &mut Vec<Step>) -> Option<()> {
    match normalizer["type"].as_str()? {
        "Sequence" => {
            for step in normalizer["normalizers"].as_array()? {
                push_steps(step, steps)?;
            }
        }
        "Precompiled" => {
            steps.push(Step::Charsmap(Charsmap::new(Precompiled::deserialize(normalizer).ok()?)?));
        }
        "Replace" if normalizer["pattern"]["Regex"] == " {2,}" => {
            steps.push(Step::CollapseSpaces(normalizer["content"].as_str()?.to_owned()));
        }
        "Strip" => steps.push(Step::Strip {
            left: normalizer["strip_left"].as_bool()?,
            right: normalizer["strip_right"].as_bool()?,
        }),
        _ => return None,
    }
    Some(())
}

/// Whether the text is first split at white space, and the meta space.
fn pre_tokenizer(pre_tokenizer: Value) -> Option<(bool, char)> {
    match pre_tokenizer["type"].as_str()? {
        "Sequence" => match pre_tokenizer["pretokenizers"].as_array()?.as_slice() {
            [first, second] if first["type"] == "WhitespaceSplit" => Some((true, meta_space(second)?)),
            _ => None,
        },
        _ => Some((false, meta_space(&pre_tokenizer)?)),
    }
}

/// The character that a `Metaspace` puts before every word, if it does so.
fn meta_space(pre_tokenizer: &Value) -> Option<char> {
    let is_always = match pre_tokenizer.get("prepend_scheme") {
        Some(scheme) => scheme == "always",
        None => pre_tokenizer["add_prefix_space"] != false,
    };
    let is_split = pre_tokenizer.get("split").is_none_or(|split| split == true);
    if pre_tokenizer["type"] != "Metaspace" || !is_always || !is_split {
        return None;
    }
    let mut characters = pre_tokenizer["replacement"].as_str()?.chars();
    Some(characters.next()?).filter(|_| characters.next().is_none())
}
