//! Attention of every token to its own text, forward and backward, group by group of nearly equally long texts.
//!
//! Three ways lead there. On a CPU in float32 and bfloat16 it is a kernel of our own. Elsewhere libtorch's fused kernels (flash
//! attention, or what a GPU has) never build the similarities of a text either. In float64 on a CPU, where they fall back to
//! building all similarities with dropout, probabilities exist for a tile of rows at a time and are computed again in
//! the backward pass.
//!
//! Legend: T tokens of the sub-batch, d hidden size, h heads, k head size, B and L texts and length of a group, N (text,
//! head) pairs of a tile, R its rows.

use tch::{Device, Kind, Tensor};

use crate::model::sub_batch::{Group, SubBatch};
use crate::ops::cpu::attention::Rows;
use crate::ops::cpu::dropout::Dropout;
use crate::ops::cpu::{self, elements, elements_mut, in_elements_of};
use crate::tensors::libtorch;

/// Probabilities of a tile at most: they stay in a core's cache.
const TILE_ELEMENTS: i64 = 1 << 19;
/// Rows of a tile at least: fewer would make thin matrix products.
const MIN_TILE_ROWS: i64 = 64;

/// What the forward pass leaves for the backward pass.
pub enum Attended {
    /// With the fused kernels, per group: queries, keys and values as leaves and the result above them, [B, h, L, k] each.
    Fused(Vec<([Tensor; 3], Tensor)>),
    /// In tiles: the result, [T, d].
    Tiled(Tensor),
    /// By the kernel: the result, [T, d], and the logarithms of its rows' sums of exponentials, [T, h].
    Kernel(Tensor, Tensor),
}

impl Attended {
    /// The result, [T, d].
    pub fn output(&self) -> Tensor {
        match self {
            Self::Tiled(output) | Self::Kernel(output, _) => output.shallow_clone(),
            Self::Fused(groups) => {
                let rows =
                    |(_, output): &([Tensor; 3], Tensor)| output.detach().transpose(1, 2).flatten(2, 3).flatten(0, 1);
                match &groups[..] {
                    [group] => rows(group),
                    _ => Tensor::cat(&groups.iter().map(rows).collect::<Vec<_>>(), 0),
                }
            }
        }
    }
}

/// How to attend.
#[derive(Debug, Clone, Copy)]
pub struct Attention {
    /// h.
    pub num_heads: i64,
    /// Of probabilities.
    pub dropout: Dropout,
}

impl Attention {
    fn fused(&self, qkv: &Tensor) -> bool {
        let falls_back = self.dropout.is_on() && qkv.device() == Device::Cpu;
        !falls_back
    }

    /// From queries, keys and values beside each other, [T, 3d], of which the kernel wants the `bias`, `[3d]` in float32, apart;
    /// `keep` keeps what the backward pass needs.
    pub fn forward(&self, qkv: &Tensor, bias: &Tensor, texts: &SubBatch, keep: bool) -> Attended {
        let groups = with_first_texts(texts);
        if cpu::serve(qkv) {
            self.forward_kernel(qkv, bias, &texts.rows)
        } else if self.fused(qkv) {
            Attended::Fused(groups.map(|(text, group)| self.forward_fused(qkv, group, text, keep)).collect())
        } else {
            let parts: Vec<Tensor> = groups.map(|(text, group)| self.forward_tiled(qkv, group, text)).collect();
            Attended::Tiled(if parts.len() == 1 { parts[0].shallow_clone() } else { Tensor::cat(&parts, 0) })
        }
    }

    /// The gradient of `qkv`, [T, 3d], from the output's, [T, d].
    pub fn backward(
        &self,
        qkv: &Tensor,
        bias: &Tensor,
        texts: &SubBatch,
        attended: Attended,
        d_output: &Tensor,
    ) -> Tensor {
        let mut graphs = match attended {
            Attended::Kernel(output, log_sums) => {
                return self.backward_kernel([qkv, bias], &texts.rows, [&output, &log_sums], d_output);
            }
            Attended::Fused(graphs) => graphs,
            Attended::Tiled(_) => Vec::new(),
        }
        .into_iter();
        let d_qkv = qkv.empty_like();
        for (text, group) in with_first_texts(texts) {
            let rows = |t: &Tensor| t.narrow(0, group.first, group.num_tokens());
            let shape = [group.num_texts, group.len, 3, self.num_heads, -1];
            let (d_group, d_out) = (rows(&d_qkv).view(shape), rows(d_output).view([shape[0], shape[1], shape[3], -1]));
            let gradients = match graphs.next() {
                Some((leaves, output)) => {
                    libtorch::backward(&[(&output, &d_out.transpose(1, 2))]);
                    leaves.map(|leaf| leaf.grad())
                }
                None => self.backward_tiled(qkv, group, text, &d_out),
            };
            for (i, gradient) in (0..3).zip(gradients) {
                d_group.select(2, i).transpose(1, 2).copy_(&gradient);
            }
        }
        d_qkv
    }

    fn kernel<'a>(&self, bias: &'a Tensor, texts: &'a [Rows]) -> cpu::attention::Attention<'a> {
        let (bias, num_heads) = (elements::<f32>(bias), self.num_heads as usize);
        let head_len = bias.len() / 3 / num_heads;
        cpu::attention::Attention { texts, num_heads, head_len, bias, dropout: self.dropout }
    }

    fn forward_kernel(&self, qkv: &Tensor, bias: &Tensor, texts: &[Rows]) -> Attended {
        let size = qkv.size();
        // Zeros for padding, whose rows the kernel leaves out.
        let mut output = Tensor::zeros([size[0], size[1] / 3], (qkv.kind(), Device::Cpu));
        let mut log_sums = Tensor::zeros([size[0], self.num_heads], (Kind::Float, Device::Cpu));
        let kernel = self.kernel(bias, texts);
        in_elements_of!(qkv, E => {
            kernel.forward(elements::<E>(qkv), elements_mut(&mut output), elements_mut(&mut log_sums));
        });
        Attended::Kernel(output, log_sums)
    }

    fn backward_kernel(
        &self,
        [qkv, bias]: [&Tensor; 2],
        texts: &[Rows],
        [output, log_sums]: [&Tensor; 2],
        d_output: &Tensor,
    ) -> Tensor {
        let mut d_qkv = qkv.zeros_like();
        let kernel = self.kernel(bias, texts);
        in_elements_of!(qkv, E => {
            let saved = [output, d_output].map(elements::<E>);
            kernel.backward(elements(qkv), saved, elements(log_sums), elements_mut(&mut d_qkv));
        });
        d_qkv
    }

    fn forward_fused(&self, qkv: &Tensor, group: &Group, text: usize, keep: bool) -> ([Tensor; 3], Tensor) {
        // Dimensions are views of one matrix; each is a leaf of its own, so that each gets a gradient of its own.
        let parts = self.split(qkv, group).map(|part| part.detach().set_requires_grad(keep)); // [B, h, L, k]
        let [query, key, value] = &parts;
        if self.dropout.is_on() {
            tch::manual_seed(self.dropout.at(text as u64).seed());
        }
        let (mask, p) = (group.attention_mask.as_ref(), self.dropout.probability());
        let attend = || Tensor::scaled_dot_product_attention(query, key, value, mask, p, false, None, false);
        let attended = if keep { tch::with_grad(attend) } else { tch::no_grad(attend) };
        (parts, attended)
    }

    /// [B·L, d] of one group.
    fn forward_tiled(&self, qkv: &Tensor, group: &Group, text: usize) -> Tensor {
        let [query, key, value] = self.pairs(qkv, group);
        let output = query.empty_like();
        for tile in tiles(group, query.size()[0]) {
            let probabilities = self.probabilities(&tile, &query, &key, group);
            self.drop_tile(&tile, text, &probabilities);
            tile.rows(&output).copy_(&probabilities.bmm(&tile.pairs(&value)));
        }
        let shape = [group.num_texts, self.num_heads, group.len, -1];
        output.view(shape).transpose(1, 2).reshape([group.num_tokens(), -1])
    }

    /// Gradients of queries, keys and values, [B, h, L, k] each, from the output's [B, L, h, k].
    fn backward_tiled(&self, qkv: &Tensor, group: &Group, text: usize, d_output: &Tensor) -> [Tensor; 3] {
        let [query, key, value] = self.pairs(qkv, group);
        let d_output = d_output.transpose(1, 2).reshape(query.size().as_slice()); // [B·h, L, k]
        let d_query = query.empty_like();
        let (d_key, d_value) = (key.zeros_like(), value.zeros_like());
        for tile in tiles(group, query.size()[0]) {
            let probabilities = self.probabilities(&tile, &query, &key, group); // [N, R, L]
            let d_rows = tile.rows(&d_output); // [N, R, k]
            let mut dropped = probabilities.shallow_clone();
            if self.dropout.is_on() {
                dropped = probabilities.copy();
                self.drop_tile(&tile, text, &dropped);
            }
            let _ = tile.pairs(&d_value).baddbmm_(&dropped.transpose(1, 2), &d_rows);
            let d_probabilities = d_rows.bmm(&tile.pairs(&value).transpose(1, 2)); // [N, R, L]
            self.drop_tile(&tile, text, &d_probabilities);
            let kind = probabilities.kind();
            let d_similarities =
                Tensor::internal_softmax_backward_data(&d_probabilities, &probabilities, -1, kind) * scale(&query);
            tile.rows(&d_query).copy_(&d_similarities.bmm(&tile.pairs(&key)));
            let _ = tile.pairs(&d_key).baddbmm_(&d_similarities.transpose(1, 2), &tile.rows(&query));
        }
        let shape = [group.num_texts, self.num_heads, group.len, -1];
        [d_query, d_key, d_value].map(|gradient| gradient.view(shape))
    }

    /// Dropout of a tile's probabilities, [N, R, L], in place, by the same masks as the kernel's; `text` is the group's first.
    fn drop_tile(&self, tile: &Tile, text: usize, probabilities: &Tensor) {
        if !self.dropout.is_on() {
            return;
        }
        let (first, len) = (text as i64 * self.num_heads + tile.first_pair, probabilities.size()[2]);
        for pair in 0..tile.num_pairs {
            let dropout = self.dropout.at((first + pair) as u64);
            dropout.apply_from((tile.first_row * len) as usize, &mut probabilities.get(pair));
        }
    }

    /// Softmax of a tile's similarities, [N, R, L].
    fn probabilities(&self, tile: &Tile, query: &Tensor, key: &Tensor, group: &Group) -> Tensor {
        let query = tile.rows(query) * scale(query);
        let mut similarities = query.bmm(&tile.pairs(key).transpose(1, 2)); // [N, R, L]
        if let Some(mask) = &group.attention_mask {
            let shape = [group.num_texts, self.num_heads, 1, group.len];
            let mask = mask.expand(shape, false).reshape([-1, 1, group.len]); // [B·h, 1, L]
            let _ = similarities.masked_fill_(&tile.pairs(&mask).logical_not(), f64::NEG_INFINITY);
        }
        similarities.softmax(-1, None)
    }

    /// Views of queries, keys and values of a group, [B, h, L, k].
    fn split(&self, qkv: &Tensor, group: &Group) -> [Tensor; 3] {
        let rows = qkv.narrow(0, group.first, group.num_tokens());
        let parts = rows.view([group.num_texts, group.len, 3, self.num_heads, -1]);
        [0, 1, 2].map(|i| parts.select(2, i).transpose(1, 2))
    }

    /// The same with texts and heads in one dimension, [B·h, L, k], contiguous.
    fn pairs(&self, qkv: &Tensor, group: &Group) -> [Tensor; 3] {
        self.split(qkv, group).map(|part| part.reshape([group.num_texts * self.num_heads, group.len, -1]))
    }
}

/// The groups, each with the number of its first text.
fn with_first_texts(texts: &SubBatch) -> impl Iterator<Item = (usize, &Group)> {
    texts.groups.iter().scan(0, |text, group| {
        let first = *text;
        *text += group.num_texts as usize;
        Some((first, group))
    })
}

/// Similarities are divided by the root of the head size, the last of `query`'s three dimensions.
pub(super) fn scale(query: &Tensor) -> f64 {
    (query.size()[2] as f64).powf(-0.5)
}

/// Rows `first_row..first_row + num_rows` of pairs `first_pair..first_pair + num_pairs`.
struct Tile {
    first_pair: i64,
    num_pairs: i64,
    first_row: i64,
    num_rows: i64,
}

impl Tile {
    fn pairs(&self, t: &Tensor) -> Tensor {
        t.narrow(0, self.first_pair, self.num_pairs)
    }

    fn rows(&self, t: &Tensor) -> Tensor {
        self.pairs(t).narrow(1, self.first_row, self.num_rows)
    }
}

/// All rows of all pairs: several pairs in a tile where texts are short, part of a pair where they are long.
fn tiles(group: &Group, num_pairs: i64) -> Vec<Tile> {
    let len = group.len;
    let pairs = (TILE_ELEMENTS / (len * len)).clamp(1, num_pairs);
    let rows = if pairs > 1 { len } else { (TILE_ELEMENTS / len).clamp(MIN_TILE_ROWS.min(len), len) };
    let mut tiles = Vec::new();
    for first_pair in (0..num_pairs).step_by(pairs as usize) {
        for first_row in (0..len).step_by(rows as usize) {
            tiles.push(Tile {
                first_pair,
                num_pairs: pairs.min(num_pairs - first_pair),
                first_row,
                num_rows: rows.min(len - first_row),
            });
        }
    }
    tiles
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Two texts of `len` tokens in float64, the second `padding` shorter.
    fn group(len: i64, padding: i64) -> (Tensor, Group) {
        let options = (Kind::Double, Device::Cpu);
        let qkv = (Tensor::arange(2 * len * 3 * 8, options) * 0.7).sin().view([2 * len, 24]) * 3.0;
        let place = Tensor::arange(2 * len, (Kind::Int64, Device::Cpu)).view([2, 1, 1, len]);
        let attention_mask = (padding > 0).then(|| place.lt(2 * len - padding));
        (qkv, Group { first: 0, num_texts: 2, len, attention_mask })
    }

    fn close(a: &Tensor, b: &Tensor) -> bool {
        a.allclose(b, 1e-10, 1e-10, false)
    }

    #[test]
    fn tiles_are_the_fused_kernels() {
        let attention = Attention { num_heads: 2, dropout: Dropout::new(0, 0.0) };
        // Many pairs in a tile, and many tiles in a pair.
        for (len, padding) in [(5, 0), (5, 2), (900, 0), (900, 7)] {
            let (qkv, group) = group(len, padding);
            let (leaves, fused) = attention.forward_fused(&qkv, &group, 0, true);
            let tiled = attention.forward_tiled(&qkv, &group, 0);
            let rows = |t: &Tensor| t.detach().transpose(1, 2).reshape([2 * len, 8]);
            assert!(close(&rows(&fused), &tiled), "{len} tokens, {padding} of them padding");

            let d_output = (Tensor::arange(2 * len * 8, (Kind::Double, Device::Cpu)) * 0.3).cos().view([2, len, 2, 4]);
            libtorch::backward(&[(&fused, &d_output.transpose(1, 2))]);
            for (leaf, by_tiles) in leaves.iter().zip(attention.backward_tiled(&qkv, &group, 0, &d_output)) {
                assert!(close(&leaf.grad(), &by_tiles), "{len} tokens, {padding} of them padding: backward");
            }
        }
    }

    #[test]
    fn tiles_cover_every_row_of_every_pair_once_and_stay_small() {
        for (len, pairs) in [(1, 3), (64, 1000), (700, 12), (8192, 2)] {
            let group = Group { first: 0, num_texts: 1, len, attention_mask: None };
            let tiles = tiles(&group, pairs);
            let rows: i64 = tiles.iter().map(|tile| tile.num_pairs * tile.num_rows).sum();
            assert_eq!(rows, len * pairs);
            assert!(tiles.iter().all(|t| t.num_pairs * t.num_rows * len <= TILE_ELEMENTS.max(MIN_TILE_ROWS * len)));
        }
    }
}
