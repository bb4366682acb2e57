//! The state dict that a pickle program builds: tensors' names, and how each tensor lies in its storage.

use std::rc::Rc;

use tch::Kind;

use super::machine::{Handle, Machine, REMEDY, Value, no_place};
use super::tensor_ref::{Storage, TensorRef};

/// Keys under which checkpoints with more in them keep the model's state dict.
const INNER: [&str; 4] = ["state_dict", "model_state_dict", "model", "module"];

/// A tensor's name and layout.
pub type Named = (Rc<str>, Rc<TensorRef>);

/// The tensors of a state dict, in its order.
#[derive(Debug)]
pub struct StateDict {
    /// Name and layout.
    pub tensors: Vec<Named>,
}

/// Runs `program`, and finds the state dict in its result.
///
/// # Errors
/// A program of another kind, or no state dict.
pub fn run(program: &[u8]) -> Result<StateDict, String> {
    let mut machine = Machine::new(program);
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

/// The meaning of torch's calls in a state dict.
impl Machine<'_> {
    /// The tensors among the dict's values.
    fn tensors(&self, dict: Handle) -> Result<Vec<Named>, String> {
        let tensors = self.items(dict).filter_map(|item| match item {
            (Value::Text(name), Value::Tensor(tensor)) => Some(Ok((name.clone(), tensor.clone()))),
            (_, Value::Tensor(_)) => Some(Err("a tensor whose name is not text".into())),
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
    pub(super) fn storage(&self, id: &Value) -> Result<Value, String> {
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

    /// The result of a call: those that occur in state dicts, and beside them in checkpoints.
    pub(super) fn call(&mut self, callee: &Value, arguments: &Value) -> Result<Value, String> {
        let (Value::Global(name), Value::Tuple(tuple)) = (callee, arguments) else {
            return Err("a call of something that is not a function".into());
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
                // One level only: the function called is one of the others.
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
            let number = |value: &Value| {
                if let Value::Int(n) = value { Ok(*n) } else { Err("a size that is not a number".into()) }
            };
            self.arena[*tuple].iter().map(number).collect()
        };
        let (shape, strides) = (numbers(shape)?, numbers(strides)?);
        Ok(Value::Tensor(Rc::new(TensorRef { storage: storage.clone(), offset: *offset, shape, strides })))
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
