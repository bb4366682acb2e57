//! A corpus made into an index: blocks on disk, each by one rank (docs/know/retrieval.md).
//!
//! Ranks share the blocks that are not there yet. A block's bytes follow from the corpus, the model and the settings,
//! whichever rank makes it and whatever was there before. So whoever is killed goes on with what is missing, on any
//! number of ranks.

use std::fs;
use std::path::Path;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread;
use std::time::{Duration, Instant};

use tercet_cluster::{Collective, broadcast_bytes};
use tercet_retrieval::{
    BLOCKS, Block, BlockBuilder, BlockMeta, Encoding, GRAIN, MANIFEST, Manifest, SETTINGS, Settings, block_len,
    block_name,
};
use tercet_sampler::TextTokenizer;

use super::ahead::AHEAD;
use super::corpus::{CorpusFiles, Grain, Passage, Survey};
use super::passages::{TokenisedPassages, Waiting, new_block};
use super::texts::TextEncoder;
use crate::files::CommandError;
use crate::files::atomic::{AtomicFile, write_atomically};
use crate::files::output::must_be_free;

/// How often a rank says how far it is.
const TELL_EVERY: Duration = Duration::from_secs(30);

/// Makes the index of `files` in the folder `out`, or what is missing of it; its manifest, on rank 0. Every rank calls
/// it, and finds it finished when it comes back.
///
/// # Errors
/// What is wrong with corpus or folder: an index of something else is there, the corpus has changed since it was
/// surveyed. A prompt that leaves no room for a passage; a rank that is gone.
pub fn make_index(
    out: &Path,
    encoder: &TextEncoder,
    encoding: Encoding,
    (files, survey): (&CorpusFiles, &Survey),
    ranks: &dyn Collective,
) -> anyhow::Result<Option<Manifest>> {
    encoder.check_room(&encoding.passage_prompt, encoding.passage_max_len)?;
    let settings = Settings::new(encoder.weights_of(), survey.corpus.clone(), encoding);
    let missing = begin(out, &settings, ranks)?;
    let own: Vec<usize> = missing.into_iter().skip(ranks.rank()).step_by(ranks.world_size()).collect();
    let work = Work { out, encoder, encoding: &settings.encoding, tells: ranks.rank() == 0, own: &own };
    let num_empty = ranks_sum(ranks, work.make_blocks(files, survey)?)?;
    let manifest = match ranks.rank() {
        0 => Some(finish(out, settings, num_empty)?),
        _ => None,
    };
    ranks.barrier()?;
    Ok(manifest)
}

/// Refuses, before the work begins, a folder that is there and is no index. Every rank calls it.
///
/// # Errors
/// As [`must_be_free`].
pub fn must_be_an_index_or_free(out: &Path, ranks: &dyn Collective) -> anyhow::Result<()> {
    // With settings, or with nothing, or with the beginning of settings: a process may have been killed over any.
    let is_own = fs::read_dir(out).is_ok_and(|entries| {
        let names: Vec<_> = entries.flatten().map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
        names.iter().any(|name| name == SETTINGS) || names.iter().all(|name| name.starts_with(SETTINGS))
    });
    must_be_free(ranks, (!is_own).then_some(out))
}

/// Removes the index in the folder `out`, if there is one, so that whoever is killed leaves one that is begun.
///
/// # Errors
/// [`CommandError::File`].
pub fn remove_index(out: &Path) -> Result<(), CommandError> {
    for name in [MANIFEST, BLOCKS, SETTINGS] {
        let path = out.join(name);
        let removed = if path.is_dir() { fs::remove_dir_all(&path) } else { fs::remove_file(&path) };
        match removed {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(CommandError::file(&path)(error)),
            _ => {}
        }
    }
    match fs::remove_dir(out) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(CommandError::file(out)(error)),
        _ => Ok(()),
    }
}

/// Begins the index in `out`, or takes up the one that is there; the blocks that it lacks. Every rank calls it.
fn begin(out: &Path, settings: &Settings, ranks: &dyn Collective) -> anyhow::Result<Vec<usize>> {
    let mut missing = Vec::new();
    if ranks.rank() == 0 {
        match Settings::read(out)? {
            Some(begun) => must_be_same(out, &begun, settings)?,
            None => write_atomically(&out.join(SETTINGS), &settings.to_json())?,
        }
        let folder = out.join(BLOCKS);
        fs::create_dir_all(&folder).map_err(CommandError::file(&folder))?;
        let num_blocks = settings.corpus.passages.div_ceil(block_len(&settings.corpus) as u64) as usize;
        let absent: Vec<usize> = (0..num_blocks).filter(|number| !folder.join(block_name(*number)).exists()).collect();
        if absent.len() < num_blocks {
            tracing::info!("{} of {num_blocks} blocks are there already", num_blocks - absent.len());
        }
        missing = absent.iter().flat_map(|number| (*number as u64).to_le_bytes()).collect();
    }
    broadcast_bytes(ranks, &mut missing, 0)?;
    Ok(missing.as_chunks::<8>().0.iter().map(|bytes| u64::from_le_bytes(*bytes) as usize).collect())
}

fn must_be_same(out: &Path, begun: &Settings, settings: &Settings) -> Result<(), CommandError> {
    let differences = begun.differences(settings);
    if differences.is_empty() {
        return Ok(());
    }
    Err(CommandError::Usage(format!(
        "{}: this index was begun with something else, and goes on only with the same: {}. Choose another --out, or \
         remove the folder",
        out.display(),
        differences.join("; ")
    )))
}

/// A sum over ranks. Every rank calls it; it is also where they wait for each other.
fn ranks_sum(ranks: &dyn Collective, own: usize) -> anyhow::Result<usize> {
    let mut sum = [own as i64];
    ranks.all_reduce(sum.as_mut_slice().into(), tercet_cluster::ReduceOp::Sum)?;
    Ok(sum[0] as usize)
}

/// Writes the manifest, when all blocks are there.
fn finish(out: &Path, settings: Settings, num_empty: usize) -> anyhow::Result<Manifest> {
    let len = block_len(&settings.corpus) as u64;
    let mut blocks = Vec::new();
    for number in 0..settings.corpus.passages.div_ceil(len) {
        let path = out.join(BLOCKS).join(block_name(number as usize));
        let block = Block::open(&path, settings.encoding.heads, settings.encoding.stored)?;
        let expected = len.min(settings.corpus.passages - number * len) as usize;
        if block.num_passages() != expected {
            let reason = format!("holds {} passages instead of {expected}: remove it", block.num_passages());
            return Err(CommandError::Data { path, reason }.into());
        }
        blocks.push(BlockMeta {
            file: block_name(number as usize),
            passages: expected,
            tokens: block.num_tokens(),
            words: block.num_words(),
            bytes: fs::metadata(&path).map_err(CommandError::file(&path))?.len(),
            blake3: block.checksum()?.to_owned(),
        });
    }
    if num_empty > 0 {
        tracing::warn!("{num_empty} passages are blank or without a token: they all get the same representation");
    }
    let manifest = Manifest { settings, blocks };
    write_atomically(&out.join(MANIFEST), &manifest.to_json())?;
    Ok(manifest)
}

/// The blocks that a rank makes.
struct Work<'a> {
    out: &'a Path,
    encoder: &'a TextEncoder<'a>,
    encoding: &'a Encoding,
    tells: bool,
    /// Their numbers, ascending.
    own: &'a [usize],
}

impl Work<'_> {
    /// Reads the corpus as far as is needed, and writes the blocks; how many passages are blank or without a token. One
    /// thread reads ahead and makes the texts' tokens, another writes a block while the next is made.
    fn make_blocks(&self, files: &CorpusFiles, survey: &Survey) -> anyhow::Result<usize> {
        if self.own.is_empty() {
            return Ok(0);
        }
        let (encoder, encoding) = (self.encoder, self.encoding);
        thread::scope(|scope| {
            let (read, coming) = sync_channel(AHEAD);
            let reading = Reading {
                tokenizer: encoder.tokenizer(),
                encoding,
                survey,
                block_len: block_len(&survey.corpus) as u64,
                own: self.own,
                done: 0,
                grain: Grain::default(),
                waiting: Waiting::default(),
                read,
            };
            let reading = scope.spawn(move || reading.run(files));
            // Handed over when the one before is written: two are in memory.
            let (made, to_write) = sync_channel(0);
            let (out, own, tells) = (self.out, self.own, self.tells);
            let writing = scope.spawn(move || write(out, own, tells, to_write));
            let encoded = self.encode(coming, made);
            // Whoever fails stops the others, and comes before them here.
            writing.join().expect("a panic ends the process")?;
            let num_empty = encoded?;
            reading.join().expect("a panic ends the process")?;
            Ok(num_empty)
        })
    }

    /// Gives the blocks of `coming` to `made`; how many passages are blank or without a token.
    fn encode(
        &self,
        coming: Receiver<(TokenisedPassages, bool)>,
        made: SyncSender<BlockBuilder>,
    ) -> anyhow::Result<usize> {
        let (mut num_empty, mut block) = (0, new_block(self.encoding));
        for (passages, is_last) in coming {
            num_empty += passages.encode(self.encoder, self.encoding, &mut block)?;
            if is_last {
                let whole = std::mem::replace(&mut block, new_block(self.encoding));
                made.send(whole).map_err(|_| anyhow::anyhow!("nobody writes"))?;
            }
        }
        Ok(num_empty)
    }
}

/// Writes the blocks whose numbers are `own` into the index `out`, as they come.
fn write(out: &Path, own: &[usize], tells: bool, blocks: Receiver<BlockBuilder>) -> Result<(), CommandError> {
    let mut told = Instant::now();
    for (done, (number, block)) in (1..).zip(own.iter().zip(blocks)) {
        let path = out.join(BLOCKS).join(block_name(*number));
        let mut file = AtomicFile::create(&path)?;
        block.write(&mut file).map_err(CommandError::file(&path))?;
        file.replace()?;
        if tells && told.elapsed() > TELL_EVERY {
            told = Instant::now();
            tracing::info!("{done} of this rank's {} blocks are written", own.len());
        }
    }
    Ok(())
}

/// What a rank reads of the corpus, ahead of the encoder.
struct Reading<'a> {
    tokenizer: &'a TextTokenizer,
    encoding: &'a Encoding,
    survey: &'a Survey,
    block_len: u64,
    /// The numbers of this rank's blocks, ascending.
    own: &'a [usize],
    /// How many of them are read.
    done: usize,
    grain: Grain,
    waiting: Waiting,
    /// Takes stretches, and whether each is its block's last.
    read: SyncSender<(TokenisedPassages, bool)>,
}

impl Reading<'_> {
    /// To the end of this rank's last block.
    fn run(mut self, files: &CorpusFiles) -> anyhow::Result<()> {
        let mut failed = None;
        let read = files.for_each(|number, _, unread| {
            let block = (number / self.block_len) as usize;
            // What is refused here ends the reading, and is looked at below.
            let Some(&next) = self.own.get(self.done) else { return Err(String::new()) };
            if block != next {
                return Ok(());
            }
            let passage = unread.passage()?;
            self.take(number, passage).map_err(|error| {
                let reason = error.to_string();
                failed = Some(error);
                reason
            })
        });
        match (failed, self.own.get(self.done)) {
            (Some(error), _) => Err(error),
            (None, None) => Ok(()),
            (None, Some(_)) => Err(read.err().unwrap_or_else(changed).into()),
        }
    }

    /// Takes passage `number`, which is of the block that is next.
    fn take(&mut self, number: u64, passage: Passage) -> anyhow::Result<()> {
        let is_last = number + 1 == self.survey.corpus.passages || (number + 1).is_multiple_of(self.block_len);
        let grain = self.grain.push(&passage).or_else(|| is_last.then(|| self.grain.end()).flatten());
        if grain.is_some_and(|found| !self.survey.is_still(number as usize / GRAIN, &found)) {
            return Err(changed().into());
        }
        if self.waiting.is_full(&passage) {
            self.send(false)?;
        }
        self.waiting.add(passage);
        if is_last {
            self.send(true)?;
            self.done += 1;
        }
        Ok(())
    }

    /// Fails if nobody wants more, which the other thread says why.
    fn send(&mut self, is_last: bool) -> anyhow::Result<()> {
        let passages = std::mem::take(&mut self.waiting).tokenised(self.tokenizer, self.encoding)?;
        Ok(self.read.send((passages, is_last))?)
    }
}

fn changed() -> CommandError {
    CommandError::Usage("the corpus has changed while it was read: type the same command again".into())
}
