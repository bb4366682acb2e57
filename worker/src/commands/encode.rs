//! `encode`: texts in, their dense, lexical and multi-vector representations out.
//!
//! Formats of the output, by its ending (N texts, in the order of the input):
//! - `.safetensors`: `dense` f32 [N, d]; `lexical.token_ids` i64 and `lexical.weights` f32 `[S]`, of which text i has
//!   `lexical.offsets[i]..lexical.offsets[i + 1]` (i64 [N + 1]); `multi_vector.vectors` f32 [T, dm] with
//!   `multi_vector.offsets` alike. It is put together in memory.
//! - `.jsonl`: `{"id": …, "dense": […], "lexical": {"token id": weight}, "multi_vector": [[…], …]}` a line; written as
//!   it is computed.

use std::collections::{HashMap, HashSet};
use std::io::{Cursor, Read, Write};
use std::ops::Range;
use std::path::Path;
use std::sync::mpsc::{Receiver, sync_channel};
use std::thread;

use safetensors::tensor::{Dtype, TensorView};
use tch::Tensor;
use tercet_cluster::{Collective, broadcast_bytes};
use tercet_configs::{CpuMatmul, Head};
use tercet_protocol::args::EncodeArgs;
use tercet_sampler::{LineReader, LinesOf, ReadAt, is_of_objects, must_be_texts, unpacked_name};

use crate::files::CommandError;
use crate::files::atomic::AtomicFile;
use crate::files::output::must_be_free;
use crate::files::records::{TextRecord, for_each_line, for_each_line_of, like_an_id};
use crate::model::representation::{Heads, offsets};
use crate::retrieval::blocks::{BLOCK_BYTES, blocks};
use crate::retrieval::prefixes;
use crate::retrieval::texts::{EncoderOptions, TextEncoder};
use crate::retrieval::vectors::{TextVectors, floats, share};

/// Blocks of representations that may wait for a thread to write them.
const BLOCKS_TO_WRITE: usize = 1;

/// Encodes the input. Every rank calls it; rank 0 writes.
///
/// # Errors
/// What is wrong with model, input or output; [`CommandError`] where it is the input or the output.
pub fn run(args: &EncodeArgs, ranks: &dyn Collective) -> anyhow::Result<()> {
    let format = Format::of(&args.out)?;
    must_be_free(ranks, [args.out.as_path()])?;
    let input = read_input(&args.input, ranks)?;
    let options = EncoderOptions {
        pooling: args.pooling.map(Into::into),
        mcls: args.mcls,
        sub_batch_tokens: args.sub_batch_tokens,
        precision: args.precision.into(),
        matmul: CpuMatmul::Auto,
    };
    let encoder = TextEncoder::load(&args.model, options, ranks)?;
    let heads =
        Heads { lexical: args.heads.contains(&Head::Lexical), multi_vector: args.heads.contains(&Head::MultiVector) };
    let writer = match ranks.rank() {
        0 => Some(Writer::create(&args.out, format, &args.heads)?),
        _ => None,
    };
    let texts: Vec<&str> = input.iter().map(|input| input.text.as_str()).collect();
    let own: Vec<&str> = share(&texts, ranks).copied().collect();
    if let Some(&nth) = encoder.tokenless(&own)?.first() {
        let i = nth * ranks.world_size() + ranks.rank();
        let reason = "a text without a token has no representation: remove the line".into();
        return Err(input[i].at.error(reason).into());
    }
    let prompt = prompt(args, &encoder, &texts, ranks);
    let blocks = blocks(&texts, BLOCK_BYTES * ranks.world_size());
    let own: Vec<Vec<&str>> =
        blocks.iter().map(|block| share(&texts[block.clone()], ranks).copied().collect()).collect();
    thread::scope(|scope| {
        let (vectors, coming) = sync_channel(BLOCKS_TO_WRITE);
        let (input, blocks) = (&input, &blocks);
        let writing = writer.map(|writer| scope.spawn(move || write_blocks(writer, input, blocks, coming)));
        let encoded = encoder.encode_lists(&prompt, &own, args.max_len, heads, ranks, |own| {
            let all = own.gather(ranks)?;
            // A writer that is there no more says why below.
            if writing.is_some() { vectors.send(all).map_err(|_| anyhow::anyhow!("nobody writes")) } else { Ok(()) }
        });
        drop(vectors);
        let written = writing.map(|writing| writing.join().expect("a panic ends the process"));
        written.unwrap_or(Ok(())).and(encoded)
    })?;
    if ranks.rank() == 0 {
        println!("{} texts encoded to {}", input.len(), args.out.display());
    }
    Ok(())
}

/// Writes the representations of the texts of each of `blocks`, as they come; all or nothing.
fn write_blocks(
    mut writer: Writer,
    input: &[Input],
    blocks: &[Range<usize>],
    coming: Receiver<TextVectors>,
) -> anyhow::Result<()> {
    let mut num_written = 0;
    for (block, vectors) in blocks.iter().zip(coming) {
        writer.write(input[block.clone()].iter().map(|input| input.id.as_str()), vectors)?;
        num_written += 1;
    }
    // Fewer come where encoding has failed.
    if num_written == blocks.len() { writer.finish() } else { Ok(()) }
}

/// What stands before the texts. Tells the user what it is, and where a choice is left.
fn prompt(args: &EncodeArgs, encoder: &TextEncoder, texts: &[&str], ranks: &dyn Collective) -> String {
    let folder = encoder.prompts();
    let prompt = prefixes::of_texts(args.prefix.as_deref(), args.side, folder);
    prefixes::tell(ranks, "texts", &prompt, texts.iter().copied());
    encoder.tell_cut(ranks, "texts", args.max_len);
    let unsaid = args.prefix.is_none() && args.side.is_none() && prompt.is_empty() && !folder.are_empty();
    if unsaid && ranks.rank() == 0 {
        let [query, passage] = [&folder.query, &folder.passage].map(|prompt| prompt.clone().unwrap_or_default());
        tracing::warn!(
            "the model's folder puts {query:?} before queries and {passage:?} before passages; nothing is put before \
             these texts: say --as query or --as passage if that is what they are"
        );
    }
    prompt
}

/// A text to encode.
#[derive(Debug)]
struct Input {
    /// Where it was read.
    at: ReadAt,
    /// Its place, from 0, where none is given.
    id: String,
    text: String,
}

/// The texts so far, and what there is to be said about them.
#[derive(Debug, Default)]
struct Inputs {
    texts: Vec<Input>,
    /// A key that is not read, but resembles that of a name, of a text that has no name.
    unread_name: Option<String>,
    /// Number of plain texts that are objects which hold a text.
    num_records: usize,
}

impl Inputs {
    fn push(&mut self, at: &ReadAt, id: Option<String>, text: String) -> Result<(), String> {
        if text.trim().is_empty() {
            return Err("an empty text has no representation: remove the line".into());
        }
        let id = id.unwrap_or_else(|| self.texts.len().to_string());
        self.texts.push(Input { at: at.clone(), id, text });
        Ok(())
    }

    fn push_record(&mut self, at: &ReadAt, mut record: TextRecord, line: &str) -> Result<(), String> {
        if record.id.is_none() && self.unread_name.is_none() {
            self.unread_name = like_an_id(line);
        }
        self.push(at, record.id.take(), record.full_text()?)
    }

    fn push_line(&mut self, at: &ReadAt, line: &str) -> Result<(), String> {
        self.num_records += usize::from(line.starts_with('{') && TextRecord::parse(line).is_ok());
        self.push(at, None, line.to_owned())
    }

    /// What the user should know about the texts' names.
    fn remarks(&self, path: &Path) -> Vec<String> {
        let mut remarks = Vec::new();
        if self.num_records == self.texts.len() {
            // Standard input has no name to say what it holds.
            let remedy = if path == Path::new("-") { "put them into a file named .jsonl" } else { "name it .jsonl" };
            remarks.push(format!("its lines are JSON objects with a \"text\", and are encoded as they are: {remedy}"));
        }
        if let Some(key) = &self.unread_name {
            remarks.push(format!("texts without \"_id\" or \"id\" are numbered from 0; {key:?} is not read"));
        }
        let num_names = self.texts.iter().map(|input| &input.id).collect::<HashSet<_>>().len();
        if num_names < self.texts.len() {
            remarks.push(format!(
                "{} texts have the name of another: their vectors are told apart by order alone",
                self.texts.len() - num_names
            ));
        }
        remarks
    }
}

/// The texts. Every rank calls it.
fn read_input(path: &Path, ranks: &dyn Collective) -> anyhow::Result<Vec<Input>> {
    let mut inputs = Inputs::default();
    if path == Path::new("-") {
        // Only the first rank has the standard input.
        let mut bytes = Vec::new();
        if ranks.rank() == 0 {
            std::io::stdin().read_to_end(&mut bytes).map_err(CommandError::file(path))?;
        }
        broadcast_bytes(ranks, &mut bytes, 0)?;
        let reader = LineReader::over(path, Cursor::new(bytes), LinesOf::Text).map_err(CommandError::from)?;
        for_each_line_of(reader, path, |at, line| inputs.push_line(at, line))?;
    } else if is_of_objects(path) {
        TextRecord::for_each(path, |at, record, line| inputs.push_record(at, record, line))?;
    } else {
        must_be_texts(path).map_err(CommandError::from)?;
        for_each_line(path, |at, line| inputs.push_line(at, line))?;
    }
    if inputs.texts.is_empty() {
        return Err(CommandError::Data { path: path.to_owned(), reason: "holds no text".into() }.into());
    }
    if ranks.rank() == 0 {
        inputs.remarks(path).iter().for_each(|remark| tracing::warn!("{}: {remark}", path.display()));
    }
    Ok(inputs.texts)
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Format {
    Safetensors,
    JsonLines,
}

impl Format {
    fn of(path: &Path) -> Result<Self, CommandError> {
        let ending = |path: &Path| path.extension().and_then(|ending| ending.to_str()).map(str::to_owned);
        match (ending(path).as_deref(), ending(&unpacked_name(path)).as_deref()) {
            (Some("safetensors"), _) => Ok(Self::Safetensors),
            (_, Some("jsonl")) => Ok(Self::JsonLines),
            _ => Err(CommandError::Usage(format!(
                "--out {}: the ending chooses the format: .safetensors, .jsonl, .jsonl.gz or .jsonl.zst",
                path.display()
            ))),
        }
    }
}

/// The output file.
struct Writer<'a> {
    path: &'a Path,
    file: AtomicFile,
    format: Format,
    heads: &'a [Head],
    /// What a safetensors file will hold.
    collected: Vec<TextVectors>,
}

impl<'a> Writer<'a> {
    fn create(path: &'a Path, format: Format, heads: &'a [Head]) -> Result<Self, CommandError> {
        Ok(Self { path, file: AtomicFile::create(path)?, format, heads, collected: Vec::new() })
    }

    fn write<'b>(&mut self, ids: impl Iterator<Item = &'b str>, vectors: TextVectors) -> Result<(), CommandError> {
        if self.format == Format::Safetensors {
            self.collected.push(vectors);
            return Ok(());
        }
        for (i, id) in ids.enumerate() {
            let line = json_line(id, &vectors, i, self.heads);
            self.file.write_all(line.as_bytes()).map_err(CommandError::file(self.path))?;
        }
        Ok(())
    }

    fn finish(mut self) -> anyhow::Result<()> {
        if self.format == Format::Safetensors {
            let bytes = to_safetensors(&TextVectors::concat(std::mem::take(&mut self.collected)), self.heads)?;
            self.file.write_all(&bytes).map_err(CommandError::file(self.path))?;
        }
        Ok(self.file.commit()?)
    }
}

/// One text's representations and a line break.
fn json_line(id: &str, vectors: &TextVectors, i: usize, heads: &[Head]) -> String {
    let row = |tensor: &Tensor, row: i64| format!("[{}]", join(floats(&tensor.get(row)).into_iter()));
    let mut line = format!("{{\"id\":{}", serde_json::Value::from(id));
    if heads.contains(&Head::Dense) {
        line += &format!(",\"dense\":{}", row(&vectors.dense, i as i64));
    }
    if heads.contains(&Head::Lexical) {
        let weights = vectors.lexical[i].iter().map(|(token, weight)| format!("\"{token}\":{weight}"));
        line += &format!(",\"lexical\":{{{}}}", join(weights));
    }
    if heads.contains(&Head::MultiVector) {
        let tensor = &vectors.multi_vector[i];
        line += &format!(",\"multi_vector\":[{}]", join((0..tensor.size()[0]).map(|k| row(tensor, k))));
    }
    line + "}\n"
}

fn join(parts: impl Iterator<Item = impl ToString>) -> String {
    parts.map(|part| part.to_string()).collect::<Vec<_>>().join(",")
}

fn to_safetensors(vectors: &TextVectors, heads: &[Head]) -> anyhow::Result<Vec<u8>> {
    let mut entries: Vec<(&str, Dtype, Vec<usize>, Vec<u8>)> = Vec::new();
    let ints =
        |values: Vec<i64>| (Dtype::I64, vec![values.len()], values.iter().flat_map(|v| v.to_le_bytes()).collect());
    let offsets_of =
        |lens: &mut dyn Iterator<Item = usize>| ints(offsets(lens).into_iter().map(|o| o as i64).collect());
    let mut add = |name, (dtype, shape, bytes)| entries.push((name, dtype, shape, bytes));
    if heads.contains(&Head::Dense) {
        add("dense", matrix(&[vectors.dense.shallow_clone()]));
    }
    if heads.contains(&Head::Lexical) {
        let pairs = || vectors.lexical.iter().flatten();
        let weights: Vec<u8> = pairs().flat_map(|pair| pair.1.to_le_bytes()).collect();
        add("lexical.token_ids", ints(pairs().map(|pair| pair.0).collect()));
        add("lexical.weights", (Dtype::F32, vec![weights.len() / 4], weights));
        add("lexical.offsets", offsets_of(&mut vectors.lexical.iter().map(Vec::len)));
    }
    if heads.contains(&Head::MultiVector) {
        add("multi_vector.vectors", matrix(&vectors.multi_vector));
        add("multi_vector.offsets", offsets_of(&mut vectors.multi_vector.iter().map(|v| v.size()[0] as usize)));
    }
    let views = entries
        .iter()
        .map(|(name, dtype, shape, bytes)| Ok((*name, TensorView::new(*dtype, shape.clone(), bytes)?)))
        .collect::<Result<Vec<_>, safetensors::SafeTensorError>>()?;
    // Readers of Hugging Face's libraries look for the format.
    let metadata = HashMap::from([("format".to_owned(), "pt".to_owned())]);
    Ok(safetensors::serialize(views, Some(metadata))?)
}

/// Several matrices of one width, one below the other.
fn matrix(parts: &[Tensor]) -> (Dtype, Vec<usize>, Vec<u8>) {
    let width = parts.first().map_or(0, |part| part.size()[1] as usize);
    let height = parts.iter().map(|part| part.size()[0] as usize).sum();
    let bytes = parts.iter().flat_map(floats).flat_map(f32::to_le_bytes).collect();
    (Dtype::F32, vec![height, width], bytes)
}
