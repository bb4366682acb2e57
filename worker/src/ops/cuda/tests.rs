//! The kernels' text, compiled for the host, against the kernels of `cpu/`, element by element; and compiled for cards.
//!
//! What follows from one element, or from sums in the same order, has the same bits. A row's two sums are added in
//! another order.

use std::sync::OnceLock;

use tch::{Device, Kind, Tensor};
use tercet_tests::stand_in::kernels::library;

use super::driver::Driver;
use super::launch::Gpu;
use super::nvrtc::{Nvrtc, OPTIONS};
use super::{Kernels, TEXT, adamw, dropout, gelu, layer_norm, names};
use crate::ops::adamw::Update;
use crate::ops::dropout::Dropout;
use crate::ops::layer_norm::LayerNorm;
use crate::ops::{Weight, cpu};

const KINDS: [Kind; 2] = [Kind::Float, Kind::BFloat16];

/// Rows and width: columns one by one and by fours; one row, a whole block, one more, and more blocks than are added
/// one after another.
const SHAPES: [[i64; 2]; 6] = [[1, 32], [70, 41], [32, 48], [33, 1024], [70, 4096], [1100, 36]];

/// The kernels on the host's memory.
fn kernels() -> Gpu<'static> {
    static KERNELS: OnceLock<Kernels> = OnceLock::new();
    let kernels = KERNELS.get_or_init(|| {
        // SAFETY: the library's own image, which is whole.
        unsafe { Kernels::load(Driver::of_library(&library()), b"kernels of a stand-in of CUDA\0") }.unwrap()
    });
    Gpu::made_up(kernels)
}

fn wave(shape: &[i64], step: f64, height: f64, kind: Kind) -> Tensor {
    let numbers = (Tensor::arange(shape.iter().product::<i64>(), (Kind::Double, Device::Cpu)) * step).sin() * height;
    numbers.view(shape).to_kind(kind)
}

fn weight(width: i64, step: f64) -> Weight {
    let master = wave(&[width], step, 1.5, Kind::Float);
    Weight { compute: master.shallow_clone(), master }
}

/// The largest difference, of the largest number.
fn distance(ours: &Tensor, theirs: &Tensor) -> f64 {
    assert_eq!((ours.size(), ours.kind()), (theirs.size(), theirs.kind()));
    let [ours, theirs] = [ours, theirs].map(|t| t.to_kind(Kind::Double));
    (ours - &theirs).abs().max().double_value(&[]) / theirs.abs().max().double_value(&[])
}

#[test]
fn norms_of_sums_are_the_cpus() {
    let _guard = tch::no_grad_guard();
    for kind in KINDS {
        // A number that is rounded to bfloat16 may be the next one, and a few such may meet in a sum.
        let [close, close_sums] = if kind == Kind::Float { [2e-6, 2e-6] } else { [4e-3, 1e-3] };
        for ([rows, width], p) in SHAPES.into_iter().flat_map(|shape| [(shape, 0.0), (shape, 0.3)]) {
            let what = format!("{kind:?}, {rows} rows of {width}, dropout {p}");
            let [x, residual, grad] = [0.71, 0.37, 0.53].map(|step| wave(&[rows, width], step, 2.0, kind));
            let (linear_bias, dropout) = (wave(&[width], 0.19, 1.0, Kind::Float), Dropout::new(5, p));
            let norm = LayerNorm { weight: weight(width, 0.11), bias: weight(width, 0.23), eps: 1e-5 };
            let (output, saved) =
                layer_norm::forward_sum(&kernels(), &norm, x.copy(), &linear_bias, &residual, dropout);
            let (expected, cpus) = cpu::layer_norm::forward_sum(&norm, x, &linear_bias, &residual, dropout);
            assert_eq!(saved.input, cpus.input, "{what}");
            for (ours, theirs, close) in [
                // Means are smaller than what they are of.
                (&saved.mean, &cpus.mean, 1e-5),
                (&saved.rstd, &cpus.rstd, 2e-6),
                (&output, &expected, close),
            ] {
                let found = distance(ours, theirs);
                assert!(found <= close, "{what}: off by {found:e}");
            }

            let sums = || [0, 1, 2].map(|_| Tensor::ones([width], (Kind::Float, Device::Cpu)));
            let (mut ours, mut theirs) = (sums(), sums());
            let found = layer_norm::backward_sum(&kernels(), &norm, &cpus, &grad, dropout, ours.each_mut());
            let expected = cpu::layer_norm::backward_sum(&norm, &cpus, &grad, dropout, theirs.each_mut());
            for (found, expected) in found.iter().zip(&expected) {
                let off = distance(found, expected);
                assert!(off <= close, "{what}, backward: off by {off:e}");
            }
            if rows <= 1024 {
                assert_eq!(ours[..2], theirs[..2], "{what}: weight's and bias's gradients");
            }
            for (ours, theirs) in ours.iter().zip(&theirs) {
                let off = distance(ours, theirs);
                assert!(off <= close_sums, "{what}, column sums: off by {off:e}");
            }
        }
    }
}

#[test]
fn activations_are_the_cpus_to_the_bit() {
    let _guard = tch::no_grad_guard();
    for kind in KINDS {
        for [rows, width] in SHAPES {
            let what = format!("{kind:?}, {rows} rows of {width}");
            let (x, d) = (wave(&[rows, width], 0.71, 6.0, kind), wave(&[rows, width], 0.37, 1.0, kind));
            let bias = wave(&[width], 0.19, 1.0, Kind::Float);
            assert_eq!(gelu::forward(&kernels(), &x, &bias), cpu::gelu::forward(&x, &bias), "{what}");
            let [mut ours, mut theirs] = [(); 2].map(|()| Tensor::ones([width], (Kind::Float, Device::Cpu)));
            let found = gelu::backward(&kernels(), &x, &bias, d.copy(), &mut ours);
            assert_eq!(found, cpu::gelu::backward(&x, &bias, d, &mut theirs), "{what}");
            if rows <= 1024 {
                assert_eq!(ours, theirs, "{what}: column sums");
            }
            assert!(distance(&ours, &theirs) < 1e-6, "{what}");
        }
    }
}

#[test]
fn dropout_is_the_cpus_to_the_bit() {
    for kind in [Kind::Float, Kind::BFloat16, Kind::Double] {
        for len in [1, 1023, 1024, 1025, 50_000] {
            let mut ours = wave(&[len], 0.7, 3.0, kind);
            let mut theirs = ours.copy();
            dropout::apply(&kernels(), Dropout::new(7, 0.1).at(3), &mut ours);
            cpu::dropout::apply(Dropout::new(7, 0.1).at(3), &mut theirs);
            assert_eq!(ours, theirs, "{kind:?}, {len}");
        }
    }
}

#[test]
fn updates_are_the_cpus_to_the_bit() {
    for (len, clip) in [(1, 1.0), (1024, 1.0), (5_003, 0.37)] {
        let update = Update { clip, kept: 0.98, betas: [0.9, 0.99], rate: 0.1, root: 0.7, epsilon: 1e-8 };
        let gradient = wave(&[len], 0.3, 2.0, Kind::Float);
        let state = || {
            let [weights, mean] = [0.7, 0.9].map(|step| wave(&[len], step, 2.0, Kind::Float));
            [weights, mean, wave(&[len], 0.2, 1.0, Kind::Float).abs()]
        };
        let ([mut w, mut m, mut s], [mut cpu_w, mut cpu_m, mut cpu_s]) = (state(), state());
        let mut copy = w.to_kind(Kind::BFloat16);
        adamw::apply(&kernels(), &update, &mut w, &gradient, [&mut m, &mut s], Some(&mut copy));
        cpu::adamw::apply(&update, &mut cpu_w, &gradient, [&mut cpu_m, &mut cpu_s]);
        assert_eq!((&w, m, s), (&cpu_w, cpu_m, cpu_s), "{len}");
        assert_eq!(copy, w.to_kind(Kind::BFloat16));
        adamw::apply(&kernels(), &update, &mut w, &gradient, [&mut cpu_w.copy(), &mut cpu_w.copy()], None);
    }
}

#[test]
fn without_rows_nothing_is_launched() {
    let (x, bias) = (wave(&[0, 48], 0.7, 1.0, Kind::Float), wave(&[48], 0.2, 1.0, Kind::Float));
    assert_eq!(gelu::forward(&kernels(), &x, &bias).size(), [0, 48]);
    let mut sums = bias.copy();
    let _ = gelu::backward(&kernels(), &x, &bias, x.copy(), &mut sums);
    assert_eq!(sums, bias);
    dropout::apply(&kernels(), Dropout::new(7, 0.1), &mut x.copy());
}

#[test]
#[should_panic(expected = "contiguous")]
fn rows_that_lie_apart_are_refused() {
    let x = wave(&[48, 8], 0.7, 1.0, Kind::Float).tr();
    let _ = gelu::forward(&kernels(), &x, &wave(&[48], 0.2, 1.0, Kind::Float));
}

/// `make test-nvrtc` fetches NVIDIA's compiler, which needs no card.
#[test]
fn nvrtc_compiles_the_text_for_every_card_without_spills() {
    if std::env::var_os("TERCET_TEST_NVRTC").is_none() {
        eprintln!("SKIPPED: `make test-nvrtc` runs this");
        return;
    }
    let nvrtc = Nvrtc::find().unwrap();
    println!("NVRTC {}.{}", nvrtc.version[0], nvrtc.version[1]);
    let options = [&OPTIONS[..], &["--ptxas-options=-v"]].concat();
    for card in ["sm_80", "sm_90", "sm_100"] {
        let (cubin, log) = nvrtc.compile(TEXT, card, &options).unwrap();
        println!("{card}: {} bytes", cubin.len());
        let mut found = Vec::new();
        for part in log.split("Compiling entry function '").skip(1) {
            let name = part.split('\'').next().unwrap();
            let number = |before: &str| -> u32 {
                let words = part.split(before).next().filter(|words| words.len() < part.len());
                words.and_then(|words| words.split_whitespace().last()?.parse().ok()).unwrap_or_else(|| panic!("{log}"))
            };
            let [registers, spilled, read] = [" registers", " bytes spill stores", " bytes spill loads"].map(number);
            println!("  {name}: {registers} registers, {spilled} bytes spilled");
            // Blocks of 1024 threads share 65,536.
            assert!(registers <= 64 && spilled == 0 && read == 0, "{card}, {name}");
            found.push(name.to_owned());
        }
        found.sort();
        let mut expected = names();
        expected.sort();
        // Kernels that it has compiled before it takes from its cache, without a word.
        assert_eq!(found, expected, "with CUDA_CACHE_DISABLE=1? It said: {log}");
    }
    let refused = nvrtc.compile("KERNEL", "sm_80", &[]).unwrap_err();
    assert!(refused.contains("error"), "{refused}");
}
