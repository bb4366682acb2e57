//! Attention of query rows to the tokens that each of them may see: enhanced decoding (Xiao et al., 2022, arXiv
//! 2205.12035). On a CPU in float32 and bfloat16 it is a kernel of our own. Elsewhere libtorch's operations do it:
//! masks and probabilities row by row exist for one tile of rows at a time only.
//!
//! Legend: R query rows, T tokens of the sub-batch, d hidden size, h heads, k head size; of a text: n tokens, r the
//! rows of a tile.

use std::ops::Range;

use tch::Tensor;
use tercet_configs::limits::VISIBLE_TILE_ELEMENTS;

use super::cross::CrossAttention;
use super::settings::{Attention, scale};
use super::visible::{Visible, VisibleText};
use crate::ops::Engine;
use crate::ops::cpu::attention::VisibleAttention;
use crate::ops::dropout::Dropout;

/// A tile of a text's rows, every head apart.
struct Tile {
    /// Among the R.
    rows: Range<i64>,
    /// [h, r, k].
    query: Tensor,
    /// Before dropout, [h, r, n].
    probabilities: Tensor,
    /// [r, 1].
    sees: Option<Tensor>,
    /// The text's number, the tile's in its text, and its first row's.
    number: [u64; 3],
}

impl Attention {
    /// What the rows attend to, [R, d].
    pub fn forward_visible(&self, cross: &CrossAttention, visible: &Visible) -> Tensor {
        match Engine::of(&cross.query) {
            Engine::Cpu => self.visible_kernel(visible).forward(&cross.query, &cross.key_value),
            Engine::Cuda | Engine::Libtorch => self.forward_tiles(cross, visible),
        }
    }

    /// Gradients of queries, keys and values from the result's, [R, d].
    pub fn backward_visible(&self, cross: &CrossAttention, visible: &Visible, d_output: &Tensor) -> CrossAttention {
        match Engine::of(&cross.query) {
            Engine::Cpu => {
                let [query, key_value] =
                    self.visible_kernel(visible).backward(&cross.query, &cross.key_value, d_output);
                CrossAttention { query, key_value }
            }
            Engine::Cuda | Engine::Libtorch => self.backward_tiles(cross, visible, d_output),
        }
    }

    fn visible_kernel(&self, visible: &Visible) -> VisibleAttention {
        VisibleAttention::new(visible, self.num_heads, self.dropout)
    }

    fn forward_tiles(&self, cross: &CrossAttention, visible: &Visible) -> Tensor {
        let output = cross.query.empty_like();
        for (i, text) in visible.texts.iter().enumerate() {
            let [key, value] = self.text_key_and_value(&cross.key_value, text);
            for tile in self.tiles(i, text, &cross.query, &key) {
                let Tile { rows, .. } = &tile;
                let mut into = self.by_head(&output.narrow(0, rows.start, rows.end - rows.start));
                into.copy_(&self.used(&tile).bmm(&value));
            }
        }
        output
    }

    fn backward_tiles(&self, cross: &CrossAttention, visible: &Visible, d_output: &Tensor) -> CrossAttention {
        let d = CrossAttention { query: cross.query.empty_like(), key_value: cross.key_value.zeros_like() };
        for (i, text) in visible.texts.iter().enumerate() {
            let [key, value] = self.text_key_and_value(&cross.key_value, text);
            let [mut d_key, mut d_value] = self.text_key_and_value(&d.key_value, text);
            for tile in self.tiles(i, text, &cross.query, &key) {
                let Tile { rows, query, probabilities, sees, .. } = &tile;
                let of_rows = |all: &Tensor| self.by_head(&all.narrow(0, rows.start, rows.end - rows.start));
                let d_rows = of_rows(d_output); // [h, r, k]
                let _ = d_value.g_add_(&self.used(&tile).transpose(1, 2).bmm(&d_rows));
                let mut d_probabilities = d_rows.bmm(&value.transpose(1, 2)); // [h, r, n]
                self.drop(&tile, &mut d_probabilities);
                if let Some(sees) = sees {
                    let _ = d_probabilities.g_mul_(sees);
                }
                let kind = probabilities.kind();
                let d_similarities =
                    Tensor::internal_softmax_backward_data(&d_probabilities, probabilities, -1, kind) * scale(query);
                of_rows(&d.query).copy_(&d_similarities.bmm(&key));
                let _ = d_key.g_add_(&d_similarities.transpose(1, 2).bmm(query));
            }
        }
        d
    }

    /// The tiles of text number `i`.
    fn tiles<'a>(
        &'a self,
        i: usize,
        text: &'a VisibleText,
        query: &'a Tensor,
        key: &'a Tensor,
    ) -> impl Iterator<Item = Tile> + 'a {
        let num_tokens = text.tokens.end - text.tokens.start;
        let most = VISIBLE_TILE_ELEMENTS[usize::from(query.device().is_cuda())] as i64;
        let tile_rows = (most / (self.num_heads * num_tokens)).max(1);
        let num_rows = text.rows.end - text.rows.start;
        (0..num_rows).step_by(tile_rows as usize).zip(0u64..).map(move |(first, number)| {
            let len = tile_rows.min(num_rows - first);
            let rows = text.rows.start + first..text.rows.start + first + len;
            let query = self.by_head(&query.narrow(0, rows.start, len));
            let sees = text.sees.as_ref().map(|sees| sees.narrow(0, first, len));
            let mut similarities = (&query * scale(&query)).bmm(&key.transpose(1, 2)); // [h, r, n]
            let _ = similarities.g_add_(&text.mask(first, len, sees.as_ref(), query.kind()));
            let probabilities = similarities.softmax(-1, None);
            Tile { rows, query, probabilities, sees, number: [i as u64, number, first as u64] }
        })
    }

    /// The weights of the values, [h, r, n].
    fn used(&self, tile: &Tile) -> Tensor {
        let mut used = tile.probabilities.copy();
        self.drop(tile, &mut used);
        if let Some(sees) = &tile.sees {
            let _ = used.g_mul_(sees);
        }
        used
    }

    /// Dropout of a tile's numbers, [h, r, n], in place. The masks are those of the CPU's kernel, in which every head
    /// of every text has its own; where libtorch draws them, one is drawn for the tile.
    fn drop(&self, tile: &Tile, numbers: &mut Tensor) {
        let [text, tile_number, first_row] = tile.number;
        if Dropout::is_by_place(numbers.device()) {
            for head in 0..self.num_heads {
                let dropout = self.dropout.at(text * self.num_heads as u64 + head as u64);
                let first = first_row as i64 * numbers.size()[2];
                dropout.beginning_at(first).apply(&mut numbers.get(head));
            }
        } else {
            self.dropout.at((text << 32) + tile_number).apply(numbers);
        }
    }

    /// A view of rows, [h, r, k] of [r, d].
    fn by_head(&self, rows: &Tensor) -> Tensor {
        rows.view([rows.size()[0], self.num_heads, -1]).transpose(0, 1)
    }

    /// Views of a text's keys and values, [h, n, k].
    fn text_key_and_value(&self, key_value: &Tensor, text: &VisibleText) -> [Tensor; 2] {
        let len = text.tokens.end - text.tokens.start;
        let parts = key_value.narrow(0, text.tokens.start, len).view([len, 2, self.num_heads, -1]);
        [0, 1].map(|i| parts.select(1, i).transpose(0, 1))
    }
}
