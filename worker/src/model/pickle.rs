//! Reads and writes `torch.save`'s files as far as a state dict of tensors goes.
//!
//! The published layout keeps the lexical and multi-vector heads in two such files, and sometimes the encoder in a third;
//! other programs' loaders expect the two. A file is an uncompressed zip archive: `NAME/data.pkl`, a pickle program that rebuilds tensors over storages,
//! and one `NAME/data/KEY` per storage. Only the opcodes that state dicts consist of are understood and nothing is ever
//! called, so that a hostile file is an error and not a program. Source: the pickle protocol 2 (PEP 307) and files
//! written by PyTorch 2.

use std::collections::HashMap;
use std::fs::File;
use std::io::{Read, Write};
use std::path::Path;

use tch::{Kind, Tensor};
use zip::write::FileOptions;
use zip::{CompressionMethod, ZipArchive, ZipWriter};

use super::HostTensor;

/// Name and tensor of every entry of the state dict at `path`, widened to float32 where it is another type but float64.
///
/// # Errors
/// What is unreadable about the file.
pub(super) fn read_state_dict(path: &Path) -> Result<Vec<(String, Tensor)>, String> {
    let file = File::open(path).map_err(|e| e.to_string())?;
    let mut archive = ZipArchive::new(file).map_err(|e| format!("not a PyTorch archive ({e})"))?;
    let program = archive
        .file_names()
        .find(|name| name.ends_with("/data.pkl"))
        .map(str::to_owned)
        .ok_or("not a PyTorch archive (no data.pkl in it)")?;
    let folder = program.trim_end_matches("data.pkl").to_owned();
    let mut entry = |name: &str| -> Result<Vec<u8>, String> {
        let mut bytes = Vec::new();
        let mut entry = archive.by_name(name).map_err(|e| format!("{name}: {e}"))?;
        entry.read_to_end(&mut bytes).map_err(|e| format!("{name}: {e}"))?;
        Ok(bytes)
    };
    let program = entry(&program)?;
    let Value::Dict(items) = Machine::new(&program).run()? else { return Err("not a state dict".into()) };
    items
        .into_iter()
        .filter_map(|(name, value)| match (name, value) {
            (Value::Text(name), Value::Tensor(tensor)) => Some((name, tensor)),
            _ => None,
        })
        .map(|(name, tensor)| {
            let bytes = entry(&format!("{folder}data/{}", tensor.storage.key))?;
            let kind = tensor.storage.kind;
            let start = tensor.offset * kind.elt_size_in_bytes();
            let end = start + tensor.shape.iter().product::<i64>() as usize * kind.elt_size_in_bytes();
            let bytes = bytes.get(start..end).ok_or(format!("{name}: its data is cut off"))?;
            let values = Tensor::f_from_data_size(bytes, &tensor.shape, kind).map_err(|e| e.to_string())?;
            Ok((name, if kind == Kind::Double { values } else { values.to_kind(Kind::Float) }))
        })
        .collect()
}

/// Writes `tensors` (float32 or float64) so that `torch.load` gives them back as a dict.
///
/// # Errors
/// The operating system's.
pub(super) fn write_state_dict(path: &Path, tensors: &[(&str, &HostTensor)]) -> std::io::Result<()> {
    let stem = path.file_stem().map_or("archive".into(), |s| s.to_string_lossy());
    let mut archive = ZipWriter::new(File::create(path)?);
    // No time of writing: equal weights make equal bytes.
    let options = FileOptions::default()
        .compression_method(CompressionMethod::Stored)
        .last_modified_time(zip::DateTime::default());
    archive.start_file(format!("{stem}/data.pkl"), options)?;
    archive.write_all(&program(tensors))?;
    archive.start_file(format!("{stem}/byteorder"), options)?;
    archive.write_all(b"little")?;
    for (key, (_, tensor)) in tensors.iter().enumerate() {
        archive.start_file(format!("{stem}/data/{key}"), options)?;
        archive.write_all(&tensor.bytes)?;
    }
    archive.start_file(format!("{stem}/version"), options)?;
    archive.write_all(b"3\n")?;
    archive.finish()?.sync_all()
}

/// The pickle program of a dict of tensors, each over a storage of its own.
fn program(tensors: &[(&str, &HostTensor)]) -> Vec<u8> {
    let mut out = b"\x80\x02}(".to_vec(); // protocol 2, empty dict, mark
    let text = |out: &mut Vec<u8>, s: &str| {
        out.push(b'X');
        out.extend((s.len() as u32).to_le_bytes());
        out.extend(s.as_bytes());
    };
    let int = |out: &mut Vec<u8>, n: i64| {
        out.push(b'J');
        out.extend((n as i32).to_le_bytes());
    };
    for (key, (name, tensor)) in tensors.iter().enumerate() {
        let storage = if tensor.kind == Kind::Double { "DoubleStorage" } else { "FloatStorage" };
        text(&mut out, name);
        out.extend(b"ctorch._utils\n_rebuild_tensor_v2\n((");
        text(&mut out, "storage");
        out.extend(format!("ctorch\n{storage}\n").as_bytes());
        text(&mut out, &key.to_string());
        text(&mut out, "cpu");
        int(&mut out, tensor.numel() as i64);
        out.extend(b"tQ"); // tuple, persistent id
        int(&mut out, 0); // offset
        let strides = (1..=tensor.shape.len()).map(|i| tensor.shape[i..].iter().product()).collect();
        for sizes in [tensor.shape.clone(), strides] {
            out.push(b'(');
            sizes.iter().for_each(|&n| int(&mut out, n as i64));
            out.push(b't');
        }
        out.extend(b"\x89ccollections\nOrderedDict\n)RtR"); // requires_grad False, no hooks; call
    }
    out.extend(b"u."); // set items, stop
    out
}

/// What a pickle program's stack holds.
#[derive(Debug, Clone)]
enum Value {
    Mark,
    None,
    Int(i64),
    Text(String),
    Global(String),
    Tuple(Vec<Value>),
    Dict(Vec<(Value, Value)>),
    Storage(Storage),
    Tensor(TensorRef),
}

#[derive(Debug, Clone)]
struct Storage {
    kind: Kind,
    key: String,
}

#[derive(Debug, Clone)]
struct TensorRef {
    storage: Storage,
    offset: usize,
    shape: Vec<i64>,
}

/// Runs the opcodes that state dicts consist of.
struct Machine<'a> {
    program: &'a [u8],
    at: usize,
    stack: Vec<Value>,
    memo: HashMap<u32, Value>,
}

impl<'a> Machine<'a> {
    fn new(program: &'a [u8]) -> Self {
        Self { program, at: 0, stack: Vec::new(), memo: HashMap::new() }
    }

    fn run(mut self) -> Result<Value, String> {
        loop {
            match self.byte()? {
                0x80 => drop(self.byte()?),
                b'.' => return self.pop(),
                b'(' => self.stack.push(Value::Mark),
                b')' => self.stack.push(Value::Tuple(Vec::new())),
                b'}' => self.stack.push(Value::Dict(Vec::new())),
                b'N' => self.stack.push(Value::None),
                0x88 => self.stack.push(Value::Int(1)),
                0x89 => self.stack.push(Value::Int(0)),
                b'K' => self.int::<1>()?,
                b'M' => self.int::<2>()?,
                b'J' => self.int::<4>()?,
                b'X' => {
                    let len = u32::from_le_bytes(self.bytes()?) as usize;
                    let bytes = self.take(len)?.to_vec();
                    self.stack.push(Value::Text(String::from_utf8(bytes).map_err(|e| e.to_string())?));
                }
                b'c' => {
                    let global = format!("{}.{}", self.line()?, self.line()?);
                    self.stack.push(Value::Global(global));
                }
                b'q' => self.memoise::<1>()?,
                b'r' => self.memoise::<4>()?,
                b'h' => self.recall::<1>()?,
                b'j' => self.recall::<4>()?,
                b't' => {
                    let items = self.since_mark()?;
                    self.stack.push(Value::Tuple(items));
                }
                n @ 0x85..=0x87 => {
                    let from = self.stack.len().checked_sub(usize::from(n - 0x84)).ok_or("stack underflow")?;
                    let items = self.stack.split_off(from);
                    self.stack.push(Value::Tuple(items));
                }
                b'Q' => {
                    let id = self.pop()?;
                    self.stack.push(storage(id)?);
                }
                b'R' => {
                    let (arguments, callee) = (self.pop()?, self.pop()?);
                    self.stack.push(call(callee, arguments)?);
                }
                b's' => {
                    let (value, key) = (self.pop()?, self.pop()?);
                    self.set_items(vec![key, value])?;
                }
                b'u' => {
                    let items = self.since_mark()?;
                    self.set_items(items)?;
                }
                // BUILD: a state dict's `_metadata` attribute, which says nothing that is needed.
                b'b' => drop(self.pop()?),
                other => return Err(format!("opcode {other:#04x} has no place in a state dict")),
            }
        }
    }

    fn set_items(&mut self, items: Vec<Value>) -> Result<(), String> {
        let Some(Value::Dict(dict)) = self.stack.last_mut() else { return Err("items for what is no dict".into()) };
        let mut items = items.into_iter();
        while let (Some(key), Some(value)) = (items.next(), items.next()) {
            dict.push((key, value));
        }
        Ok(())
    }

    fn since_mark(&mut self) -> Result<Vec<Value>, String> {
        let mark = self.stack.iter().rposition(|v| matches!(v, Value::Mark)).ok_or("no mark")?;
        let items = self.stack.split_off(mark + 1);
        self.stack.pop();
        Ok(items)
    }

    fn int<const N: usize>(&mut self) -> Result<(), String> {
        let value = i64::from(if N == 4 { i32::from_le_bytes(self.bytes()?) } else { self.unsigned::<N>()? as i32 });
        self.stack.push(Value::Int(value));
        Ok(())
    }

    fn memoise<const N: usize>(&mut self) -> Result<(), String> {
        let key = self.unsigned::<N>()?;
        let value = self.stack.last().ok_or("stack underflow")?.clone();
        self.memo.insert(key, value);
        Ok(())
    }

    fn recall<const N: usize>(&mut self) -> Result<(), String> {
        let key = self.unsigned::<N>()?;
        self.stack.push(self.memo.get(&key).ok_or("unknown memo")?.clone());
        Ok(())
    }

    fn unsigned<const N: usize>(&mut self) -> Result<u32, String> {
        let bytes: [u8; N] = self.bytes()?;
        Ok(bytes.iter().rev().fold(0, |sum, &b| sum << 8 | u32::from(b)))
    }

    fn pop(&mut self) -> Result<Value, String> {
        self.stack.pop().ok_or("stack underflow".into())
    }

    fn byte(&mut self) -> Result<u8, String> {
        Ok(self.bytes::<1>()?[0])
    }

    fn bytes<const N: usize>(&mut self) -> Result<[u8; N], String> {
        self.take(N)?.try_into().map_err(|_| "cut off".into())
    }

    fn take(&mut self, len: usize) -> Result<&'a [u8], String> {
        let end = self.at.checked_add(len).filter(|&end| end <= self.program.len()).ok_or("data.pkl is cut off")?;
        let bytes = &self.program[self.at..end];
        self.at = end;
        Ok(bytes)
    }

    fn line(&mut self) -> Result<String, String> {
        let rest = &self.program[self.at..];
        let len = rest.iter().position(|&b| b == b'\n').ok_or("data.pkl is cut off")?;
        let line = self.take(len)?.to_vec();
        self.at += 1;
        String::from_utf8(line).map_err(|e| e.to_string())
    }
}

/// `("storage", torch.FloatStorage, key, device, numel)`.
fn storage(id: Value) -> Result<Value, String> {
    let Value::Tuple(parts) = id else { return Err("a storage without its description".into()) };
    let (Some(Value::Global(class)), Some(Value::Text(key))) = (parts.get(1), parts.get(2)) else {
        return Err("a storage without type and key".into());
    };
    let kind = match class.as_str() {
        "torch.FloatStorage" => Kind::Float,
        "torch.DoubleStorage" => Kind::Double,
        "torch.HalfStorage" => Kind::Half,
        "torch.BFloat16Storage" => Kind::BFloat16,
        "torch.LongStorage" => Kind::Int64,
        "torch.IntStorage" => Kind::Int,
        other => return Err(format!("{other} is of an unknown type")),
    };
    Ok(Value::Storage(Storage { kind, key: key.clone() }))
}

/// The three things that state dicts call.
fn call(callee: Value, arguments: Value) -> Result<Value, String> {
    let (Value::Global(name), Value::Tuple(mut arguments)) = (callee, arguments) else {
        return Err("a call of what is no function".into());
    };
    match name.as_str() {
        "collections.OrderedDict" => Ok(Value::Dict(Vec::new())),
        "torch._utils._rebuild_parameter" => arguments.drain(..).next().ok_or("a parameter without data".into()),
        "torch._utils._rebuild_tensor_v2" => {
            let mut arguments = arguments.into_iter();
            let (Some(Value::Storage(storage)), Some(Value::Int(offset)), Some(Value::Tuple(shape))) =
                (arguments.next(), arguments.next(), arguments.next())
            else {
                return Err("a tensor without storage, offset and shape".into());
            };
            let shape: Vec<i64> =
                shape.iter().filter_map(|v| if let Value::Int(n) = v { Some(*n) } else { None }).collect();
            if offset < 0 || shape.iter().any(|&n| n < 0) {
                return Err("a tensor of negative size".into());
            }
            Ok(Value::Tensor(TensorRef { storage, offset: offset as usize, shape }))
        }
        other => Err(format!("{other} has no place in a state dict")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_state_dict_survives_the_round_trip() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("sparse_linear.pt");
        let weight = Tensor::from_slice(&[1.5f32, -2.0, 0.25, 7.0, 8.0, 9.0]).view([2, 3]);
        write_state_dict(&path, &[("weight", &(&weight).into()), ("bias", &(&Tensor::from_slice(&[0.5f64])).into())])
            .unwrap();
        let back = read_state_dict(&path).unwrap();
        assert_eq!(back[0].0, "weight");
        assert_eq!(back[0].1, weight);
        assert_eq!(back[1].1.kind(), Kind::Double);
    }

    #[test]
    fn a_program_that_calls_anything_else_is_refused() {
        let message = Machine::new(b"\x80\x02cos\nsystem\n(X\x02\x00\x00\x00lstR.").run().unwrap_err();
        assert!(message.contains("os.system has no place"), "{message}");
    }
}
