//! Dense scores: s[q, p] = ⟨e_q, e_p⟩.

use tch::Tensor;

/// [Q, P] from queries [Q, d] and passages [P, d].
pub fn forward(queries: &Tensor, passages: &Tensor) -> Tensor {
    queries.matmul(&passages.tr())
}

/// Adds the gradients from `d_scores` [Q, P] to `d_queries` [Q, d] and `d_passages` [P, d].
pub fn backward(
    (queries, passages): (&Tensor, &Tensor),
    d_scores: &Tensor,
    (d_queries, d_passages): (&mut Tensor, &mut Tensor),
) {
    let _ = d_queries.g_add_(&d_scores.matmul(passages));
    let _ = d_passages.g_add_(&d_scores.tr().matmul(queries));
}
