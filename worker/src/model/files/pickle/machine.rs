//! Runs the opcodes of pickle programs that state dicts consist of.
//!
//! Containers lie in one arena and are named by their place in it. So a value is copied in constant time however often
//! the program recalls it, and no chain of containers is ever freed by recursion. A program's cost is bounded by its
//! length.

use std::collections::HashMap;
use std::rc::Rc;

use super::tensor_ref::{Storage, TensorRef};

/// The remedy for files with more than a state dict.
pub(super) const REMEDY: &str = "save model.state_dict() alone with torch.save";

/// A value on a pickle program's stack.
#[derive(Debug, Clone)]
pub(super) enum Value {
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
pub(super) type Handle = usize;

/// Runs the opcodes that state dicts consist of.
pub(super) struct Machine<'a> {
    program: &'a [u8],
    at: usize,
    stack: Vec<Value>,
    memo: HashMap<u32, Value>,
    pub(super) arena: Vec<Vec<Value>>,
}

impl<'a> Machine<'a> {
    pub(super) fn new(program: &'a [u8]) -> Self {
        Self { program, at: 0, stack: Vec::new(), memo: HashMap::new(), arena: Vec::new() }
    }

    /// Runs the program and returns its result.
    ///
    /// # Errors
    /// An opcode or a call that has no place in a state dict, or a program that is cut off.
    pub(super) fn run(&mut self) -> Result<Value, String> {
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

    /// Puts a container into the arena.
    pub(super) fn keep(&mut self, items: Vec<Value>) -> Handle {
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
            _ => return Err("items for something that is not a dict".into()),
        }
        Ok(())
    }

    fn extend(&mut self, items: Vec<Value>) -> Result<(), String> {
        let Some(Value::List(list)) = self.stack.last() else {
            return Err("items for something that is not a list".into());
        };
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

    /// An integer after a byte with its length. Integers beyond 64 bits are no sizes, so their values do not matter.
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

    /// Skips a value of `len` bytes that is no part of a model.
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

    /// Keys and values of a dict.
    pub(super) fn items(&self, dict: Handle) -> impl Iterator<Item = (&Value, &Value)> {
        self.arena[dict].chunks_exact(2).map(|item| (&item[0], &item[1]))
    }
}

/// Why `what` cannot be made.
pub(super) fn no_place(what: &Value) -> String {
    match what {
        Value::Global(name) => format!("{name} has no place in a state dict: {REMEDY}"),
        _ => format!("an object that has no place in a state dict: {REMEDY}"),
    }
}
