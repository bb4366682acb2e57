//! A corpus made into an index: blocks on disk, each by one rank (docs/know/retrieval.md).
//!
//! Ranks share the blocks that are not there yet. A block's bytes follow from the corpus, the model and the settings,
//! whichever rank makes it and whatever was there before. So whoever is killed goes on with what is missing, on any
//! number of ranks.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use tercet_cluster::{Collective, broadcast_bytes};
use tercet_retrieval::{
    BLOCKS, Block, BlockBuilder, BlockMeta, Encoding, GRAIN, MANIFEST, Manifest, SETTINGS, Settings, TokenWeights,
    block_len, block_name,
};
use tercet_sampler::text_id;

use super::corpus::{CorpusFiles, Grain, Passage, Survey};
use super::texts::{BLOCK_BYTES, Stretch, TextEncoder};
use super::vectors::{floats, token_weights};
use crate::files::CommandError;
use crate::files::atomic::{AtomicFile, write_atomically};
use crate::files::output::must_be_free;
use crate::model::representation::Heads;

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
    let mut work = Work {
        out,
        encoder,
        encoding: &settings.encoding,
        survey,
        block_len: block_len(&survey.corpus) as u64,
        tells: ranks.rank() == 0,
        told: Instant::now(),
        num_blocks: own.len(),
        own,
        done: 0,
        num_empty: 0,
        block: None,
        failed: None,
    };
    work.make_blocks(files)?;
    let num_empty = ranks_sum(ranks, work.num_empty)?;
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
    survey: &'a Survey,
    block_len: u64,
    tells: bool,
    told: Instant,
    num_blocks: usize,
    /// Their numbers, ascending.
    own: Vec<usize>,
    /// How many of them are written.
    done: usize,
    num_empty: usize,
    block: Option<OpenBlock>,
    /// Why no more passage is read.
    failed: Option<anyhow::Error>,
}

/// A block that is being made.
pub struct OpenBlock {
    builder: BlockBuilder,
    grain: Grain,
    /// Passages that are not encoded yet, and the bytes of their texts.
    stretch: Vec<Passage>,
    stretch_bytes: usize,
}

impl Work<'_> {
    /// Reads the corpus as far as is needed, and writes the blocks.
    fn make_blocks(&mut self, files: &CorpusFiles) -> anyhow::Result<()> {
        let read = match self.own.is_empty() {
            true => Ok(()),
            false => files.for_each(|number, _, unread| {
                let block = (number / self.block_len) as usize;
                // What is refused here ends the reading, and is looked at below.
                let Some(&next) = self.own.get(self.done) else { return Err(String::new()) };
                if block != next {
                    return Ok(());
                }
                let passage = unread.passage()?;
                self.take(number, passage).map_err(|error| {
                    let reason = error.to_string();
                    self.failed = Some(error);
                    reason
                })
            }),
        };
        match (self.failed.take(), self.own.get(self.done)) {
            (Some(error), _) => Err(error),
            (None, None) => Ok(()),
            (None, Some(_)) => Err(read.err().unwrap_or_else(|| self.changed()).into()),
        }
    }

    /// Takes passage `number`, which is of the block that is next.
    fn take(&mut self, number: u64, passage: Passage) -> anyhow::Result<()> {
        let open = self.block.get_or_insert_with(|| OpenBlock::new(self.encoding));
        let is_last = number + 1 == self.survey.corpus.passages || (number + 1).is_multiple_of(self.block_len);
        let grain = open.grain.push(&passage).or_else(|| is_last.then(|| open.grain.end()).flatten());
        if grain.is_some_and(|found| !self.survey.is_still(number as usize / GRAIN, &found)) {
            return Err(self.changed().into());
        }
        if open.is_full(&passage) {
            self.num_empty += open.encode(self.encoder, self.encoding)?;
        }
        open.add(passage);
        if is_last && let Some(mut block) = self.block.take() {
            self.num_empty += block.encode(self.encoder, self.encoding)?;
            self.write(block.builder)?;
        }
        Ok(())
    }

    fn write(&mut self, block: BlockBuilder) -> Result<(), CommandError> {
        let path = self.path(self.own[self.done]);
        let mut file = AtomicFile::create(&path)?;
        block.write(&mut file).map_err(CommandError::file(&path))?;
        file.replace()?;
        self.done += 1;
        if self.tells && self.told.elapsed() > TELL_EVERY {
            self.told = Instant::now();
            tracing::info!("{} of this rank's {} blocks are written", self.done, self.num_blocks);
        }
        Ok(())
    }

    fn path(&self, number: usize) -> PathBuf {
        self.out.join(BLOCKS).join(block_name(number))
    }

    fn changed(&self) -> CommandError {
        CommandError::Usage("the corpus has changed while it was read: type the same command again".into())
    }
}

impl OpenBlock {
    /// An empty one.
    pub fn new(encoding: &Encoding) -> Self {
        Self {
            builder: BlockBuilder::new(encoding.heads, encoding.stored),
            grain: Grain::default(),
            stretch: Vec::new(),
            stretch_bytes: 0,
        }
    }

    /// Whether the passages that wait are to be encoded before this one is added: a stretch ends where its texts would
    /// be too many, as in all that is encoded.
    pub fn is_full(&self, next: &Passage) -> bool {
        !self.stretch.is_empty() && self.stretch_bytes + next.text.len() > BLOCK_BYTES
    }

    /// Adds a passage to those that wait.
    pub fn add(&mut self, passage: Passage) {
        self.stretch_bytes += passage.text.len();
        self.stretch.push(passage);
    }

    /// What is encoded.
    pub fn into_builder(self) -> BlockBuilder {
        self.builder
    }

    /// Encodes the passages that wait, and puts them into the block; how many are blank or without a token.
    ///
    /// # Errors
    /// A passage that the tokenizer cannot take, or representations that are not numbers.
    pub fn encode(&mut self, encoder: &TextEncoder, encoding: &Encoding) -> anyhow::Result<usize> {
        let passages = std::mem::take(&mut self.stretch);
        self.stretch_bytes = 0;
        let texts: Vec<&str> = passages.iter().map(|passage| passage.text.as_str()).collect();
        let (heads, max_len) = (encoding.heads, encoding.passage_max_len);
        let tokens = encoder.contents(&texts)?;
        let untitled: Vec<&str> = passages.iter().filter_map(Passage::untitled).collect();
        let mut untitled = encoder.contents(&untitled)?.into_iter();
        let most = encoder.num_tokens_of(max_len);
        let (dense, lexical, num_empty) = match heads.dense || heads.lexical {
            true => {
                let wanted = Heads { lexical: heads.lexical, ..Heads::DENSE };
                let Stretch { vectors, num_empty } =
                    encoder.encode_stretch(&encoding.passage_prompt, &texts, max_len, wanted)?;
                (floats(&vectors.dense), vectors.lexical.iter().map(token_weights).collect(), num_empty)
            }
            // Counts need no vectors.
            false => {
                let is_empty = |(text, tokens): (&&str, &Vec<u32>)| tokens.is_empty() || text.trim().is_empty();
                let num_empty = texts.iter().zip(&tokens).filter(|pair| is_empty(*pair)).count();
                (Vec::new(), vec![TokenWeights::new(); texts.len()], num_empty)
            }
        };
        let width = dense.len() / texts.len().max(1);
        for (i, passage) in passages.iter().enumerate() {
            let dense = &dense[i * width..(i + 1) * width];
            let whole = text_id(&tokens[i]);
            let without_title = passage.untitled().and_then(|_| untitled.next()).map(|tokens| text_id(&tokens));
            let identities = [whole, without_title.unwrap_or(whole)];
            let (id, text, tokens) = (&passage.id, &passage.text, &tokens[i][..most.min(tokens[i].len())]);
            let lexical = &lexical[i];
            let put = self.builder.push(tercet_retrieval::Passage { id, text, identities, dense, lexical, tokens });
            put.map_err(|error| CommandError::Usage(format!("the passage {id:?}: {error}")))?;
        }
        Ok(num_empty)
    }
}
