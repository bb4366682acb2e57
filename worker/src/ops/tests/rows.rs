//! The operations that work row by row or element by element.

use tch::{Device, Kind, Tensor};
use tercet_configs::MatmulLibrary;

use super::{ALL, Case, MASTERS, leaves, mapped, mask, master, ones, wave, weight};
use crate::ops::adamw::Update;
use crate::ops::dropout::Dropout;
use crate::ops::layer_norm::{LayerNorm, LayerNormGradient};
use crate::ops::linear::{Linear, LinearGradient};
use crate::ops::matmul::Matmul;
use crate::ops::{embed, gelu};
use crate::tensors::libtorch;

pub fn linear(library: MatmulLibrary) -> Case {
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

pub fn activation() -> Case {
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

pub fn norm() -> Case {
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

/// As a GPU does it in bfloat16. (On a CPU the kernels serve that type.)
pub fn norm_of_sum_by_libtorch(width: i64, p: f64) -> Case {
    let Case { exact, .. } = norm_of_sum(width, p);
    let (inputs, weights, dropout) = of_a_sum(width, p);
    let found = move |kind| {
        let ([x, residual, grad], [w, b, linear_bias]) = (&inputs, &weights);
        let norm = LayerNorm { weight: weight(w, kind), bias: weight(b, kind), eps: 1e-5 };
        let [d_w, d_b, mut d_linear_bias] = weights.each_ref().map(|t| ones(t, master(kind)));
        let gradient = LayerNormGradient { weight: d_w.shallow_clone(), bias: d_b.shallow_clone() };
        let (output, saved) =
            norm.forward_sum_in_float32(&mapped(x, linear_bias, kind), &residual.to_kind(kind), dropout);
        let [d_residual, d_x] =
            norm.backward_sum_in_float32(&saved, &grad.to_kind(kind), dropout, gradient, &mut d_linear_bias);
        vec![output, d_residual, d_x, d_w - 1.0, d_b - 1.0, d_linear_bias - 1.0]
    };
    let name = format!("layer norm of a sum by libtorch, width {width}, dropout {p}");
    Case { name, kinds: &[Kind::BFloat16], found: Box::new(found), exact, tolerances: [0.0, 2e-2] }
}

/// What is mapped, the residual and the gradient; weight, bias and the map's bias; dropout.
fn of_a_sum(width: i64, p: f64) -> ([Tensor; 3], [Tensor; 3], Dropout) {
    let inputs = [0.71, 0.37, 0.53].map(|step| wave(&[70, width], step, 2.0));
    let weights = [0.11, 0.23, 0.19].map(|step| wave(&[width], step, 2.0));
    (inputs, weights, Dropout::new(5, p))
}

pub fn norm_of_sum(width: i64, p: f64) -> Case {
    let (inputs, weights, dropout) = of_a_sum(width, p);
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

pub fn dropout() -> Case {
    let (x, dropout) = (wave(&[70, 41], 0.7, 2.0), Dropout::new(9, 0.3));
    let exact = vec![&x * mask(dropout, &[70, 41])];
    let found = move |kind| {
        let mut x = x.to_kind(kind).copy();
        dropout.apply(&mut x);
        vec![x]
    };
    Case { name: "dropout".into(), kinds: ALL, found: Box::new(found), exact, tolerances: [1e-7, 4e-3] }
}

pub fn adamw() -> Case {
    // Several blocks with a short last one.
    let len = 3 * (1 << 14) + 5;
    let [w, g, mean] = [0.7, 0.3, 0.9].map(|step| wave(&[len], step, 2.0));
    let square = wave(&[len], 0.2, 1.0).abs();
    let [b1, b2] = [0.9, 0.99];
    let update = Update { clip: 0.5, kept: 0.98, betas: [b1, b2], rate: 0.1, root: 0.7, epsilon: 1e-8 };
    let clipped = &g * update.clip;
    let (new_mean, new_square) = (&mean * b1 + &clipped * (1.0 - b1), &square * b2 + &clipped * &clipped * (1.0 - b2));
    let new_w = &w * update.kept - &new_mean * update.rate / (new_square.sqrt() / update.root + update.epsilon);
    let exact = vec![new_w, new_mean, new_square];
    let found = move |kind| {
        let [mut w, g, mut mean, mut square] = [&w, &g, &mean, &square].map(|t| t.to_kind(kind).copy());
        let mut copy = w.to_kind(Kind::BFloat16);
        update.apply(&mut w, &g, [&mut mean, &mut square], Some(&mut copy));
        assert_eq!(copy, w.to_kind(Kind::BFloat16));
        vec![w, mean, square]
    };
    Case { name: "AdamW".into(), kinds: MASTERS, found: Box::new(found), exact, tolerances: [1e-6, 0.0] }
}

pub fn embedding() -> Case {
    let tables = [(50, 0.7), (12, 0.3), (2, 0.9)].map(|(rows, step)| wave(&[rows, 8], step, 1.0));
    let [ids, places] = [50i64, 12].map(|rows| (Tensor::arange(70, (Kind::Int64, Device::Cpu)) * 7).remainder(rows));
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
