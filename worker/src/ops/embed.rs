//! Embeddings: the sum of rows of three tables, words, positions and token types, and its gradient.
//!
//! The sum is linear in the tables, so the gradient is three additions. Autograd would allocate the gradient of a whole
//! table for every sub-batch. libtorch's operations do it on every device.
//!
//! Legend: T tokens, d the width.

use tch::{Kind, Tensor};

use super::sums::add_rows;

/// Words + positions + token type 0 of every token, [T, d]; `ids` and `places` are int64 `[T]`.
pub fn forward([words, positions, types]: &[Tensor; 3], ids: &Tensor, places: &Tensor) -> Tensor {
    let mut sum = words.index_select(0, ids);
    sum.g_add_(&positions.index_select(0, places)).g_add_(&types.get(0))
}

/// Adds the gradient of the sum, [T, d], to the tables' gradients.
pub fn backward([mut words, positions, types]: [Tensor; 3], ids: &Tensor, places: &Tensor, grad: &Tensor) {
    add_rows(&mut words, ids, grad);
    add_position_gradient(positions, places, grad);
    add_type_gradient(types, grad);
}

/// Adds the position table's part of the gradient alone.
pub fn add_position_gradient(mut positions: Tensor, places: &Tensor, grad: &Tensor) {
    add_rows(&mut positions, places, grad);
}

/// Adds the token-type table's part of the gradient alone.
pub fn add_type_gradient(types: Tensor, grad: &Tensor) {
    let _ = types.get(0).g_add_(&grad.sum_dim_intlist([0i64].as_slice(), false, None::<Kind>));
}
