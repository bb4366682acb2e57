//! Texts alone, for pre-training: cut or split to length, and packed if that is asked for.

use std::collections::BTreeMap;

use super::language::language_of;
use super::options::Long;
use super::tokenized::{Counts, Tokenized, Tools, no_token};
use crate::lines::shown;
use crate::rows::RawText;
use crate::store::{LabelledRow, TokenRow};

/// A text, as one row or as several. Each has a token that can be predicted.
pub(super) fn tokenize_text(raw: RawText, tools: &Tools) -> Result<Tokenized, String> {
    let Tools { tokenizer, texts: options, .. } = tools;
    let text = raw.into_text()?;
    // Texts seldom repeat, so they are not remembered.
    let content = tokenizer.encode_content(&text.text).map_err(|e| e.to_string())?;
    if content.is_empty() {
        return Err(no_token("text", &text.text));
    }
    let language = language_of(text.language, &text.text);
    let parts = content.chunks(options.content_len());
    let taken = match options.long {
        Long::Cut => 1,
        Long::Split => parts.len(),
    };
    let is_cut = taken < parts.len();
    let is_special = |token: &u32| tokenizer.special().contains(*token);
    let good = parts.take(taken).filter(|part| !part.iter().all(is_special));
    let rows: Vec<LabelledRow> = good
        .map(|part| LabelledRow {
            tokens: TokenRow { query: part.to_vec(), ..TokenRow::default() },
            language: language.clone(),
            num_cut: u64::from(is_cut),
        })
        .collect();
    if rows.is_empty() {
        return Err(nothing_to_predict(&text.text));
    }
    let counts = Counts { num_texts: 1, num_unknown: 0, num_left_out: (taken - rows.len()) as u64 };
    Ok(Tokenized { rows, kind: None, near_keys: Vec::new(), counts })
}

fn nothing_to_predict(text: &str) -> String {
    format!("\"text\" has nothing to predict: the tokenizer makes only unknown or special tokens of {}", shown(text))
}

/// Puts texts one after another into one row, as long as they fit, with an EOS between two (RoBERTa's FULL-SENTENCES,
/// Liu et al. 2019, arXiv 1907.11692, but no text is torn).
pub(super) struct Pack {
    /// Tokens of a row at most, without its frame.
    content_len: usize,
    separator: u32,
    open: Option<Open>,
}

/// A row to which more may come.
struct Open {
    /// The file in which it begins.
    source: usize,
    content: Vec<u32>,
    num_cut: u64,
    /// The number of tokens of each language.
    languages: BTreeMap<String, usize>,
}

impl Pack {
    /// None if texts are not packed.
    pub(super) fn new(tools: &Tools) -> Option<Self> {
        let (content_len, separator) = (tools.texts.content_len(), tools.tokenizer.special().eos);
        tools.texts.pack.then_some(Self { content_len, separator, open: None })
    }

    /// The row so far and the file in which it begins, if `next` does not fit into it.
    pub(super) fn make_room(&mut self, next: &LabelledRow) -> Option<(usize, LabelledRow)> {
        let open = self.open.as_ref()?;
        let fits = open.content.len() + 1 + next.tokens.query.len() <= self.content_len;
        if fits { None } else { self.take() }
    }

    /// Adds a text of file `source`, for which there is room.
    pub(super) fn add(&mut self, text: LabelledRow, source: usize) {
        let LabelledRow { tokens: TokenRow { query: content, .. }, language, num_cut } = text;
        let len = content.len();
        let open = match &mut self.open {
            Some(open) => {
                open.content.push(self.separator);
                open.content.extend(content);
                open
            }
            none => none.insert(Open { source, content, num_cut: 0, languages: BTreeMap::new() }),
        };
        open.num_cut += num_cut;
        *open.languages.entry(language).or_default() += len;
    }

    /// The row so far, if there is one. Its language is that of most of its tokens.
    pub(super) fn take(&mut self) -> Option<(usize, LabelledRow)> {
        let Open { source, content, num_cut, languages } = self.open.take()?;
        // The first by name of several with equally many tokens, for the same store in every run.
        let most = languages.into_iter().rev().max_by_key(|&(_, tokens)| tokens);
        let language = most.map(|(language, _)| language).unwrap_or_default();
        let tokens = TokenRow { query: content, ..TokenRow::default() };
        Some((source, LabelledRow { tokens, language, num_cut }))
    }
}
