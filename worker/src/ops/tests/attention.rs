//! Attention of texts side by side.

use tch::{Device, Kind, Tensor};

use super::{ALL, Case, leaves, mapped, mask, wave};
use crate::ops::attention::{Attention, CrossAttention, TextRows, TextSpan, Visible, VisibleText, spans, starts};
use crate::ops::dropout::Dropout;
use crate::tensors::libtorch;

/// Texts of these lengths, and one row of each.
fn rows(lens: &[usize]) -> [TextRows; 2] {
    [spans(lens.iter().copied()), spans(lens.iter().map(|_| 1))].map(|spans| {
        let starts = Tensor::from_slice(&starts(&spans));
        TextRows::new(spans, starts)
    })
}

const HEADS: i64 = 2;

/// One head of one text: softmax(q·kᵀ / √k), times a mask, times v.
fn attend([query, key, value]: [Tensor; 3], mask: &Tensor) -> Tensor {
    let scale = (query.size()[1] as f64).powf(-0.5);
    ((query.matmul(&key.tr()) * scale).softmax(-1, None) * mask).matmul(&value)
}

pub fn attention(lens: &[usize], head_len: i64, p: f64) -> Case {
    let [texts, _] = rows(lens);
    let (tokens, width) = (lens.iter().sum::<usize>() as i64, HEADS * head_len);
    let attention = Attention { num_heads: HEADS, dropout: Dropout::new(3, p) };
    let (qkv, bias) = (wave(&[tokens, 3 * width], 0.71, 2.0), wave(&[3 * width], 1.0, 0.3));
    let d_output = wave(&[tokens, width], 0.37, 2.0);

    let [leaf] = leaves([&qkv]);
    let with_bias = &leaf + &bias;
    let output = Tensor::zeros([tokens, width], (Kind::Double, Device::Cpu));
    for (text, span) in texts.spans().iter().enumerate() {
        let len = span.len as i64;
        let rows = with_bias.narrow(0, span.first as i64, len);
        for head in 0..HEADS {
            let parts = [0, 1, 2].map(|part| rows.narrow(1, part * width + head * head_len, head_len));
            let mask = mask(attention.dropout.at((text as i64 * HEADS + head) as u64), &[len, len]);
            output.narrow(0, span.first as i64, len).narrow(1, head * head_len, head_len).copy_(&attend(parts, &mask));
        }
    }
    libtorch::backward(&[(&output, &d_output)]);
    let exact = vec![output.detach(), leaf.grad()];
    let found = move |kind| {
        let (qkv, d_output) = (mapped(&qkv, &bias, kind), d_output.to_kind(kind));
        let attended = attention.forward(&qkv, &texts);
        vec![attended.output(), attention.backward(&qkv, &texts, &attended, &d_output)]
    };
    let name = format!("attention, head of {head_len}, dropout {p}");
    Case { name, kinds: ALL, found: Box::new(found), exact, tolerances: [2e-6, 2e-2] }
}

pub fn cls_attention(lens: &[usize], head_len: i64, p: f64) -> Case {
    let ([texts, firsts], width) = (rows(lens), HEADS * head_len);
    let attention = Attention { num_heads: HEADS, dropout: Dropout::new(3, p) };
    let (num_texts, tokens) = (lens.len() as i64, lens.iter().sum::<usize>() as i64);
    let (query, key_value) = (wave(&[num_texts, width], 0.7, 2.0), wave(&[tokens, 2 * width], 0.9, 2.0));
    let d_output = wave(&[num_texts, width], 0.3, 1.0);

    let [q, kv] = leaves([&query, &key_value]);
    let of_text = |(span, text): (&TextSpan, i64)| {
        let own = kv.narrow(0, span.first as i64, span.len as i64);
        let heads = (0..HEADS).map(|head| {
            let at = |t: &Tensor, part: i64| t.narrow(1, part * width + head * head_len, head_len);
            let mask = mask(attention.dropout.at((text * HEADS + head) as u64), &[1, span.len as i64]);
            attend([at(&q.narrow(0, text, 1), 0), at(&own, 0), at(&own, 1)], &mask)
        });
        Tensor::cat(&heads.collect::<Vec<_>>(), 1)
    };
    let output = Tensor::cat(&texts.spans().iter().zip(0..).map(of_text).collect::<Vec<_>>(), 0);
    libtorch::backward(&[(&output, &d_output)]);
    let exact = vec![output.detach(), q.grad(), kv.grad()];
    let found = move |kind| {
        let [query, key_value, d_output] = [&query, &key_value, &d_output].map(|t| t.to_kind(kind));
        let cls = CrossAttention { query, key_value };
        let attended = attention.forward_cls(&cls, &firsts, &texts);
        let d = attention.backward_cls(&cls, (&firsts, &texts), &attended, &d_output);
        vec![attended.output(), d.query, d.key_value]
    };
    let name = format!("attention of CLS, head of {head_len}, dropout {p}");
    Case { name, kinds: ALL, found: Box::new(found), exact, tolerances: [2e-6, 3e-2] }
}

/// A text whose rows see a part of it: its first token, its mask sets, and of each row its set and its place.
type VisibleRows = (i64, Vec<Vec<bool>>, Vec<i64>, Vec<i64>);

/// Two texts, of 5 and of 3 tokens with a token of no text behind each; 3 rows and 1 row that ask. In the first text
/// row 1 sees nothing: its set leaves its own place alone.
pub fn short_visible() -> Vec<VisibleRows> {
    let (seen, hidden) = (false, true);
    vec![
        (
            0,
            vec![vec![seen, hidden, seen, hidden, seen], vec![hidden, hidden, seen, hidden, hidden]],
            vec![0, 1, 0],
            vec![1, 2, 4],
        ),
        (6, vec![vec![seen, seen, hidden]], vec![0], vec![1]),
    ]
}

/// More rows than are worked on at a time, and a last block that is short.
pub fn long_visible() -> Vec<VisibleRows> {
    let text = |first, len: i64, num_sets: i64| {
        let set = |set: i64| (0..len).map(|place| (place * (set + 3) + set) % 7 < 3).collect();
        let places: Vec<i64> = (1..len).collect();
        (first, (0..num_sets).map(set).collect(), places.iter().map(|place| place * 5 % num_sets).collect(), places)
    };
    vec![text(0, 131, 4), text(132, 17, 1), text(149, 40, 9)]
}

pub fn visible_attention(texts: Vec<VisibleRows>, head_len: i64, p: f64) -> Case {
    let width = HEADS * head_len;
    let attention = Attention { num_heads: HEADS, dropout: Dropout::new(3, p) };
    let num_rows = texts.iter().map(|(.., places)| places.len() as i64).sum::<i64>();
    let tokens = texts.last().map_or(0, |(first, sets, ..)| first + sets[0].len() as i64 + 1);
    let (query, key_value) = (wave(&[num_rows, width], 0.7, 2.0), wave(&[tokens, 2 * width], 0.9, 2.0));
    let d_output = wave(&[num_rows, width], 0.3, 1.0);
    let seen_by = |(_, sets, set_of_row, places): &VisibleRows, row: usize| -> Vec<i64> {
        let set = &sets[set_of_row[row] as usize];
        (0..set.len() as i64).filter(|&other| other != places[row] && !set[other as usize]).collect()
    };

    let [q, kv] = leaves([&query, &key_value]);
    let mut rows = Vec::new();
    for (number, text) in texts.iter().enumerate() {
        for row in 0..text.3.len() {
            let sees = seen_by(text, row);
            let own = q.narrow(0, rows.len() as i64, 1);
            if sees.is_empty() {
                rows.push(&own * 0.0);
                continue;
            }
            let sees = Tensor::from_slice(&sees);
            let context = kv.index_select(0, &(&sees + text.0));
            let heads = (0..HEADS).map(|head| {
                let at = |t: &Tensor, part: i64| t.narrow(1, part * width + head * head_len, head_len);
                let dropped = attention.dropout.at((number as i64 * HEADS + head) as u64);
                let masks = mask(dropped, &[text.3.len() as i64, text.1[0].len() as i64]);
                let mask = masks.narrow(0, row as i64, 1).index_select(1, &sees);
                attend([at(&own, 0), at(&context, 0), at(&context, 1)], &mask)
            });
            rows.push(Tensor::cat(&heads.collect::<Vec<_>>(), 1));
        }
    }
    let output = Tensor::cat(&rows, 0);
    libtorch::backward(&[(&output, &d_output)]);
    let exact = vec![output.detach(), q.grad(), kv.grad()];
    let name = format!("attention of {num_rows} rows to what they may see, head of {head_len}, dropout {p}");
    let found = move |kind| {
        let [query, key_value, d_output] = [&query, &key_value, &d_output].map(|t| t.to_kind(kind));
        let cross = CrossAttention { query, key_value };
        let mut first_row = 0;
        let of_text = |text: &VisibleRows| {
            let (first, sets, set_of_row, places) = text;
            first_row += places.len() as i64;
            let sees: Vec<f32> = (0..places.len()).map(|row| f32::from(!seen_by(text, row).is_empty())).collect();
            let all_see = sees.iter().all(|&sees| sees == 1.0);
            VisibleText {
                rows: first_row - places.len() as i64..first_row,
                tokens: *first..*first + sets[0].len() as i64,
                hidden: Tensor::from_slice(&sets.concat()).view([sets.len() as i64, -1]),
                set_of_row: Tensor::from_slice(set_of_row),
                place_of_row: Tensor::from_slice(places),
                sees: (!all_see).then(|| Tensor::from_slice(&sees).view([-1, 1]).to_kind(kind)),
            }
        };
        let visible = Visible { texts: texts.iter().map(of_text).collect() };
        let d = attention.backward_visible(&cross, &visible, &d_output);
        vec![attention.forward_visible(&cross, &visible), d.query, d.key_value]
    };
    Case { name, kinds: ALL, found: Box::new(found), exact, tolerances: [2e-6, 3e-2] }
}
