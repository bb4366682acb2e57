//! Text → token store, once, before training.
//!
//! One thread reads and decompresses while all cores parse and tokenise, chunk by chunk; a chunk is written while the
//! next one is tokenised. A corpus may be larger than memory: only a few chunks, the memo of texts, and what the orders
//! need of one shard's rows are held. The store depends only on its input, not on the number of cores.
//!
//! A stopped preparation continues after its last finished shard when the same call is made again (`progress`).

mod chunks;
mod in_hand;
mod language;
mod options;
mod progress;
mod skipped;
mod texts;
mod tokenized;

use std::io::Write;
use std::path::{Path, PathBuf};

pub use language::detect_language;
pub use options::{Long, OnError, PrepareInput, PrepareOptions, PrepareProgress, PrepareReport, TextOptions};
pub use skipped::Skipped;

use crate::columns::files_of;
use crate::error::PrepareError;
use crate::rows::{RecordSource, RowSource, TextSource};
use crate::store::{DatasetMeta, Holds, LIST_FILE, Left, StoreSettings, StoreWriter, UNFINISHED_FILE};
use crate::tokenize::{Memo, TextTokenizer};
use chunks::read_chunks;
use in_hand::InHand;
use progress::{InputState, request};
use texts::{Pack, tokenize_text};
use tokenized::{Tokenize, Tools, tokenize_row};

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
        text_max_len: options.texts.max_len,
        rows_per_shard: options.rows_per_shard,
    };
    let request = request(&options, &tokenizer);
    let mut store = StoreWriter::create_or_resume(&options.out, settings, options.drop_duplicates, &request)?;
    let so_far = PrepareProgress { input_bytes_total, ..PrepareProgress::default() };
    let tools = Tools { tokenizer, memo: Memo::new(), texts: options.texts };
    let mut run = Run { tools, on_error: options.on_error, so_far, warnings: Vec::new(), progress };
    for input in &options.inputs {
        match input.holds {
            Holds::Pairs => run.prepare_dataset::<RowSource>(input, &mut store, tokenize_row)?,
            Holds::Texts => run.prepare_dataset::<TextSource>(input, &mut store, tokenize_text)?,
        }
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
    tools: Tools,
    on_error: OnError,
    so_far: PrepareProgress<'a>,
    warnings: Vec<String>,
    progress: &'a mut dyn FnMut(PrepareProgress<'_>),
}

impl<'a> Run<'a> {
    /// Prepares one data set, whose files are read as `S`.
    fn prepare_dataset<S: RecordSource>(
        &mut self,
        input: &'a PrepareInput,
        store: &mut StoreWriter,
        tokenize: Tokenize<S>,
    ) -> Result<(), PrepareError> {
        let before = self.so_far;
        self.so_far.dataset = &input.name;
        let at_start = InputState::at_start(&input.paths, input.holds)?;
        let left = store.left_of(&input.name)?;
        let (writer, state) = match (at_start.go_on_from(left.state()), left) {
            (Some(state), Left::Dataset(left)) => {
                let dataset = store.take_dataset(left);
                let (rows, tokens) = (dataset.num_rows, dataset.num_tokens);
                self.tell(&before, &state, rows, tokens, state.input_bytes());
                self.warnings.extend(state.warnings(&input.name));
                return Ok(());
            }
            (Some(state), Left::Shards(left)) => (store.resume_dataset(&input.name, input.holds, left), state),
            _ => (store.dataset_of(&input.name, input.holds)?, at_start),
        };
        let pack = (input.holds == Holds::Texts).then(|| Pack::new(&self.tools)).flatten();
        let mut in_hand = InHand::new(writer, state, pack, self.on_error)?;
        let mut tokenized = None;
        let read = read_chunks::<S>(&input.paths, in_hand.state.position, |chunk| {
            let input_bytes = chunk.input_bytes;
            let tools = &self.tools;
            let before_it = tokenized.take();
            let (written, now) = rayon::join(
                || before_it.map_or(Ok(()), |chunk| in_hand.write(chunk)),
                || tools.tokenize(chunk, tokenize),
            );
            written?;
            tokenized = Some(now);
            self.tell(&before, &in_hand.state, in_hand.writer.num_rows(), in_hand.writer.num_tokens(), input_bytes);
            Ok(())
        });
        // The chunk read before a reading error may have an error of its own, which comes first.
        tokenized.map_or(Ok(()), |chunk| in_hand.write(chunk))?;
        read?;
        let (writer, mut state, mut skipped) = in_hand.end()?;
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
