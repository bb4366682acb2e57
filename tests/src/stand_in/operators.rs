//! What libtorch's own list of operators says of CUDA.
//!
//! The list is native_functions.yaml of torchgen, which comes with libtorch's wheel. Only three of its keys are read,
//! each on a line of its own:
//!
//! ```yaml
//! - func: mm.out(Tensor self, Tensor mat2, *, Tensor(a!) out) -> Tensor(a!)
//!   device_check: NoCheck
//!   dispatch:
//!     CPU: mm_out_cpu
//!     SparseCPU, SparseCUDA: _sparse_mm_out
//! ```

/// An operator, with its overload.
#[derive(Debug, Default)]
struct Operator<'a> {
    name: &'a str,
    /// Its kernels go through TensorIterator, or look at devices themselves.
    is_unchecked: bool,
    /// Its kernels are another operator's.
    is_delegate: bool,
    has_cpu: bool,
    has_cuda: bool,
    /// It has a kernel that calls other operators, for all devices that have none of their own.
    is_composite: bool,
}

/// The C++ header that the stand-in includes: macros that call `X` with each name of a list.
///
/// - `UNCHECKED`: CPU tensors without dimensions may be read.
/// - `SHADOWED`: CUDA has a kernel, and there is a composite one that would be taken without CUDA.
/// - `WITHOUT_CPU`: CUDA has a kernel, and the CPU has none.
/// - `WITHOUT_CUDA`: the CPU has a kernel, and CUDA has none.
pub fn header(list: &str) -> String {
    let operators = operators(list);
    let macros = [
        ("UNCHECKED", named(&operators, |op| op.is_unchecked)),
        ("SHADOWED", named(&operators, |op| op.has_cuda && op.is_composite)),
        ("WITHOUT_CPU", named(&operators, |op| op.has_cuda && !op.has_cpu && !op.is_composite)),
        ("WITHOUT_CUDA", named(&operators, |op| op.has_cpu && !op.has_cuda && !op.is_composite && !op.is_delegate)),
    ];
    let lines = macros.map(|(name, names)| {
        let calls: String = names.iter().map(|name| format!(" \\\n  X(\"{name}\")")).collect();
        format!("#define {name}(X){calls}\n\n")
    });
    lines.concat()
}

fn named<'a>(operators: &[Operator<'a>], which: impl Fn(&Operator) -> bool) -> Vec<&'a str> {
    operators.iter().filter(|op| which(op)).map(|op| op.name).collect()
}

fn operators(list: &str) -> Vec<Operator<'_>> {
    let (mut found, mut in_dispatch) = (Vec::<Operator>::new(), false);
    for line in list.lines().filter(|line| !line.trim_start().starts_with('#') && !line.trim().is_empty()) {
        if let Some(schema) = line.strip_prefix("- func: ") {
            let name = schema.split('(').next().unwrap_or_default();
            found.push(Operator { name, ..Operator::default() });
        }
        let Some(last) = found.last_mut() else { continue };
        let text = line.split(" #").next().unwrap_or_default().trim();
        let indent = line.len() - line.trim_start().len();
        if indent <= 2 {
            in_dispatch = text == "dispatch:";
            last.is_unchecked |= text == "device_check: NoCheck";
            last.is_delegate |= text.starts_with("structured_delegate:");
        } else if in_dispatch && let Some((keys, _kernel)) = text.split_once(':') {
            for key in keys.split(',').map(str::trim) {
                last.has_cpu |= key == "CPU";
                last.has_cuda |= key == "CUDA";
                last.is_composite |= key.starts_with("Composite");
            }
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_list_says_of_cuda_is_read() {
        let list = "\
# A comment.
- func: add.out(Tensor self, *, Tensor(a!) out) -> Tensor(a!)
  device_check: NoCheck   # TensorIterator
  dispatch:
    SparseCPU, SparseCUDA: add_out_sparse
    CPU, CUDA: add_out
  tags: core

- func: layer_norm(Tensor a) -> Tensor
  dispatch:
    # A comment.
    CUDA: layer_norm_cuda
    CompositeExplicitAutograd: layer_norm
- func: mm.dtype(Tensor a) -> Tensor
  dispatch:
    CUDA: mm_dtype
- func: mm(Tensor a) -> Tensor
  structured_delegate: mm.out
  dispatch:
    SparseCPU: mm_sparse
- func: rnn(Tensor a) -> Tensor
  dispatch:
    CPU: rnn
";
        let expected = [
            "#define UNCHECKED(X) \\\n  X(\"add.out\")\n\n",
            "#define SHADOWED(X) \\\n  X(\"layer_norm\")\n\n",
            "#define WITHOUT_CPU(X) \\\n  X(\"mm.dtype\")\n\n",
            "#define WITHOUT_CUDA(X) \\\n  X(\"rnn\")\n\n",
        ];
        assert_eq!(header(list), expected.concat());
    }
}
