//! Every operation in every type, so by every engine that serves it, against its definition: what autograd makes of that in
//! float64.
//!
//! The numbers that go in are bfloat16's, so that all types have the same. Gradients that are added to begin as ones.

use tch::{Device, Kind, Tensor};
use tercet_configs::MatmulLibrary;

use super::adamw::Update;
use super::attention::{Attention, ClsAttention, Group, TextSpan, Texts};
use super::dropout::Dropout;
use super::layer_norm::{LayerNorm, LayerNormGradient};
use super::linear::{Linear, LinearGradient, LinearOutput};
use super::matmul::Matmul;
use super::{Weight, embed, gelu};
use crate::tensors::libtorch;

const ALL: &[Kind] = &[Kind::Double, Kind::Float, Kind::BFloat16];
/// The types that weights are in.
const MASTERS: &[Kind] = &[Kind::Double, Kind::Float];

/// An operation with its inputs.
struct Case {
    name: String,
    kinds: &'static [Kind],
    /// What comes out in a type: results and gradients.
    found: Box<dyn Fn(Kind) -> Vec<Tensor>>,
    /// The same in float64 by definition.
    exact: Vec<Tensor>,
    /// How far off float32 and bfloat16 may be, of the largest number.
    tolerances: [f64; 2],
}

fn cases() -> Vec<Case> {
    let mut cases = vec![norm(), dropout(), adamw(), embedding(), activation()];
    cases.extend(MatmulLibrary::ALL.map(linear));
    // Rows of whole vectors, of others, and of a model's width.
    cases.extend([(48, 0.0), (41, 0.1), (768, 0.1)].map(|(width, p)| norm_of_sum(width, p)));
    // One token, whole vectors, one more, several blocks of rows with a short last one, heads of no whole vector.
    for (head_len, p) in [(4, 0.0), (32, 0.0), (40, 0.1), (64, 0.1)] {
        cases.push(attention("of every length", &[&[250], &[17], &[16], &[3], &[1]], head_len, p));
    }
    for p in [0.0, 0.1] {
        let padded: &[&[usize]] = &[&[40, 40, 39], &[5, 2]];
        cases.push(attention("padded", padded, 4, p));
        cases.push(cls_attention(padded, p));
    }
    cases
}

#[test]
fn every_operation_is_its_definition_in_every_type() {
    for case in cases() {
        for &kind in case.kinds {
            let tolerance = match kind {
                Kind::Double => 1e-12,
                Kind::Float => case.tolerances[0],
                _ => case.tolerances[1],
            };
            let found = tch::no_grad(|| (case.found)(kind));
            assert_eq!(found.len(), case.exact.len());
            for (which, (found, exact)) in found.iter().zip(&case.exact).enumerate() {
                let what = format!("{} in {kind:?}, number {which}", case.name);
                assert_eq!(found.size(), exact.size(), "{what}");
                let error = (found.to_kind(Kind::Double) - exact).abs().max().double_value(&[]);
                let scale = exact.abs().max().double_value(&[]);
                assert!(error <= tolerance * scale, "{what}: off by {error:e} of {scale}");
            }
        }
    }
}

#[test]
fn the_number_of_threads_changes_no_bit() {
    let threads = tch::get_num_threads();
    for case in [activation(), norm_of_sum(48, 0.1), attention("of every length", &[&[90], &[17]], 40, 0.1), adamw()] {
        let [one, three] = [1, 3].map(|count| {
            tch::set_num_threads(count);
            tch::no_grad(|| (case.found)(Kind::Float))
        });
        tch::set_num_threads(threads);
        assert_eq!(one, three, "{}", case.name);
    }
}

/// Numbers of bfloat16 in float64.
fn wave(shape: &[i64], step: f64, height: f64) -> Tensor {
    let numbers = (Tensor::arange(shape.iter().product::<i64>(), (Kind::Double, Device::Cpu)) * step).sin() * height;
    numbers.view(shape).to_kind(Kind::BFloat16).to_kind(Kind::Double)
}

fn leaves<const N: usize>(inputs: [&Tensor; N]) -> [Tensor; N] {
    inputs.map(|input| input.copy().set_requires_grad(true))
}

/// What a weight is kept in where `kind` is computed in.
fn master(kind: Kind) -> Kind {
    if kind == Kind::Double { kind } else { Kind::Float }
}

fn weight(values: &Tensor, kind: Kind) -> Weight {
    Weight { compute: values.to_kind(kind), master: values.to_kind(master(kind)) }
}

/// A gradient before anything is added.
fn ones(like: &Tensor, kind: Kind) -> Tensor {
    like.ones_like().to_kind(kind)
}

/// `x` plus `bias` as a linear map gives it.
fn mapped(x: &Tensor, bias: &Tensor, kind: Kind) -> LinearOutput {
    let identity = Tensor::eye(x.size()[1], (kind, Device::Cpu));
    let map = Linear { weight: identity, bias: weight(bias, kind), matmul: Matmul::default() };
    map.forward_before_bias(&x.to_kind(kind))
}

/// What dropout multiplies with.
fn mask(dropout: Dropout, shape: &[i64]) -> Tensor {
    let mut mask = Tensor::ones(shape, (Kind::Double, Device::Cpu));
    dropout.apply(&mut mask);
    mask
}

fn linear(library: MatmulLibrary) -> Case {
    let matmul = Matmul { forward: library, input_gradient: library, weight_gradient: library };
    let (x, grad) = (wave(&[70, 41], 0.7, 2.0), wave(&[70, 24], 0.3, 1.0));
    let (w, b) = (wave(&[24, 41], 0.5, 0.5), wave(&[24], 0.9, 0.5));
    let [x_leaf, w_leaf, b_leaf] = leaves([&x, &w, &b]);
    let output = x_leaf.linear(&w_leaf, Some(&b_leaf));
    libtorch::backward(&[(&output, &grad)]);
    let d_x = x_leaf.grad();
    let exact = vec![output.detach(), d_x.copy(), d_x, w_leaf.grad(), b_leaf.grad()];
    let found = move |kind| {
        let [x, grad] = [&x, &grad].map(|t| t.to_kind(kind));
        let map = Linear { weight: w.to_kind(kind), bias: weight(&b, kind), matmul };
        let [weight, bias] = [&w, &b].map(|t| ones(t, master(kind)));
        let mut gradient = LinearGradient { weight, bias, matmul };
        gradient.add(&x, &grad);
        let mut d_x = ones(&x, kind);
        map.add_input_gradient(&grad, &mut d_x);
        vec![map.forward(&x), map.input_gradient(&grad), d_x - 1.0, gradient.weight - 1.0, gradient.bias - 1.0]
    };
    Case { name: format!("linear, {library:?}"), kinds: ALL, found: Box::new(found), exact, tolerances: [2e-6, 2e-2] }
}

fn activation() -> Case {
    let (x, bias, d) = (wave(&[70, 41], 0.7, 6.0), wave(&[41], 0.5, 0.2), wave(&[70, 41], 0.3, 1.0));
    let [x_leaf, bias_leaf] = leaves([&x, &bias]);
    let output = (&x_leaf + &bias_leaf).gelu("none");
    libtorch::backward(&[(&output, &d)]);
    let exact = vec![output.detach(), output.detach(), x_leaf.grad(), bias_leaf.grad()];
    let found = move |kind| {
        let x = mapped(&x, &bias, kind);
        let mut d_bias = ones(&bias, master(kind));
        let once = gelu::forward(&x);
        let [again, d_x] = gelu::backward(&x, d.to_kind(kind).copy(), &mut d_bias);
        vec![once, again, d_x, d_bias - 1.0]
    };
    // The approximation to 1e-7, times x, and the rounded sum with the bias.
    Case { name: "gelu".into(), kinds: ALL, found: Box::new(found), exact, tolerances: [2e-6, 2e-2] }
}

fn norm() -> Case {
    let (x, grad) = (wave(&[70, 41], 0.7, 2.0), wave(&[70, 41], 0.3, 1.0));
    let (w, b) = (wave(&[41], 0.11, 1.0), wave(&[41], 0.23, 1.0));
    let [x_leaf, w_leaf, b_leaf] = leaves([&x, &w, &b]);
    let output = x_leaf.layer_norm([41], Some(&w_leaf), Some(&b_leaf), 1e-5, false);
    libtorch::backward(&[(&output, &grad)]);
    let exact = vec![output.detach(), x_leaf.grad(), w_leaf.grad(), b_leaf.grad()];
    let found = move |kind| {
        let norm = LayerNorm { weight: weight(&w, kind), bias: weight(&b, kind), eps: 1e-5 };
        let [weight, bias] = [&w, &b].map(|t| ones(t, kind));
        let gradient = LayerNormGradient { weight: weight.shallow_clone(), bias: bias.shallow_clone() };
        let (output, saved) = norm.forward(x.to_kind(kind));
        let d_x = norm.backward(&saved, &grad.to_kind(kind), gradient);
        vec![output, d_x, weight - 1.0, bias - 1.0]
    };
    Case { name: "layer norm".into(), kinds: MASTERS, found: Box::new(found), exact, tolerances: [3e-6, 0.0] }
}

fn norm_of_sum(width: i64, p: f64) -> Case {
    let inputs = [0.71, 0.37, 0.53].map(|step| wave(&[70, width], step, 2.0));
    let weights = [0.11, 0.23, 0.19].map(|step| wave(&[width], step, 2.0));
    let dropout = Dropout::new(5, p);
    let [x, residual, w, b, linear_bias] = leaves([&inputs[0], &inputs[1], &weights[0], &weights[1], &weights[2]]);
    let sum = (&x + &linear_bias) * mask(dropout, &[70, width]) + &residual;
    let output = sum.layer_norm([width], Some(&w), Some(&b), 1e-5, false);
    libtorch::backward(&[(&output, &inputs[2])]);
    let mut exact = vec![output.detach()];
    exact.extend([&residual, &x, &w, &b, &linear_bias].map(Tensor::grad));
    let found = move |kind| {
        let ([x, residual, grad], [w, b, linear_bias]) = (&inputs, &weights);
        let norm = LayerNorm { weight: weight(w, kind), bias: weight(b, kind), eps: 1e-5 };
        let [d_w, d_b, mut d_linear_bias] = weights.each_ref().map(|t| ones(t, master(kind)));
        let gradient = LayerNormGradient { weight: d_w.shallow_clone(), bias: d_b.shallow_clone() };
        let (output, saved) = norm.forward_sum(mapped(x, linear_bias, kind), &residual.to_kind(kind), dropout);
        let [d_residual, d_x] = norm.backward_sum(&saved, &grad.to_kind(kind), dropout, gradient, &mut d_linear_bias);
        vec![output, d_residual, d_x, d_w - 1.0, d_b - 1.0, d_linear_bias - 1.0]
    };
    let name = format!("layer norm of a sum, width {width}, dropout {p}");
    Case { name, kinds: ALL, found: Box::new(found), exact, tolerances: [3e-6, 3e-2] }
}

/// Groups of texts of these lengths, padded to each group's first.
struct Layout {
    spans: Vec<TextSpan>,
    groups: Vec<Group>,
}

impl Layout {
    fn new(lens: &[&[usize]]) -> Self {
        let (mut spans, mut groups, mut first) = (Vec::new(), Vec::new(), 0);
        for &group in lens {
            let len = group[0];
            spans.extend(group.iter().enumerate().map(|(i, &own)| TextSpan { first: first + i * len, len: own }));
            let real: Vec<bool> = group.iter().flat_map(|&own| (0..len).map(move |t| t < own)).collect();
            let (num_texts, padded_len) = (group.len() as i64, len as i64);
            let attention_mask =
                (!real.iter().all(|&real| real)).then(|| Tensor::from_slice(&real).view([num_texts, 1, 1, padded_len]));
            groups.push(Group { first: first as i64, num_texts, len: padded_len, attention_mask });
            first += group.len() * len;
        }
        Self { spans, groups }
    }

    fn texts(&self) -> Texts<'_> {
        Texts { spans: &self.spans, groups: &self.groups }
    }

    /// T.
    fn num_tokens(&self) -> i64 {
        self.groups.iter().map(Group::num_tokens).sum()
    }

    /// 1 for real tokens, 0 for padding: [T, 1].
    fn real(&self) -> Tensor {
        let real = Tensor::zeros([self.num_tokens(), 1], (Kind::Double, Device::Cpu));
        for span in &self.spans {
            let _ = real.narrow(0, span.first as i64, span.len as i64).fill_(1.0);
        }
        real
    }
}

const HEADS: i64 = 2;

/// One head of one text: softmax(q·kᵀ / √k), times a mask, times v.
fn attend([query, key, value]: [Tensor; 3], mask: &Tensor) -> Tensor {
    let scale = (query.size()[1] as f64).powf(-0.5);
    ((query.matmul(&key.tr()) * scale).softmax(-1, None) * mask).matmul(&value)
}

fn attention(what: &str, lens: &[&[usize]], head_len: i64, p: f64) -> Case {
    let layout = Layout::new(lens);
    let (tokens, width) = (layout.num_tokens(), HEADS * head_len);
    let attention = Attention { num_heads: HEADS, dropout: Dropout::new(3, p) };
    let (qkv, bias) = (wave(&[tokens, 3 * width], 0.71, 2.0), wave(&[3 * width], 1.0, 0.3));
    // Padding gets no gradient, as it reaches no representation.
    let d_output = wave(&[tokens, width], 0.37, 2.0) * layout.real();

    let [leaf] = leaves([&qkv]);
    let with_bias = &leaf + &bias;
    let output = Tensor::zeros([tokens, width], (Kind::Double, Device::Cpu));
    for (text, span) in layout.spans.iter().enumerate() {
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
        let attended = attention.forward(&qkv, layout.texts(), true);
        let output = attended.output() * layout.real().to_kind(kind);
        vec![output, attention.backward(&qkv, layout.texts(), attended, &d_output)]
    };
    let name = format!("attention, {what}, head of {head_len}, dropout {p}");
    Case { name, kinds: ALL, found: Box::new(found), exact, tolerances: [2e-6, 2e-2] }
}

fn cls_attention(lens: &[&[usize]], p: f64) -> Case {
    let (layout, head_len, width) = (Layout::new(lens), 4, 8);
    let attention = Attention { num_heads: HEADS, dropout: Dropout::new(3, p) };
    let num_texts = layout.spans.len() as i64;
    let (query, key_value) = (wave(&[num_texts, width], 0.7, 2.0), wave(&[layout.num_tokens(), 2 * width], 0.9, 2.0));
    let d_output = wave(&[num_texts, width], 0.3, 1.0);

    let [q, kv] = leaves([&query, &key_value]);
    let (mut rows, mut spans) = (Vec::new(), layout.spans.iter());
    for (number, group) in layout.groups.iter().enumerate() {
        let pairs = mask(attention.dropout.at(number as u64), &[group.num_texts * HEADS, group.len]);
        for (i, span) in (0..group.num_texts).zip(&mut spans) {
            let own = kv.narrow(0, span.first as i64, span.len as i64);
            let heads = (0..HEADS).map(|head| {
                let at = |t: &Tensor, part: i64| t.narrow(1, part * width + head * head_len, head_len);
                let mask = pairs.narrow(0, i * HEADS + head, 1).narrow(1, 0, span.len as i64);
                attend([at(&q.narrow(0, rows.len() as i64, 1), 0), at(&own, 0), at(&own, 1)], &mask)
            });
            rows.push(Tensor::cat(&heads.collect::<Vec<_>>(), 1));
        }
    }
    let output = Tensor::cat(&rows, 0);
    libtorch::backward(&[(&output, &d_output)]);
    let exact = vec![output.detach(), q.grad(), kv.grad()];
    let found = move |kind| {
        let [query, key_value, d_output] = [&query, &key_value, &d_output].map(|t| t.to_kind(kind));
        let cls = ClsAttention { query, key_value };
        let d = attention.backward_cls(&cls, &layout.groups, &d_output);
        vec![attention.forward_cls(&cls, &layout.groups), d.query, d.key_value]
    };
    let name = format!("attention of CLS, dropout {p}");
    Case { name, kinds: ALL, found: Box::new(found), exact, tolerances: [2e-6, 3e-2] }
}

fn dropout() -> Case {
    let (x, dropout) = (wave(&[70, 41], 0.7, 2.0), Dropout::new(9, 0.3));
    let exact = vec![&x * mask(dropout, &[70, 41])];
    let found = move |kind| {
        let mut x = x.to_kind(kind).copy();
        dropout.apply(&mut x);
        vec![x]
    };
    Case { name: "dropout".into(), kinds: ALL, found: Box::new(found), exact, tolerances: [1e-7, 4e-3] }
}

fn adamw() -> Case {
    // Several blocks with a short last one.
    let len = 3 * (1 << 14) + 5;
    let [w, g, mean] = [0.7, 0.3, 0.9].map(|step| wave(&[len], step, 2.0));
    let square = wave(&[len], 0.2, 1.0).abs();
    let [b1, b2] = [0.9, 0.99];
    let update = Update { kept: 0.98, betas: [b1, b2], rate: 0.1, root: 0.7, epsilon: 1e-8 };
    let (new_mean, new_square) = (&mean * b1 + &g * (1.0 - b1), &square * b2 + &g * &g * (1.0 - b2));
    let new_w = &w * update.kept - &new_mean * update.rate / (new_square.sqrt() / update.root + update.epsilon);
    let exact = vec![new_w, new_mean, new_square];
    let found = move |kind| {
        let [mut w, g, mut mean, mut square] = [&w, &g, &mean, &square].map(|t| t.to_kind(kind).copy());
        update.apply(&mut w, &g, [&mut mean, &mut square]);
        vec![w, mean, square]
    };
    Case { name: "AdamW".into(), kinds: MASTERS, found: Box::new(found), exact, tolerances: [1e-6, 0.0] }
}

fn embedding() -> Case {
    let tables = [(50, 0.7), (12, 0.3), (2, 0.9)].map(|(rows, step)| wave(&[rows, 8], step, 1.0));
    let [ids, places] = [50, 12].map(|rows| (Tensor::arange(70, (Kind::Int64, Device::Cpu)) * 7).remainder(rows));
    let grad = wave(&[70, 8], 0.4, 1.0);
    let [words, positions, types] = leaves(tables.each_ref());
    let look_up = |table: &Tensor, rows: &Tensor| Tensor::embedding(table, rows, -1, false, false);
    let output = look_up(&words, &ids) + look_up(&positions, &places) + look_up(&types, &ids.zeros_like());
    libtorch::backward(&[(&output, &grad)]);
    let mut exact = vec![output.detach()];
    exact.extend([&words, &positions, &types].map(Tensor::grad));
    let found = move |kind| {
        let gradients = tables.each_ref().map(|table| ones(table, kind));
        let own = tables.each_ref().map(|table| table.to_kind(kind));
        let output = embed::forward(&own, &ids, &places);
        embed::backward(gradients.each_ref().map(Tensor::shallow_clone), &ids, &places, &grad.to_kind(kind));
        [output].into_iter().chain(gradients.map(|gradient| gradient - 1.0)).collect()
    };
    Case { name: "embeddings".into(), kinds: MASTERS, found: Box::new(found), exact, tolerances: [1e-6, 0.0] }
}
