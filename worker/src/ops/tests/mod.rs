//! Every operation in every type, and so by every engine that serves it, against its definition as autograd
//! differentiates it in float64.
//!
//! Inputs are numbers of bfloat16, so that all types get the same. Gradients that are added to begin as ones.

mod attention;
mod rows;
mod vocabulary;

use tch::{Device, Kind, Tensor};
use tercet_configs::MatmulLibrary;

use super::Weight;
use super::dropout::Dropout;
use super::linear::{Linear, LinearOutput};
use super::matmul::Matmul;
use attention::{attention, cls_attention, long_visible, short_visible, visible_attention};
use rows::{activation, adamw, dropout, embedding, linear, norm, norm_of_sum, norm_of_sum_by_libtorch};
use vocabulary::prediction;

const ALL: &[Kind] = &[Kind::Double, Kind::Float, Kind::BFloat16];
/// The types that weights are in.
const MASTERS: &[Kind] = &[Kind::Double, Kind::Float];

/// An operation with its inputs.
struct Case {
    name: String,
    kinds: &'static [Kind],
    /// The results and gradients in a type.
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
    cases.extend([(48, 0.0), (41, 0.1)].map(|(width, p)| norm_of_sum_by_libtorch(width, p)));
    // One token, whole vectors, one more, several blocks of rows with a short last one, heads of no whole vector.
    for (head_len, p) in [(4, 0.0), (32, 0.0), (40, 0.1), (64, 0.1)] {
        let lens = [250, 17, 16, 3, 1];
        cases.extend([attention(&lens, head_len, p), cls_attention(&lens, head_len, p)]);
    }
    for p in [0.0, 0.1] {
        cases.extend([visible_attention(short_visible(), 4, p), visible_attention(long_visible(), 40, p)]);
    }
    // Fewer rows than a tile has, and two tiles with a short last one; widths of whole vectors and of others.
    cases.extend([(7, 64), (1, 37), (150, 131_072 + 5)].map(|(rows, words)| prediction(rows, words)));
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
    let attentions =
        [attention(&[90, 17], 40, 0.1), cls_attention(&[90, 17], 40, 0.1), visible_attention(long_visible(), 40, 0.1)];
    for case in [activation(), norm_of_sum(48, 0.1), adamw(), prediction(70, 1003)].into_iter().chain(attentions) {
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

/// The type that weights are kept in where `kind` is computed in.
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
    map.forward_before_gelu(&x.to_kind(kind))
}

/// What dropout multiplies with.
fn mask(dropout: Dropout, shape: &[i64]) -> Tensor {
    let mut mask = Tensor::ones(shape, (Kind::Double, Device::Cpu));
    dropout.apply(&mut mask);
    mask
}
