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
use std::path::Path;

use safetensors::tensor::{Dtype, TensorView};
use tch::Tensor;
use tercet_cluster::{Collective, broadcast_bytes};
use tercet_protocol::args::{EncodeArgs, Head};
use tercet_sampler::{LineReader, LinesOf, RowError, unpacked_name};

use super::error::TaskError;
use super::output::{AtomicFile, must_be_free};
use super::prefixes;
use super::records::{TextRecord, for_each_line_of, like_an_id};
use super::texts::{BLOCK_BYTES, EncoderOptions, TextEncoder, blocks};
use super::vectors::{TextVectors, floats, share};
use crate::model::representation::{Heads, offsets};

/// Encodes the input. Every rank calls it; rank 0 writes.
///
/// # Errors
/// What is wrong with model, input or output; [`TaskError`] where it is the input or the output.
pub fn run(args: &EncodeArgs, ranks: &dyn Collective) -> anyhow::Result<()> {
    let format = Format::of(&args.out)?;
    must_be_free(ranks, [args.out.as_path()])?;
    let input = read_input(&args.input, ranks)?;
    let options = EncoderOptions {
        pooling: args.pooling.map(Into::into),
        mcls: args.mcls,
        sub_batch_tokens: args.sub_batch_tokens,
        precision: args.precision.into(),
    };
    let encoder = TextEncoder::load(&args.model, options, ranks)?;
    let heads =
        Heads { lexical: args.heads.contains(&Head::Lexical), multi_vector: args.heads.contains(&Head::MultiVector) };
    let mut writer = match ranks.rank() {
        0 => Some(Writer::create(&args.out, format, &args.heads)?),
        _ => None,
    };
    let texts: Vec<&str> = input.iter().map(|input| input.text.as_str()).collect();
    let own: Vec<&str> = share(&texts, ranks).copied().collect();
    if let Some(&nth) = encoder.tokenless(&own)?.first() {
        let i = nth * ranks.world_size() + ranks.rank();
        let reason = "a text of which the tokenizer makes no token has no representation: remove the line".into();
        let (path, line) = (args.input.clone(), input[i].line as u64);
        return Err(TaskError::from(RowError::Line { path, line, reason }).into());
    }
    let prompt = prompt(args, &encoder, &texts, ranks);
    for block in blocks(&texts, BLOCK_BYTES * ranks.world_size()) {
        let own: Vec<&str> = share(&texts[block.clone()], ranks).copied().collect();
        let vectors = encoder.encode(&prompt, &own, args.max_len, heads, ranks)?.gather(ranks)?;
        if let Some(writer) = &mut writer {
            let ids = input[block].iter().map(|input| input.id.as_str());
            writer.write(ids, vectors)?;
        }
    }
    if let Some(writer) = writer {
        writer.finish()?;
        println!("{} texts encoded to {}", input.len(), args.out.display());
    }
    Ok(())
}

/// What stands before the texts; says so, and what is left to be chosen.
fn prompt(args: &EncodeArgs, encoder: &TextEncoder, texts: &[&str], ranks: &dyn Collective) -> String {
    let folder = encoder.prompts();
    let prompt = prefixes::of_texts(args.prefix.as_deref(), args.side, folder);
    prefixes::tell(ranks, "texts", &prompt, texts.iter().copied());
    let unsaid = args.prefix.is_none() && args.side.is_none() && prompt.is_empty() && !folder.are_empty();
    if unsaid && ranks.rank() == 0 {
        let [query, passage] = [&folder.query, &folder.passage].map(|prompt| prompt.clone().unwrap_or_default());
        tracing::warn!(
            "the model's folder puts {query:?} before queries and {passage:?} before passages; nothing is put before these \
             texts: say --as query or --as passage if they are such"
        );
    }
    prompt
}

/// A text to encode.
#[derive(Debug)]
struct Input {
    /// Its line, from 1.
    line: usize,
    /// Its place, from 0, where none is given.
    id: String,
    text: String,
}

/// The texts. Every rank calls it.
fn read_input(path: &Path, ranks: &dyn Collective) -> anyhow::Result<Vec<Input>> {
    let reader = if path != Path::new("-") {
        LineReader::open(path, lines_of(path))
    } else {
        // Only the first rank has the standard input.
        let mut bytes = Vec::new();
        if ranks.rank() == 0 {
            std::io::stdin().read_to_end(&mut bytes).map_err(TaskError::file(path))?;
        }
        broadcast_bytes(ranks, &mut bytes, 0)?;
        LineReader::over(path, Cursor::new(bytes), lines_of(path))
    };
    let (input, remarks) = parse_input(path, reader.map_err(TaskError::from)?)?;
    if ranks.rank() == 0 {
        remarks.iter().for_each(|remark| tracing::warn!("{}: {remark}", path.display()));
    }
    Ok(input)
}

/// What the name says that the lines are.
fn lines_of(path: &Path) -> LinesOf {
    match unpacked_name(path).extension().and_then(|ending| ending.to_str()) {
        Some("jsonl" | "json" | "ndjson") => LinesOf::Objects,
        _ => LinesOf::Text,
    }
}

/// The texts, and what is worth a word about their names.
fn parse_input(path: &Path, reader: LineReader) -> Result<(Vec<Input>, Vec<String>), TaskError> {
    let is_json = lines_of(path) == LinesOf::Objects;
    let (mut input, mut unread_name, mut num_records) = (Vec::new(), None, 0);
    for_each_line_of(reader, path, |number, line| {
        if is_json && line.trim().is_empty() {
            return Ok(());
        }
        let (id, text) = if is_json {
            let mut record = TextRecord::parse(line)?;
            if record.id.is_none() && unread_name.is_none() {
                unread_name = like_an_id(line);
            }
            (record.id.take(), record.full_text()?)
        } else {
            num_records += usize::from(line.starts_with('{') && TextRecord::parse(line).is_ok());
            (None, line.to_owned())
        };
        if text.trim().is_empty() {
            return Err("an empty text has no representation: remove the line".into());
        }
        input.push(Input { line: number, id: id.unwrap_or_else(|| input.len().to_string()), text });
        Ok(())
    })?;
    if input.is_empty() {
        return Err(TaskError::Data { path: path.to_owned(), reason: "holds no text".into() });
    }
    let mut remarks = Vec::new();
    if num_records == input.len() {
        // Standard input has no name to say what it holds.
        let remedy = if path == Path::new("-") { "put them into a file named .jsonl" } else { "name it .jsonl" };
        remarks.push(format!("its lines are JSON objects with a \"text\", and are encoded as they are: {remedy}"));
    }
    if let Some(key) = unread_name {
        remarks.push(format!("texts without \"_id\" or \"id\" are numbered from 0; {key:?} is not read"));
    }
    let num_names = input.iter().map(|input| &input.id).collect::<HashSet<_>>().len();
    if num_names < input.len() {
        remarks.push(format!(
            "{} texts have the name of another: their vectors are told apart by order alone",
            input.len() - num_names
        ));
    }
    Ok((input, remarks))
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Format {
    Safetensors,
    JsonLines,
}

impl Format {
    fn of(path: &Path) -> Result<Self, TaskError> {
        let ending = |path: &Path| path.extension().and_then(|ending| ending.to_str()).map(str::to_owned);
        match (ending(path).as_deref(), ending(&unpacked_name(path)).as_deref()) {
            (Some("safetensors"), _) => Ok(Self::Safetensors),
            (_, Some("jsonl")) => Ok(Self::JsonLines),
            _ => Err(TaskError::Usage(format!(
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
    fn create(path: &'a Path, format: Format, heads: &'a [Head]) -> Result<Self, TaskError> {
        Ok(Self { path, file: AtomicFile::create(path)?, format, heads, collected: Vec::new() })
    }

    fn write<'b>(&mut self, ids: impl Iterator<Item = &'b str>, vectors: TextVectors) -> Result<(), TaskError> {
        if self.format == Format::Safetensors {
            self.collected.push(vectors);
            return Ok(());
        }
        for (i, id) in ids.enumerate() {
            let line = json_line(id, &vectors, i, self.heads);
            self.file.write_all(line.as_bytes()).map_err(TaskError::file(self.path))?;
        }
        Ok(())
    }

    fn finish(mut self) -> anyhow::Result<()> {
        if self.format == Format::Safetensors {
            let bytes = to_safetensors(&TextVectors::concat(std::mem::take(&mut self.collected)), self.heads)?;
            self.file.write_all(&bytes).map_err(TaskError::file(self.path))?;
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
