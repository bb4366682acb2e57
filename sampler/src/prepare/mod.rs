//! Text → token store, once, before training.
//!
//! One thread reads and decompresses while all cores parse and tokenise, chunk by chunk, so that a corpus may be larger
//! than memory (but for 12 bytes a row of the data set in hand). The store depends on its input alone, not on the
//! number of cores.

mod chunks;
mod options;

use std::io::Write;
use std::path::Path;

use rayon::prelude::*;
use serde::Serialize;

pub use options::{OnError, PrepareInput, PrepareOptions, PrepareProgress, PrepareReport};

use crate::error::{PrepareError, RowError};
use crate::rows::parse_row;
use crate::store::{DurableFile, SourceMeta, StoreSettings, StoreWriter, TokenRow};
use crate::tokenize::TextTokenizer;
use chunks::{Chunk, read_chunks};

/// Lists what was left out of the store.
const SKIPPED_FILE: &str = "skipped.jsonl";

/// Tokenises all inputs into a new store at `options.out`, and tells `progress` after every chunk of rows.
///
/// # Errors
/// An option, a file or a row cannot be used (a malformed line only with [`OnError::Stop`]), or the store cannot be
/// written. No store is left behind then.
pub fn prepare(
    options: &PrepareOptions,
    progress: &mut dyn FnMut(PrepareProgress<'_>),
) -> Result<PrepareReport, PrepareError> {
    options.check()?;
    let input_bytes_total = options.input_bytes()?;
    let tokenizer = TextTokenizer::load(&options.tokenizer)?;
    let settings = StoreSettings {
        tokenizer_hash: tokenizer.hash().to_owned(),
        special: *tokenizer.special(),
        query_max_len: options.query_max_len,
        passage_max_len: options.passage_max_len,
        rows_per_shard: options.rows_per_shard,
    };
    let mut store = StoreWriter::create(&options.out, settings)?;
    let skipped_file = match options.on_error {
        OnError::Stop => None,
        OnError::Skip => Some(store.file(SKIPPED_FILE)?),
    };
    let so_far = PrepareProgress { input_bytes_total, ..PrepareProgress::default() };
    let mut run = Run { tokenizer, skipped_file, so_far, progress };
    for input in &options.inputs {
        run.prepare_dataset(input, &mut store)?;
    }
    let skipped_list = run.skipped_file.is_some().then(|| options.out.join(SKIPPED_FILE));
    if let Some(file) = run.skipped_file {
        file.finish()?;
    }
    let manifest = store.finish()?;
    Ok(PrepareReport {
        num_rows: run.so_far.rows,
        num_skipped: run.so_far.skipped,
        num_tokens: run.so_far.tokens,
        num_texts_cut: manifest.datasets.iter().map(|dataset| dataset.num_texts_cut).sum(),
        skipped_list,
        manifest,
    })
}

/// What the data sets share while they are prepared.
struct Run<'a> {
    tokenizer: TextTokenizer,
    /// None: a malformed line ends it all.
    skipped_file: Option<DurableFile>,
    so_far: PrepareProgress<'a>,
    progress: &'a mut dyn FnMut(PrepareProgress<'_>),
}

impl<'a> Run<'a> {
    fn prepare_dataset(&mut self, input: &'a PrepareInput, store: &mut StoreWriter) -> Result<(), PrepareError> {
        let before = self.so_far;
        self.so_far.dataset = &input.name;
        let mut dataset = store.dataset(&input.name)?;
        let mut kind = None;
        let mut sources: Vec<SourceMeta> =
            input.paths.iter().map(|path| SourceMeta { path: path.clone(), rows: 0, skipped: 0 }).collect();
        read_chunks(&input.paths, |chunk| {
            let source = &mut sources[chunk.source];
            for (line, row) in tokenize_chunk(&chunk, &self.tokenizer) {
                match row.and_then(|row| of_one_kind(&mut kind, row)) {
                    Ok(row) => {
                        dataset.push(row)?;
                        source.rows += 1;
                        self.so_far.rows += 1;
                    }
                    Err(reason) => {
                        self.skip(&source.path, line, reason)?;
                        source.skipped += 1;
                        self.so_far.skipped += 1;
                    }
                }
            }
            self.so_far.tokens = before.tokens + dataset.num_tokens();
            self.so_far.input_bytes = before.input_bytes + chunk.input_bytes;
            (self.progress)(self.so_far);
            Ok(())
        })?;
        if self.so_far.rows == before.rows {
            let skipped = self.so_far.skipped - before.skipped;
            let (dataset, num_files) = (input.name.clone(), input.paths.len());
            return Err(PrepareError::NoRows { dataset, num_files, skipped });
        }
        Ok(dataset.finish(kind, sources)?)
    }

    /// Lists the line as skipped, or returns it as the error that it is.
    fn skip(&mut self, path: &Path, line: u64, reason: String) -> Result<(), PrepareError> {
        #[derive(Serialize)]
        struct Skipped<'a> {
            file: &'a str,
            line: u64,
            reason: &'a str,
        }
        let Some(list) = &mut self.skipped_file else {
            return Err(RowError::Line { path: path.to_owned(), line, reason }.into());
        };
        let skipped = Skipped { file: &path.to_string_lossy(), line, reason: &reason };
        let written =
            serde_json::to_writer(&mut *list, &skipped).map_err(Into::into).and_then(|()| list.write_all(b"\n"));
        written.map_err(|source| list.error(source).into())
    }
}

/// A row on its way from text to store.
struct TokenizedRow {
    tokens: TokenRow,
    kind: Option<String>,
}

/// Parses and tokenises the lines of a chunk on all cores; each with its line number, in order.
fn tokenize_chunk(chunk: &Chunk, tokenizer: &TextTokenizer) -> Vec<(u64, Result<TokenizedRow, String>)> {
    let tokenized = |line: &Result<Vec<u8>, String>| tokenize_row(line.as_ref().map_err(String::clone)?, tokenizer);
    chunk.lines.par_iter().map(|(number, line)| (*number, tokenized(line))).collect()
}

fn tokenize_row(line: &[u8], tokenizer: &TextTokenizer) -> Result<TokenizedRow, String> {
    let row = parse_row(line)?;
    let encode = |text: &str| tokenizer.encode_content(text).map_err(|e| e.to_string());
    let encode_all = |texts: &[String]| texts.iter().map(|text| encode(text)).collect::<Result<Vec<_>, _>>();
    let tokens = TokenRow {
        query: encode(&row.query_text())?,
        pos: encode_all(&row.pos)?,
        neg: encode_all(&row.neg)?,
        pos_scores: row.pos_scores,
        neg_scores: row.neg_scores,
    };
    Ok(TokenizedRow { tokens, kind: row.kind })
}

/// The published trainer treats all rows of a data set alike, by their `type`; so a second one is a mistake.
fn of_one_kind(kind: &mut Option<String>, row: TokenizedRow) -> Result<TokenRow, String> {
    match (&kind, row.kind) {
        (Some(first), Some(other)) if *first != other => Err(format!(
            "\"type\" is \"{other}\", but \"{first}\" in the rows before: split the file, a data set has one type"
        )),
        (_, None) | (Some(_), _) => Ok(row.tokens),
        (None, first) => {
            *kind = first;
            Ok(row.tokens)
        }
    }
}
