//! From rows to token ids, on all cores.

use rayon::prelude::*;

use super::chunks::Chunk;
use super::language::language_of;
use super::options::TextOptions;
use crate::lines::shown;
use crate::place::Place;
use crate::rows::{NearKey, RawRow, RecordSource};
use crate::store::{LabelledRow, TokenRow};
use crate::tokenize::{Memo, TextTokenizer};

/// What tokenising takes.
pub(super) struct Tools {
    pub(super) tokenizer: TextTokenizer,
    pub(super) memo: Memo,
    pub(super) texts: TextOptions,
}

/// Parses and tokenises what was read.
pub(super) type Tokenize<S> = fn(<S as RecordSource>::Raw, &Tools) -> Result<Tokenized, String>;

/// The rows or texts of a chunk, tokenised, each with its number.
pub(super) struct TokenizedChunk {
    pub(super) source: usize,
    pub(super) place: Place,
    pub(super) records: Vec<(u64, Result<Tokenized, String>)>,
}

/// A row or a text on its way into the store.
pub(super) struct Tokenized {
    /// The row, or a row for each part of a text that is split.
    pub(super) rows: Vec<LabelledRow>,
    pub(super) kind: Option<String>,
    pub(super) near_keys: Vec<NearKey>,
    pub(super) counts: Counts,
}

/// What is counted of a row or a text.
#[derive(Debug, Clone, Copy)]
pub(super) struct Counts {
    pub(super) num_texts: u64,
    /// Texts that are nothing but unknown tokens.
    pub(super) num_unknown: u64,
    /// Parts of a text that are left out, because nothing in them can be predicted.
    pub(super) num_left_out: u64,
}

impl Tools {
    /// All of a chunk, on all cores.
    pub(super) fn tokenize<R: Send>(
        &self,
        chunk: Chunk<R>,
        each: fn(R, &Self) -> Result<Tokenized, String>,
    ) -> TokenizedChunk {
        let records = chunk.rows.into_par_iter().map(|(number, raw)| (number, raw.and_then(|raw| each(raw, self))));
        TokenizedChunk { source: chunk.source, place: chunk.place, records: records.collect() }
    }
}

/// A row of a query and its passages.
pub(super) fn tokenize_row(raw: RawRow, tools: &Tools) -> Result<Tokenized, String> {
    let Tools { tokenizer, memo, .. } = tools;
    let mut row = raw.into_row()?;
    let encode = |field: &dyn Fn() -> String, text: &str| {
        let tokens = tokenizer.encode_remembered(text, memo).map_err(|e| e.to_string())?;
        if tokens.is_empty() { Err(no_token(&field(), text)) } else { Ok(tokens) }
    };
    let encode_all = |field: &str, texts: &[String]| {
        let texts = texts.iter().enumerate().map(|(i, text)| encode(&|| format!("{field}[{i}]"), text));
        texts.collect::<Result<Vec<_>, _>>()
    };
    // The first positive, because queries are often too short.
    let language = language_of(row.language.take(), &row.pos[0]);
    let mut query = encode(&|| "query".into(), &row.query)?;
    let unknown = tokenizer.special().unk;
    let is_unknown = |tokens: &&Vec<u32>| tokens.iter().all(|&token| token == unknown);
    let is_query_unknown = is_unknown(&&query);
    if row.prompt.is_some() {
        query = encode(&|| "query".into(), &row.query_text())?;
    }
    let tokens = TokenRow {
        query,
        pos: encode_all("pos", &row.pos)?,
        neg: encode_all("neg", &row.neg)?,
        pos_scores: row.pos_scores,
        neg_scores: row.neg_scores,
    };
    let passages = || tokens.pos.iter().chain(&tokens.neg);
    let counts = Counts {
        num_texts: 1 + passages().count() as u64,
        num_unknown: u64::from(is_query_unknown) + passages().filter(is_unknown).count() as u64,
        num_left_out: 0,
    };
    let rows = vec![LabelledRow { tokens, language, num_cut: 0 }];
    Ok(Tokenized { rows, kind: row.kind, near_keys: row.near_keys, counts })
}

/// A text of characters that the tokenizer drops says nothing, like a blank text.
pub(super) fn no_token(field: &str, text: &str) -> String {
    format!("\"{field}\" has no text for the tokenizer, which makes no token of {}", shown(text))
}
