//! The pickle program of a state dict: from opcodes to tensors' names and layouts.
//!
//! Containers lie in one arena and are named by their place in it. So a value is copied in constant time however often the
//! program recalls it, and no chain of containers is ever freed by recursion: a program costs what its length allows.

use std::collections::HashMap;
use std::rc::Rc;

use tch::Kind;

/// Under which keys a checkpoint with more in it keeps the model's state dict.
const INNER: [&str; 4] = ["state_dict", "model_state_dict", "model", "module"];

/// What whoever saved more than a state dict has to do.
const REMEDY: &str = "save model.state_dict() alone with torch.save";

/// A tensor's name and layout.
pub type Named = (Rc<str>, Rc<TensorRef>);

/// The tensors of a state dict, in its order.
#[derive(Debug)]
pub struct StateDict {
    /// Name and layout.
    pub tensors: Vec<Named>,
}

/// Elements of one type, one after another.
#[derive(Debug)]
pub struct Storage {
    /// Their type.
    pub kind: Kind,
    /// Its name in the archive.
    pub key: Rc<str>,
    /// How many.
    pub numel: usize,
}

/// Where a tensor's elements lie in a storage; all in elements.
#[derive(Debug)]
pub struct TensorRef {
    /// The storage.
    pub storage: Rc<Storage>,
    /// Its first element.
    pub offset: i64,
    /// The shape.
    pub shape: Vec<i64>,
    /// How far apart neighbours are, for every dimension.
    pub strides: Vec<i64>,
}

impl TensorRef {
    /// Whether it lies within its storage, and is no larger.
    pub fn check(&self) -> Result<(), String> {
        let Self { storage, offset, shape, strides } = self;
        if shape.len() != strides.len() || [shape, strides].into_iter().flatten().any(|&n| n < 0) || *offset < 0 {
            return Err(format!("its shape {shape:?}, strides {strides:?} and offset {offset} make no tensor"));
        }
        let numel = shape.iter().try_fold(1i64, |product, &n| product.checked_mul(n));
        // One that repeats a few elements without end would fill any memory.
        if numel.is_none_or(|numel| numel as usize > storage.numel) {
            return Err(format!("its shape {shape:?} has more elements than its storage"));
        }
        let last = shape
            .iter()
            .zip(strides)
            .try_fold(*offset, |sum, (&n, &stride)| sum.checked_add((n - 1).max(0).checked_mul(stride)?));
        if numel != Some(0) && last.is_none_or(|last| last as usize >= storage.numel) {
            return Err(format!(
                "its shape {shape:?}, strides {strides:?} and offset {offset} reach outside of its storage of {}",
                storage.numel
            ));
        }
        Ok(())
    }
}

/// What a pickle program's stack holds.
#[derive(Debug, Clone)]
enum Value {
    Mark,
    None,
    Int(i64),
    Text(Rc<str>),
    Global(Rc<str>),
    Tuple(Handle),
    List(Handle),
    /// Keys and values in turn.
    Dict(Handle),
    Storage(Rc<Storage>),
    Tensor(Rc<TensorRef>),
    /// Something that is no part of a model, such as a step's number or a metric.
    Other,
}

/// A container's place in the arena.
type Handle = usize;

/// Runs `program`, and finds the state dict in what it makes.
///
/// # Errors
/// A program of another kind, or no state dict.
pub fn run(program: &[u8]) -> Result<StateDict, String> {
    let mut machine = Machine { program, at: 0, stack: Vec::new(), memo: HashMap::new(), arena: Vec::new() };
    let Value::Dict(top) = machine.run()? else { return Err(format!("not a state dict: {REMEDY}")) };
    let tensors = machine.tensors(top)?;
    if !tensors.is_empty() {
        return Ok(StateDict { tensors });
    }
    let inner: Vec<(Rc<str>, Handle)> = machine
        .items(top)
        .filter_map(|item| match item {
            (Value::Text(name), Value::Dict(inner)) if INNER.contains(&&**name) => Some((name.clone(), *inner)),
            _ => None,
        })
        .collect();
    match inner.as_slice() {
        [(_, inner)] => Ok(StateDict { tensors: machine.tensors(*inner)? }),
        [] if machine.arena[top].is_empty() => Ok(StateDict { tensors }),
        [] => Err(format!("not a state dict: it holds {} and no tensors; {REMEDY}", machine.keys(top))),
        several => {
            let names: Vec<&str> = several.iter().map(|(name, _)| &**name).collect();
            Err(format!("holds several state dicts ({}): {REMEDY}", names.join(", ")))
        }
    }
}

/// Runs the opcodes that state dicts consist of.
struct Machine<'a> {
    program: &'a [u8],
    at: usize,
    stack: Vec<Value>,
    memo: HashMap<u32, Value>,
    arena: Vec<Vec<Value>>,
}

impl<'a> Machine<'a> {
    fn run(&mut self) -> Result<Value, String> {
        loop {
            match self.byte()? {
                0x80 => drop(self.byte()?),
                0x95 => drop(self.bytes::<8>()?),
                b'.' => return self.pop(),
                b'(' => self.stack.push(Value::Mark),
                b')' => self.push_tuple(Vec::new()),
                b'}' => {
                    let dict = self.keep(Vec::new());
                    self.stack.push(Value::Dict(dict));
                }
                b']' => {
                    let list = self.keep(Vec::new());
                    self.stack.push(Value::List(list));
                }
                b'N' => self.stack.push(Value::None),
                0x88 => self.stack.push(Value::Int(1)),
                0x89 => self.stack.push(Value::Int(0)),
                b'K' => self.int::<1>()?,
                b'M' => self.int::<2>()?,
                b'J' => self.int::<4>()?,
                0x8a => self.long()?,
                b'G' => self.skip(8)?,
                b'X' => {
                    let len = u32::from_le_bytes(self.bytes()?) as usize;
                    self.text(len)?;
                }
                0x8c => {
                    let len = self.byte()?;
                    self.text(usize::from(len))?;
                }
                // Python 2's text, and bytes of another object.
                b'U' => {
                    let len = self.byte()?;
                    self.text(usize::from(len))?;
                }
                b'C' => {
                    let len = self.byte()?;
                    self.skip(usize::from(len))?;
                }
                b'B' => {
                    let len = u32::from_le_bytes(self.bytes()?) as usize;
                    self.skip(len)?;
                }
                b'c' => {
                    let global = format!("{}.{}", self.line()?, self.line()?);
                    self.stack.push(Value::Global(global.into()));
                }
                0x93 => {
                    let (Value::Text(name), Value::Text(module)) = (self.pop()?, self.pop()?) else {
                        return Err("a global without its name".into());
                    };
                    self.stack.push(Value::Global(format!("{module}.{name}").into()));
                }
                b'q' => self.memoise::<1>()?,
                b'r' => self.memoise::<4>()?,
                0x94 => {
                    let value = self.stack.last().ok_or("stack underflow")?.clone();
                    self.memo.insert(self.memo.len() as u32, value);
                }
                b'h' => self.recall::<1>()?,
                b'j' => self.recall::<4>()?,
                b't' => {
                    let items = self.since_mark()?;
                    self.push_tuple(items);
                }
                n @ 0x85..=0x87 => {
                    let from = self.stack.len().checked_sub(usize::from(n - 0x84)).ok_or("stack underflow")?;
                    let items = self.stack.split_off(from);
                    self.push_tuple(items);
                }
                b'Q' => {
                    let id = self.pop()?;
                    let storage = self.storage(&id)?;
                    self.stack.push(storage);
                }
                b'R' => {
                    let (arguments, callee) = (self.pop()?, self.pop()?);
                    let result = self.call(&callee, &arguments)?;
                    self.stack.push(result);
                }
                b'a' => {
                    let value = self.pop()?;
                    self.extend(vec![value])?;
                }
                b'e' => {
                    let items = self.since_mark()?;
                    self.extend(items)?;
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
                0x81 | 0x92 => {
                    let (_, class) = (self.pop()?, self.pop()?);
                    return Err(no_place(&class));
                }
                other => return Err(format!("opcode {other:#04x} has no place in a state dict: {REMEDY}")),
            }
        }
    }

    fn keep(&mut self, items: Vec<Value>) -> Handle {
        self.arena.push(items);
        self.arena.len() - 1
    }

    fn push_tuple(&mut self, items: Vec<Value>) {
        let tuple = self.keep(items);
        self.stack.push(Value::Tuple(tuple));
    }

    fn set_items(&mut self, items: Vec<Value>) -> Result<(), String> {
        if !items.len().is_multiple_of(2) {
            return Err("a key without a value".into());
        }
        match self.stack.last() {
            Some(Value::Dict(dict)) => self.arena[*dict].extend(items),
            Some(Value::Other) => {}
            _ => return Err("items for what is no dict".into()),
        }
        Ok(())
    }

    fn extend(&mut self, items: Vec<Value>) -> Result<(), String> {
        let Some(Value::List(list)) = self.stack.last() else { return Err("items for what is no list".into()) };
        self.arena[*list].extend(items);
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

    /// A whole number of as many bytes as it says; those beyond 64 bits are no size of anything.
    fn long(&mut self) -> Result<(), String> {
        let len = usize::from(self.byte()?);
        let bytes = self.take(len)?;
        self.stack.push(match bytes.last() {
            _ if len > 8 => Value::Other,
            None => Value::Int(0),
            Some(highest) => {
                let mut full = [if highest & 0x80 == 0 { 0 } else { 0xff }; 8];
                full[..len].copy_from_slice(bytes);
                Value::Int(i64::from_le_bytes(full))
            }
        });
        Ok(())
    }

    fn text(&mut self, len: usize) -> Result<(), String> {
        let text = std::str::from_utf8(self.take(len)?).map_err(|e| e.to_string())?;
        self.stack.push(Value::Text(text.into()));
        Ok(())
    }

    /// A value of so many bytes that is no part of a model.
    fn skip(&mut self, len: usize) -> Result<(), String> {
        self.take(len)?;
        self.stack.push(Value::Other);
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

    fn items(&self, dict: Handle) -> impl Iterator<Item = (&Value, &Value)> {
        self.arena[dict].chunks_exact(2).map(|item| (&item[0], &item[1]))
    }

    /// The tensors among the dict's values.
    fn tensors(&self, dict: Handle) -> Result<Vec<Named>, String> {
        let tensors = self.items(dict).filter_map(|item| match item {
            (Value::Text(name), Value::Tensor(tensor)) => Some(Ok((name.clone(), tensor.clone()))),
            (_, Value::Tensor(_)) => Some(Err("a tensor whose name is no text".into())),
            _ => None,
        });
        tensors.collect()
    }

    /// The dict's first keys, for a message.
    fn keys(&self, dict: Handle) -> String {
        let names =
            self.items(dict).filter_map(|(key, _)| if let Value::Text(name) = key { Some(&**name) } else { None });
        names.take(8).collect::<Vec<_>>().join(", ")
    }

    /// `("storage", torch.FloatStorage, key, device, numel)`.
    fn storage(&self, id: &Value) -> Result<Value, String> {
        let Value::Tuple(parts) = id else { return Err("a storage without its description".into()) };
        let [_, Value::Global(class), Value::Text(key), _, Value::Int(numel), ..] = self.arena[*parts].as_slice()
        else {
            return Err("a storage without type, key and size".into());
        };
        let kind = match &**class {
            "torch.FloatStorage" => Kind::Float,
            "torch.DoubleStorage" => Kind::Double,
            "torch.HalfStorage" => Kind::Half,
            "torch.BFloat16Storage" => Kind::BFloat16,
            "torch.LongStorage" => Kind::Int64,
            "torch.IntStorage" => Kind::Int,
            "torch.ShortStorage" => Kind::Int16,
            "torch.CharStorage" => Kind::Int8,
            "torch.ByteStorage" => Kind::Uint8,
            "torch.BoolStorage" => Kind::Bool,
            other => return Err(format!("{other} is of a type that is not read")),
        };
        let numel = usize::try_from(*numel).map_err(|_| "a storage of negative size")?;
        Ok(Value::Storage(Rc::new(Storage { kind, key: key.clone(), numel })))
    }

    /// What state dicts call, and what lies beside them in checkpoints.
    fn call(&mut self, callee: &Value, arguments: &Value) -> Result<Value, String> {
        let (Value::Global(name), Value::Tuple(tuple)) = (callee, arguments) else {
            return Err("a call of what is no function".into());
        };
        let arguments = self.arena[*tuple].as_slice();
        match (&**name, arguments) {
            ("collections.OrderedDict", []) => {
                let dict = self.keep(Vec::new());
                Ok(Value::Dict(dict))
            }
            ("torch._utils._rebuild_parameter" | "torch._utils._rebuild_parameter_with_state", [data, ..]) => {
                Ok(data.clone())
            }
            ("torch._utils._rebuild_tensor_v2" | "torch._utils._rebuild_tensor", _) => self.tensor(arguments),
            ("torch._tensor._rebuild_from_type_v2", [function, Value::Global(class), inner, ..])
                if class.starts_with("torch.nn.parameter.") || &**class == "torch.Tensor" =>
            {
                let (function, inner) = (function.clone(), inner.clone());
                // One level: what it calls is one of the others.
                match &function {
                    Value::Global(name) if !name.ends_with("_rebuild_from_type_v2") => self.call(&function, &inner),
                    _ => Err(no_place(&function)),
                }
            }
            (
                "numpy.core.multiarray.scalar"
                | "numpy._core.multiarray.scalar"
                | "numpy.dtype"
                | "_codecs.encode"
                | "torch.device"
                | "torch.Size",
                _,
            ) => Ok(Value::Other),
            _ => Err(no_place(callee)),
        }
    }

    /// `(storage, offset, shape, strides, requires_grad, hooks, metadata)`, the last three or fewer.
    fn tensor(&self, arguments: &[Value]) -> Result<Value, String> {
        let [Value::Storage(storage), Value::Int(offset), Value::Tuple(shape), Value::Tuple(strides), rest @ ..] =
            arguments
        else {
            return Err("a tensor without storage, offset, shape and strides".into());
        };
        // Its entries say that the values are meant negated or conjugated.
        if let Some(Value::Dict(metadata)) = rest.get(2)
            && self.items(*metadata).any(|(_, value)| !matches!(value, Value::Int(0)))
        {
            return Err(
                "a tensor whose values are still to be negated or conjugated: save it with .resolve_neg()".into()
            );
        }
        let numbers = |tuple: &Handle| -> Result<Vec<i64>, String> {
            let number =
                |value: &Value| if let Value::Int(n) = value { Ok(*n) } else { Err("a size that is no number".into()) };
            self.arena[*tuple].iter().map(number).collect()
        };
        let (shape, strides) = (numbers(shape)?, numbers(strides)?);
        Ok(Value::Tensor(Rc::new(TensorRef { storage: storage.clone(), offset: *offset, shape, strides })))
    }
}

fn no_place(what: &Value) -> String {
    match what {
        Value::Global(name) => format!("{name} has no place in a state dict: {REMEDY}"),
        _ => format!("an object that has no place in a state dict: {REMEDY}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_that_calls_anything_else_is_refused() {
        let message = run(b"\x80\x02cos\nsystem\n(X\x02\x00\x00\x00lstR.").unwrap_err();
        assert!(message.contains("os.system has no place"), "{message}");
        let message = run(b"\x80\x02cargparse\nNamespace\n)\x81.").unwrap_err();
        assert!(message.contains("argparse.Namespace has no place"), "{message}");
    }

    const TENSOR: &[u8] =
        b"ctorch._utils\n_rebuild_tensor_v2\n((X\x07\0\0\0storagectorch\nFloatStorage\nX\x01\0\0\x000\
        X\x03\0\0\0cpuK\x02tQK\0K\x02\x85K\x01\x85\x89ccollections\nOrderedDict\n)RtR";

    fn program(parts: &[&[u8]]) -> Vec<u8> {
        [b"\x80\x02}(", parts.concat().as_slice(), b"u."].concat()
    }

    #[test]
    fn a_checkpoints_state_dict_is_found() {
        let inner = [b"}(X\x01\0\0\0w", TENSOR, b"u"].concat();
        let model = [b"X\x05\0\0\0model", inner.as_slice()].concat();
        let found = run(&program(&[&model, b"X\x05\0\0\0epochK\x03"])).unwrap();
        assert_eq!(&*found.tensors[0].0, "w");
        assert_eq!(found.tensors[0].1.strides, [1]);
        let two = [b"X\x0a\0\0\0state_dict", inner.as_slice()].concat();
        assert!(run(&program(&[&model, &two])).unwrap_err().contains("several state dicts (model, state_dict)"));
        assert!(run(&program(&[b"X\x05\0\0\0epochK\x03"])).unwrap_err().contains("it holds epoch"));
        let parameter = [b"X\x01\0\0\0wctorch._utils\n_rebuild_parameter\n(", TENSOR, b"\x88NtR"].concat();
        assert_eq!(run(&program(&[&parameter])).unwrap().tensors.len(), 1);
    }

    #[test]
    fn nesting_costs_what_the_program_is_long() {
        // A tuple of a tuple of …, and one that holds the one before twice, forty times over.
        let deep = [b"\x80\x02N".as_slice(), &vec![0x85; 1 << 20], b"."].concat();
        assert!(run(&deep).unwrap_err().contains("not a state dict"));
        let mut doubling = b"\x80\x02N".to_vec();
        for i in 0..40 {
            doubling.extend([b'q', i, b'h', i, 0x86]);
        }
        doubling.push(b'.');
        assert!(run(&doubling).unwrap_err().contains("not a state dict"));
    }
}
