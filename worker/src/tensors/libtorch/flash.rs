//! libtorch's flash attention over texts that lie side by side, called directly: `scaled_dot_product_attention` reaches
//! it for a rectangle of equally long texts alone.

use std::ffi::c_char;
use std::ptr;

use tch::Tensor;

use super::{Handle, checked, handle};

unsafe extern "C" {
    #[allow(clippy::too_many_arguments, reason = "as libtorch has it")]
    fn tercet_flash_attention(
        query: *const Handle,
        key: *const Handle,
        value: *const Handle,
        starts_query: *const Handle,
        starts_key: *const Handle,
        longest_query: i64,
        longest_key: i64,
        dropout: f64,
        scale: f64,
        out: *mut *mut Handle,
        error: *mut c_char,
        error_len: usize,
    ) -> bool;
}

/// What the forward pass saves for the backward pass.
pub struct FlashAttention {
    /// The result, [R, h, k].
    pub output: Tensor,
    log_sums: Tensor,
    /// What dropout's masks follow from.
    random: [Tensor; 2],
}

/// Queries [R, h, k] attend to keys and values [T, h, k]; `starts` says where texts begin and end, int32 `[texts + 1]`,
/// among the R and among the T, and `longest` how much of each the largest text has.
pub fn flash_attention(
    [query, key, value]: [&Tensor; 3],
    starts: [&Tensor; 2],
    longest: [i64; 2],
    dropout: f64,
    scale: f64,
) -> FlashAttention {
    let mut out = [ptr::null_mut(); 4];
    checked(|error, len| {
        // SAFETY: all handles are of live tensors; `out` has room for the four that a successful call makes.
        unsafe {
            tercet_flash_attention(
                handle(query),
                handle(key),
                handle(value),
                handle(starts[0]),
                handle(starts[1]),
                longest[0],
                longest[1],
                dropout,
                scale,
                out.as_mut_ptr(),
                error,
                len,
            )
        }
    });
    // SAFETY: the call made four tensors and gave them away.
    let [output, log_sums, state, unused] = out.map(|made| unsafe { Tensor::from_ptr(made.cast()) });
    FlashAttention { output, log_sums, random: [state, unused] }
}

impl FlashAttention {
    /// The gradients of queries, keys and values from the result's, [R, h, k]; what else is given is what
    /// [`flash_attention`] got.
    pub fn backward(
        &self,
        d_output: &Tensor,
        [query, key, value]: [&Tensor; 3],
        starts: [&Tensor; 2],
        longest: [i64; 2],
        dropout: f64,
        scale: f64,
    ) -> [Tensor; 3] {
        const CAUSAL: bool = false;
        let [state, unused] = &self.random;
        let (d_query, d_key, d_value) = Tensor::internal_flash_attention_backward(
            d_output,
            query,
            key,
            value,
            &self.output,
            &self.log_sums,
            starts[0],
            starts[1],
            longest[0],
            longest[1],
            dropout,
            CAUSAL,
            state,
            unused,
            scale,
            None,
            None,
        );
        [d_query, d_key, d_value]
    }
}
