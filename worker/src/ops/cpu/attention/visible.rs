//! Attention of query rows to the tokens that each of them may see. As in attention of all tokens, similarities exist
//! for a few rows of one text and head at a time, in a core's cache, and are computed again in the backward pass.
//!
//! Legend: R query rows, T tokens, d hidden size, h heads, k head size; of a text: n tokens, N those in whole vectors,
//! S mask sets.

use pulp::{Arch, Simd, WithSimd};
use tch::Tensor;

use super::backward::inner_product;
use super::forward::{exponentials, maximum};
use super::pair::{MAX_ROWS, Pair, Pairs, Room, rows_at_a_time, transpose};
use super::parallel_pairs;
use crate::ops::attention::{TextSpan, Visible, VisibleText};
use crate::ops::cpu::product::{Left, Shape, multiply};
use crate::ops::cpu::{Element, Shared, elements, elements_mut, in_elements_of};
use crate::ops::dropout::Dropout;

/// What all texts and heads have in common.
pub struct VisibleAttention {
    texts: Vec<Text>,
    /// h.
    num_heads: usize,
    /// Dropout of probabilities.
    dropout: Dropout,
}

/// What the rows of a text may see.
struct Text {
    /// Among the R.
    rows: TextSpan,
    /// Among the T.
    tokens: TextSpan,
    /// Whether a set hides a place, [S, n].
    hidden: Vec<bool>,
    /// How many places a set leaves visible, `[S]`.
    num_visible: Vec<usize>,
    /// `[rows]`.
    set_of_row: Vec<i64>,
    /// `[rows]`.
    place_of_row: Vec<i64>,
}

impl VisibleAttention {
    /// Attention to what is `visible`, which lies on the CPU.
    pub fn new(visible: &Visible, num_heads: i64, dropout: Dropout) -> Self {
        let texts = visible.texts.iter().map(Text::new).collect();
        Self { texts, num_heads: num_heads as usize, dropout }
    }

    /// The result, [R, d], from queries, [R, d], and keys and values beside each other, [T, 2d], all with their bias.
    ///
    /// # Panics
    /// If tensors have other sizes.
    pub fn forward(&self, query: &Tensor, key_value: &Tensor) -> Tensor {
        let mut output = query.empty_like();
        in_elements_of!(query, E => {
            let numbers = Numbers::<E>::new(self, query, key_value);
            let output = Shared::new(elements_mut(&mut output));
            self.for_each_pair(|pairs| Arch::new().dispatch(Forward { numbers, pairs, output }));
        });
        output
    }

    /// The gradients of queries, [R, d], and of keys and values, [T, 2d], from the result's, [R, d]. Tokens that belong
    /// to no text get 0.
    ///
    /// # Panics
    /// If tensors have other sizes.
    pub fn backward(&self, query: &Tensor, key_value: &Tensor, d_output: &Tensor) -> [Tensor; 2] {
        let (mut d_query, mut d_key_value) = (query.empty_like(), key_value.zeros_like());
        in_elements_of!(query, E => {
            let numbers = Numbers::<E>::new(self, query, key_value);
            let d_output = elements::<E>(d_output);
            assert_eq!(d_output.len(), numbers.query.len(), "[R, d]");
            let (d_query, d_key_value) =
                (Shared::new(elements_mut(&mut d_query)), Shared::new(elements_mut(&mut d_key_value)));
            self.for_each_pair(|pairs| {
                Arch::new().dispatch(Backward { numbers, pairs, d_output, d_query, d_key_value });
            });
        });
        [d_query, d_key_value]
    }

    fn for_each_pair(&self, work: impl Fn(Pairs) + Sync) {
        parallel_pairs(self.texts.len() * self.num_heads, work);
    }
}

impl Text {
    fn new(text: &VisibleText) -> Self {
        let span = |range: &std::ops::Range<i64>| TextSpan {
            first: range.start as usize,
            len: (range.end - range.start) as usize,
        };
        let tokens = span(&text.tokens);
        let hidden: Vec<bool> = numbers_of(&text.hidden);
        let num_visible =
            hidden.chunks_exact(tokens.len).map(|set| set.iter().filter(|&&hidden| !hidden).count()).collect();
        Self {
            rows: span(&text.rows),
            tokens,
            hidden,
            num_visible,
            set_of_row: numbers_of(&text.set_of_row),
            place_of_row: numbers_of(&text.place_of_row),
        }
    }

    /// Writes −∞ where row number `i` sees nothing, and after the last token. Returns whether it sees anything.
    #[inline(always)]
    fn hide(&self, i: usize, similarities: &mut [f32]) -> bool {
        let (set, place, n) = (self.set_of_row[i] as usize, self.place_of_row[i] as usize, self.tokens.len);
        let hidden = &self.hidden[set * n..][..n];
        let (own, rest) = similarities.split_at_mut(n);
        for (similarity, &hidden) in own.iter_mut().zip(hidden) {
            *similarity = if hidden { f32::NEG_INFINITY } else { *similarity };
        }
        own[place] = f32::NEG_INFINITY;
        rest.fill(f32::NEG_INFINITY);
        self.num_visible[set] > usize::from(!hidden[place])
    }
}

/// A tensor's numbers.
fn numbers_of<T: tch::kind::Element + Copy + Default>(tensor: &Tensor) -> Vec<T> {
    let mut numbers = vec![T::default(); tensor.numel()];
    tensor.copy_data(&mut numbers, tensor.numel());
    numbers
}

/// The inputs.
#[derive(Clone, Copy)]
struct Numbers<'a, E> {
    of: &'a VisibleAttention,
    query: &'a [E],
    key_value: &'a [E],
    /// d.
    width: usize,
}

impl<'a, E: Element> Numbers<'a, E> {
    fn new(of: &'a VisibleAttention, query: &'a Tensor, key_value: &'a Tensor) -> Self {
        let width = query.size()[1] as usize;
        assert_eq!(key_value.size()[1] as usize, 2 * width, "[R, d] and [T, 2d]");
        Self { of, query: elements(query), key_value: elements(key_value), width }
    }

    /// A pair's text, its rows that ask and its tokens that answer.
    #[inline(always)]
    fn pair(&self, number: usize) -> (&'a Text, Pair, Pair) {
        let (text, head) = (&self.of.texts[number / self.of.num_heads], number % self.of.num_heads);
        let dropout = self.of.dropout.at(number as u64);
        let part = |span| Pair { text: span, head, head_len: self.head_len(), width: self.width, dropout };
        (text, part(text.rows), part(text.tokens))
    }

    /// k.
    #[inline(always)]
    fn head_len(&self) -> usize {
        self.width / self.of.num_heads
    }

    #[inline(always)]
    fn scale(&self) -> f32 {
        (self.head_len() as f32).powf(-0.5)
    }

    /// Room for the longest text's tokens, and for the most rows of a text.
    fn rooms(&self) -> [Room; 2] {
        let longest = |len: fn(&Text) -> usize| {
            let longest = self.of.texts.iter().map(len).max().unwrap_or(0);
            Room::new(longest, self.head_len())
        };
        [longest(|text| text.tokens.len), longest(|text| text.rows.len)]
    }
}

struct Forward<'a, E> {
    numbers: Numbers<'a, E>,
    pairs: Pairs,
    output: Shared<'a, E>,
}

impl<E: Element> WithSimd for Forward<'_, E> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Self { numbers, pairs, output } = self;
        let [room, room_of_rows] = numbers.rooms();
        let (head, width) = (room.head, numbers.width);
        let [mut key, mut key_columns, mut value] = [(); 3].map(|()| room.per_token());
        let mut query = room_of_rows.per_token();
        let (mut all, mut sums) = (room.similarities(), room.per_row());
        for number in pairs {
            let (text, asks, answers) = numbers.pair(number);
            let (n, tokens) = (answers.text.len, answers.tokens());
            answers.gather(numbers.key_value, [2 * width, 0], 1.0, &mut key, head);
            answers.gather(numbers.key_value, [2 * width, 1], 1.0, &mut value, head);
            asks.gather(numbers.query, [width, 0], numbers.scale(), &mut query, head);
            transpose(&key, head, n, &mut key_columns, tokens);
            for first in (0..asks.text.len).step_by(rows_at_a_time(tokens)) {
                let rows = rows_at_a_time(tokens).min(asks.text.len - first);
                let similar =
                    Shape { rows, depth: asks.head_len, columns: tokens, b_len: tokens, c_len: tokens, add: false };
                let left = Left { numbers: &query[first * head..], row_stride: head, depth_stride: 1 };
                multiply(simd, similar, left, &key_columns, &mut all);
                let mut factors = [0.0; MAX_ROWS];
                for (i, row) in all.chunks_exact_mut(tokens).take(rows).enumerate() {
                    if text.hide(first + i, row) {
                        let max = maximum(row);
                        factors[i] = 1.0 / exponentials(row, max);
                        asks.dropout.apply_row(row, (first + i) * n);
                    } else {
                        row.fill(0.0);
                    }
                }
                let weighted = Shape { rows, depth: n, columns: head, b_len: head, c_len: head, add: false };
                let left = Left { numbers: &all, row_stride: tokens, depth_stride: 1 };
                multiply(simd, weighted, left, &value, &mut sums);
                for (i, sum) in sums.chunks_exact(head).take(rows).enumerate() {
                    // SAFETY: the place is this pair's and row's own, since no two texts share a row.
                    let to = unsafe { output.slice(asks.at(first + i, width, 0), asks.head_len) };
                    to.iter_mut().zip(sum).for_each(|(to, sum)| *to = E::narrow(sum * factors[i]));
                }
            }
        }
    }
}

struct Backward<'a, E> {
    numbers: Numbers<'a, E>,
    pairs: Pairs,
    d_output: &'a [E],
    d_query: Shared<'a, E>,
    d_key_value: Shared<'a, E>,
}

impl<E: Element> WithSimd for Backward<'_, E> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Self { numbers, pairs, d_output, d_query, d_key_value } = self;
        let [room, room_of_rows] = numbers.rooms();
        let (head, width) = (room.head, numbers.width);
        let [mut key, mut key_columns, mut value, mut value_columns] = [(); 4].map(|()| room.per_token());
        let [mut query, mut d_rows] = [(); 2].map(|()| room_of_rows.per_token());
        let (mut d_key, mut d_value, mut d_of_rows) = (room.per_token(), room.per_token(), room.per_row());
        let (mut probabilities, mut d_similarities) = (room.similarities(), room.similarities());
        let mut used = Vec::new();
        for number in pairs {
            let (text, asks, answers) = numbers.pair(number);
            let (n, tokens) = (answers.text.len, answers.tokens());
            answers.gather(numbers.key_value, [2 * width, 0], 1.0, &mut key, head);
            answers.gather(numbers.key_value, [2 * width, 1], 1.0, &mut value, head);
            asks.gather(numbers.query, [width, 0], numbers.scale(), &mut query, head);
            asks.gather(d_output, [width, 0], 1.0, &mut d_rows, head);
            transpose(&key, head, n, &mut key_columns, tokens);
            transpose(&value, head, n, &mut value_columns, tokens);
            for first in (0..asks.text.len).step_by(rows_at_a_time(tokens)) {
                let rows = rows_at_a_time(tokens).min(asks.text.len - first);
                let similar =
                    Shape { rows, depth: asks.head_len, columns: tokens, b_len: tokens, c_len: tokens, add: false };
                let own = |numbers| Left { numbers, row_stride: head, depth_stride: 1 };
                multiply(simd, similar, own(&query[first * head..]), &key_columns, &mut probabilities);
                multiply(simd, similar, own(&d_rows[first * head..]), &value_columns, &mut d_similarities);
                let both = probabilities.chunks_exact_mut(tokens).zip(d_similarities.chunks_exact_mut(tokens));
                for (i, (p, d)) in both.take(rows).enumerate() {
                    if !text.hide(first + i, p) {
                        p.fill(0.0);
                        d.fill(0.0);
                        continue;
                    }
                    let max = maximum(p);
                    let factor = 1.0 / exponentials(p, max);
                    p.iter_mut().for_each(|p| *p *= factor);
                    used.clear();
                    used.extend_from_slice(p);
                    asks.dropout.apply_row(&mut used, (first + i) * n);
                    let mean = inner_product(&used, d);
                    asks.dropout.differentiate_row(p, d, mean, (first + i) * n);
                }
                let by_row = Shape { rows, depth: n, columns: head, b_len: head, c_len: head, add: false };
                let left = Left { numbers: &d_similarities, row_stride: tokens, depth_stride: 1 };
                multiply(simd, by_row, left, &key, &mut d_of_rows);
                for (i, d) in d_of_rows.chunks_exact(head).take(rows).enumerate() {
                    // SAFETY: the place is this pair's and row's own, since no two texts share a row.
                    let to = unsafe { d_query.slice(asks.at(first + i, width, 0), asks.head_len) };
                    to.iter_mut().zip(d).for_each(|(to, d)| *to = E::narrow(d * numbers.scale()));
                }
                let add = first > 0;
                let by_column = Shape { rows: n, depth: rows, columns: head, b_len: head, c_len: head, add };
                let columns = |numbers| Left { numbers, row_stride: 1, depth_stride: tokens };
                multiply(simd, by_column, columns(&probabilities), &d_rows[first * head..], &mut d_value);
                multiply(simd, by_column, columns(&d_similarities), &query[first * head..], &mut d_key);
            }
            for (part, gradient) in [(0, &d_key), (1, &d_value)] {
                for (i, d) in gradient.chunks_exact(head).take(n).enumerate() {
                    // SAFETY: the place is this pair's and token's own, since no two texts share a token.
                    let to = unsafe { d_key_value.slice(answers.at(i, 2 * width, part), answers.head_len) };
                    to.iter_mut().zip(d).for_each(|(to, d)| *to = E::narrow(*d));
                }
            }
        }
    }
}
