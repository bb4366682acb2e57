//! Text → token store, once, before training.
//!
//! One thread reads and decompresses while all cores parse and tokenise, chunk by chunk; a chunk is written while the
//! next one is tokenised. A corpus may be larger than memory: only a few chunks, the memo of texts, and what the orders
//! need of one shard's rows are held. The store depends only on its input, not on the number of cores.
//!
//! A stopped preparation continues after its last finished shard when the same call is made again (`progress`).

mod chunks;
mod language;
mod options;
mod progress;
mod skipped;

use std::io::Write;
use std::path::{Path, PathBuf};

use rayon::prelude::*;

pub use options::{OnError, PrepareInput, PrepareOptions, PrepareProgress, PrepareReport};

use crate::columns::files_of;
use crate::error::PrepareError;
use crate::lines::shown;
use crate::place::Place;
use crate::rows::{NearKey, Numbered, RawRow, Row};
use crate::store::{
    DatasetMeta, DatasetWriter, LIST_FILE, LabelledRow, Left, StoreSettings, StoreWriter, TokenRow, UNFINISHED_FILE,
};
use crate::tokenize::{Memo, TextTokenizer};
use chunks::{Chunk, read_chunks};
use language::language_of;
use progress::{InputState, request};
use skipped::SkippedList;

/// Tokenises all inputs into a store at `options.out`, and calls `progress` after every chunk of rows. It continues
/// what an earlier call with the same options left there.
///
/// # Errors
/// An option, a file or a row cannot be used (a malformed row only with [`OnError::Stop`]), or the store cannot be
/// written. Finished shards are then kept ([`is_unfinished`]); if there are none, nothing is left behind.
pub fn prepare(
    options: &PrepareOptions,
    progress: &mut dyn FnMut(PrepareProgress<'_>),
) -> Result<PrepareReport, PrepareError> {
    prepare_with(options, progress, &mut |_| Vec::new())
}

/// Makes files to put beside a finished store's data sets: names and contents.
pub type Companions<'a> = dyn FnMut(&[DatasetMeta]) -> Vec<(&'static str, String)> + 'a;

/// As [`prepare`], and also writes the files that `companions` makes from the data sets, beside them. The store is not
/// finished before they exist.
///
/// # Errors
/// As [`prepare`].
pub fn prepare_with(
    options: &PrepareOptions,
    progress: &mut dyn FnMut(PrepareProgress<'_>),
    companions: &mut Companions,
) -> Result<PrepareReport, PrepareError> {
    options.check()?;
    let mut options = options.clone();
    for input in &mut options.inputs {
        let files = input.paths.iter().map(|path| files_of(path)).collect::<Result<Vec<_>, _>>()?;
        input.paths = files.concat();
    }
    let input_bytes_total = options.input_bytes()?;
    let tokenizer = TextTokenizer::load(&options.tokenizer)?;
    let settings = StoreSettings {
        tokenizer_hash: tokenizer.hash().to_owned(),
        special: *tokenizer.special(),
        query_max_len: options.query_max_len,
        passage_max_len: options.passage_max_len,
        rows_per_shard: options.rows_per_shard,
    };
    let request = request(&options, &tokenizer);
    let mut store = StoreWriter::create_or_resume(&options.out, settings, options.drop_duplicates, &request)?;
    let so_far = PrepareProgress { input_bytes_total, ..PrepareProgress::default() };
    let (memo, warnings) = (Memo::new(), Vec::new());
    let mut run = Run { tokenizer, memo, on_error: options.on_error, so_far, warnings, progress };
    for input in &options.inputs {
        run.prepare_dataset(input, &mut store)?;
    }
    let skipped_list = (options.on_error == OnError::Skip).then(|| options.out.join(LIST_FILE));
    if skipped_list.is_some() {
        let dirs: Vec<PathBuf> = options.inputs.iter().map(|input| options.out.join(&input.name)).collect();
        skipped::join(&dirs, store.file(LIST_FILE)?)?;
    }
    for (name, content) in companions(store.datasets()) {
        let mut file = store.file(name)?;
        file.write_all(content.as_bytes()).map_err(|e| file.error(e))?;
        file.finish()?;
    }
    let manifest = store.finish()?;
    Ok(PrepareReport {
        num_rows: run.so_far.rows,
        num_skipped: run.so_far.skipped,
        num_tokens: run.so_far.tokens,
        num_texts_cut: manifest.datasets.iter().map(|dataset| dataset.num_texts_cut).sum(),
        warnings: run.warnings.into_iter().chain(manifest.datasets.iter().filter_map(partly_scored)).collect(),
        skipped_list,
        manifest,
    })
}

/// Whether `dir` holds a store that was begun and not finished; the same [`prepare`] continues it.
pub fn is_unfinished(dir: &Path) -> bool {
    dir.join(UNFINISHED_FILE).exists()
}

/// A warning if only some rows have teacher scores: the data set then trains as if none had.
fn partly_scored(dataset: &DatasetMeta) -> Option<String> {
    let DatasetMeta { name, num_rows, .. } = dataset;
    let lacking = dataset.num_unscored.filter(|lacking| (1..*num_rows).contains(lacking))?;
    Some(format!(
        "data set {name}: {lacking} of {num_rows} rows lack teacher scores, so loss.teacher cannot use those of the others"
    ))
}

/// What the data sets share during preparation.
struct Run<'a> {
    tokenizer: TextTokenizer,
    memo: Memo,
    on_error: OnError,
    so_far: PrepareProgress<'a>,
    warnings: Vec<String>,
    progress: &'a mut dyn FnMut(PrepareProgress<'_>),
}

impl<'a> Run<'a> {
    fn prepare_dataset(&mut self, input: &'a PrepareInput, store: &mut StoreWriter) -> Result<(), PrepareError> {
        let before = self.so_far;
        self.so_far.dataset = &input.name;
        let at_start = InputState::at_start(&input.paths)?;
        let left = store.left_of(&input.name)?;
        let (writer, state) = match (at_start.go_on_from(left.state()), left) {
            (Some(state), Left::Dataset(left)) => {
                let dataset = store.take_dataset(left);
                let (rows, tokens) = (dataset.num_rows, dataset.num_tokens);
                self.tell(&before, &state, rows, tokens, state.input_bytes());
                self.warnings.extend(state.warnings(&input.name));
                return Ok(());
            }
            (Some(state), Left::Shards(left)) => (store.resume_dataset(&input.name, left), state),
            _ => (store.dataset(&input.name)?, at_start),
        };
        let mut in_hand = InHand::new(writer, state, self.on_error)?;
        let mut tokenized = None;
        let read = read_chunks(&input.paths, in_hand.state.position, |chunk| {
            let input_bytes = chunk.input_bytes;
            let (tokenizer, memo) = (&self.tokenizer, &self.memo);
            let before_it = tokenized.take();
            let (written, now) = rayon::join(
                || before_it.map_or(Ok(()), |chunk| in_hand.write(chunk)),
                || chunk.tokenize(tokenizer, memo),
            );
            written?;
            tokenized = Some(now);
            self.tell(&before, &in_hand.state, in_hand.writer.num_rows(), in_hand.writer.num_tokens(), input_bytes);
            Ok(())
        });
        // The chunk read before a reading error may have an error of its own, which comes first.
        tokenized.map_or(Ok(()), |chunk| in_hand.write(chunk))?;
        read?;
        let InHand { writer, mut state, mut skipped } = in_hand;
        self.tell(&before, &state, writer.num_rows(), writer.num_tokens(), state.input_bytes());
        if writer.num_rows() == 0 {
            let (dataset, num_files) = (input.name.clone(), input.paths.len());
            let (skipped, first) = (state.num_skipped(), state.first_skipped.take().or_else(|| state.first_empty()));
            return Err(PrepareError::NoRows { dataset, num_files, skipped, first });
        }
        self.warnings.extend(state.warnings(&input.name));
        state.sync(skipped.as_mut())?;
        Ok(writer.finish_with(state.kind.clone(), state.sources.clone(), state.to_value())?)
    }

    /// Reports the progress of all data sets: those `before` and the current one.
    fn tell(&mut self, before: &PrepareProgress<'_>, state: &InputState, rows: u64, tokens: u64, input_bytes: u64) {
        self.so_far.rows = before.rows + rows;
        self.so_far.skipped = before.skipped + state.num_skipped();
        self.so_far.tokens = before.tokens + tokens;
        self.so_far.input_bytes = (before.input_bytes + input_bytes).min(self.so_far.input_bytes_total);
        (self.progress)(self.so_far);
    }
}

/// The data set that is being prepared.
struct InHand<'a> {
    writer: DatasetWriter<'a>,
    state: InputState,
    /// None if a malformed row ends the preparation.
    skipped: Option<SkippedList>,
}

impl<'a> InHand<'a> {
    fn new(writer: DatasetWriter<'a>, state: InputState, on_error: OnError) -> Result<Self, PrepareError> {
        let skipped = match on_error {
            OnError::Stop => None,
            OnError::Skip => Some(SkippedList::open(writer.dir(), state.skipped_bytes)?),
        };
        Ok(Self { writer, state, skipped })
    }

    fn write(&mut self, chunk: TokenizedChunk) -> Result<(), PrepareError> {
        let TokenizedChunk { source, place, rows } = chunk;
        self.writer.expect(rows.iter().filter_map(|(_, row)| Some(&row.as_ref().ok()?.row.tokens)));
        let mut good = Vec::new();
        for (number, row) in rows {
            self.state.position = chunks::Position { source, number };
            let num_unknown = row.as_ref().map_or(0, |row| row.num_unknown);
            match row.and_then(|row| of_one_kind(&mut self.state.kind, row)) {
                Ok((row, near_keys)) => {
                    self.state.sources[source].rows += 1;
                    let TokenRow { pos, neg, .. } = &row.tokens;
                    self.state.count_texts(1 + pos.len() as u64 + neg.len() as u64, num_unknown, place);
                    near_keys.into_iter().for_each(|near| self.state.count_near_key(near, place));
                    good.push(row);
                }
                Err(reason) => self.skip(place, reason)?,
            }
            if self.writer.room().is_some_and(|room| room <= good.len() as u64) {
                self.writer.extend(std::mem::take(&mut good))?;
                self.state.sync(self.skipped.as_mut())?;
                self.writer.end_shard(self.state.to_value())?;
            }
        }
        Ok(self.writer.extend(good)?)
    }

    /// Lists the row as skipped, or returns its error.
    fn skip(&mut self, place: Place, reason: String) -> Result<(), PrepareError> {
        let chunks::Position { source, number } = self.state.position;
        let source = &mut self.state.sources[source];
        let Some(list) = &mut self.skipped else {
            return Err(place.error(&source.path, number, reason).into());
        };
        source.skipped += 1;
        if self.state.first_skipped.is_none() {
            self.state.first_skipped = Some(place.error(&source.path, number, reason.clone()).to_string());
        }
        Ok(list.push(&source.path, place, number, &reason)?)
    }
}

/// The rows of a chunk, tokenised, each with its number.
struct TokenizedChunk {
    source: usize,
    place: Place,
    rows: Vec<(u64, Result<TokenizedRow, String>)>,
}

/// A row on its way from text to store.
struct TokenizedRow {
    row: LabelledRow,
    kind: Option<String>,
    near_keys: Vec<NearKey>,
    /// The number of texts that are nothing but unknown tokens.
    num_unknown: u64,
}

impl Chunk {
    /// Parses and tokenises the rows on all cores.
    fn tokenize(self, tokenizer: &TextTokenizer, memo: &Memo) -> TokenizedChunk {
        let rows = self.rows.into_par_iter().map(|(number, row): Numbered| {
            let tokenized = row.and_then(RawRow::into_row).and_then(|row| tokenize_row(row, tokenizer, memo));
            (number, tokenized)
        });
        TokenizedChunk { source: self.source, place: self.place, rows: rows.collect() }
    }
}

fn tokenize_row(mut row: Row, tokenizer: &TextTokenizer, memo: &Memo) -> Result<TokenizedRow, String> {
    let encode = |field: &dyn Fn() -> String, text: &str| {
        let tokens = tokenizer.encode_remembered(text, memo).map_err(|e| e.to_string())?;
        if tokens.is_empty() { Err(no_token(&field(), text)) } else { Ok(tokens) }
    };
    let encode_all = |field: &str, texts: &[String]| {
        let texts = texts.iter().enumerate().map(|(i, text)| encode(&|| format!("{field}[{i}]"), text));
        texts.collect::<Result<Vec<_>, _>>()
    };
    let language = language_of(&mut row);
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
    let num_unknown =
        u64::from(is_query_unknown) + tokens.pos.iter().chain(&tokens.neg).filter(is_unknown).count() as u64;
    let (kind, near_keys) = (row.kind, row.near_keys);
    Ok(TokenizedRow { row: LabelledRow { tokens, language }, kind, near_keys, num_unknown })
}

/// A text of characters that the tokenizer drops says nothing, like a blank text.
fn no_token(field: &str, text: &str) -> String {
    format!("\"{field}\" has no text for the tokenizer, which makes no token of {}", shown(text))
}

/// The published trainer treats all rows of a data set alike, by their `type`, so a second type is a mistake.
fn of_one_kind(kind: &mut Option<String>, row: TokenizedRow) -> Result<(LabelledRow, Vec<NearKey>), String> {
    match (&kind, row.kind) {
        (Some(first), Some(other)) if *first != other => Err(format!(
            "\"type\" is \"{other}\", but \"{first}\" in the rows before: split the file, a data set has one type"
        )),
        (_, None) | (Some(_), _) => Ok((row.row, row.near_keys)),
        (None, first) => {
            *kind = first;
            Ok((row.row, row.near_keys))
        }
    }
}
