//! Attention by libtorch's fused kernels, forward and, through autograd, backward; a group of texts at a time.
//!
//! Legend: T tokens, d hidden size, h heads, k head size, B and L texts and length of a group.

use tch::Tensor;

use super::settings::Attention;
use super::texts::Group;
use crate::tensors::libtorch;

/// Per group: queries, keys and values as leaves, with gradients if `keep` says so, and the result above them, [B, h,
/// L, k] each, from [T, 3d].
pub fn forward(attention: &Attention, qkv: &Tensor, groups: &[Group], keep: bool) -> Vec<([Tensor; 3], Tensor)> {
    with_first_texts(groups).map(|(text, group)| forward_group(attention, qkv, group, text, keep)).collect()
}

/// The result, [T, d].
pub fn output(groups: &[([Tensor; 3], Tensor)]) -> Tensor {
    let rows = |(_, output): &([Tensor; 3], Tensor)| output.detach().transpose(1, 2).flatten(2, 3).flatten(0, 1);
    match groups {
        [group] => rows(group),
        _ => Tensor::cat(&groups.iter().map(rows).collect::<Vec<_>>(), 0),
    }
}

/// The gradient of `qkv`, [T, 3d], from the result's, [T, d].
pub fn backward(
    attention: &Attention,
    qkv: &Tensor,
    groups: &[Group],
    graphs: Vec<([Tensor; 3], Tensor)>,
    d_output: &Tensor,
) -> Tensor {
    let d_qkv = qkv.empty_like();
    for (group, (leaves, output)) in groups.iter().zip(graphs) {
        let d_rows = d_output.narrow(0, group.first, group.num_tokens());
        let d_group = d_rows.view([group.num_texts, group.len, attention.num_heads, -1]).transpose(1, 2);
        libtorch::backward(&[(&output, &d_group)]);
        for (mut into, leaf) in split(attention, &d_qkv, group).into_iter().zip(leaves) {
            into.copy_(&leaf.grad());
        }
    }
    d_qkv
}

/// The kernel that libtorch chooses, by the names of its `SDPBackend`.
pub fn kernel_name(attention: &Attention, qkv: &Tensor, group: &Group) -> &'static str {
    let [query, key, value] = split(attention, qkv, group).map(|part| part.detach().set_requires_grad(true));
    let (mask, p) = (group.attention_mask.as_ref(), attention.dropout.probability());
    let choose = || Tensor::internal_fused_sdp_choice(&query, &key, &value, mask, p, false, None, false);
    match tch::with_grad(choose) {
        0 => "math",
        1 => "flash",
        2 => "efficient",
        3 => "cudnn",
        _ => "unknown",
    }
}

fn forward_group(attention: &Attention, qkv: &Tensor, group: &Group, text: usize, keep: bool) -> ([Tensor; 3], Tensor) {
    // Queries, keys and values are views of one matrix. Each is a leaf, so that each gets its own gradient.
    let parts = split(attention, qkv, group).map(|part| part.detach().set_requires_grad(keep)); // [B, h, L, k]
    let [query, key, value] = &parts;
    let dropout = attention.dropout;
    let (mask, p) = (group.attention_mask.as_ref(), dropout.probability());
    let attend = || Tensor::scaled_dot_product_attention(query, key, value, mask, p, false, None, false);
    let attend = || if keep { tch::with_grad(attend) } else { tch::no_grad(attend) };
    let output = if dropout.is_on() { dropout.at(text as u64).drawn_by_libtorch(attend) } else { attend() };
    (parts, output)
}

/// The groups, each with the number of its first text.
fn with_first_texts(groups: &[Group]) -> impl Iterator<Item = (usize, &Group)> {
    groups.iter().scan(0, |text, group| {
        let first = *text;
        *text += group.num_texts as usize;
        Some((first, group))
    })
}

/// Views of queries, keys and values of a group, [B, h, L, k].
fn split(attention: &Attention, qkv: &Tensor, group: &Group) -> [Tensor; 3] {
    let rows = qkv.narrow(0, group.first, group.num_tokens());
    let parts = rows.view([group.num_texts, group.len, 3, attention.num_heads, -1]);
    [0, 1, 2].map(|i| parts.select(2, i).transpose(1, 2))
}
