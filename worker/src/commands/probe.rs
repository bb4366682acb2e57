//! `probe`: which attention kernels libtorch chooses on this device, and what they cost, in the shapes of a model.
//!
//! A kernel is chosen by card, type, head size, mask and dropout, and the choice decides a factor of two, or, where a
//! kernel prepares itself for each new shape, of a hundred. Nothing else says which it was.

use std::time::Instant;

use tch::{Device, Kind, Tensor};
use tercet_cluster::Collective;
use tercet_configs::Precision;
use tercet_protocol::args::ProbeArgs;
use tercet_protocol::says::{self, probe};

use crate::agreement::compute_kind_of;
use crate::machine::device::{device_kind, device_of};
use crate::ops::Weight;
use crate::ops::attention::{Attention, Group, TextSpan, Texts};
use crate::ops::dropout::Dropout;
use crate::ops::linear::{Linear, LinearOutput};
use crate::ops::matmul::Matmul;
use crate::tensors::libtorch;

/// Dimensions of a head, as most encoders have them.
const HEAD_SIZE: i64 = 64;

/// Calls that are timed, after the first.
const CALLS: usize = 5;

/// Precision, with padding, dropout: what training does first, then what else is asked for. In float64 only the
/// shortest texts are tried, because there libtorch holds all probabilities.
const WAYS: [(Precision, bool, f64); 7] = [
    (Precision::Bf16, false, 0.0),
    (Precision::Bf16, false, 0.1),
    (Precision::Bf16, true, 0.0),
    (Precision::Bf16, true, 0.1),
    (Precision::Fp32, false, 0.0),
    (Precision::Fp32, true, 0.1),
    (Precision::Fp64, true, 0.0),
];

/// Prints one JSON object (rank 0).
///
/// # Errors
/// None so far.
pub fn run(args: &ProbeArgs, ranks: &dyn Collective) -> anyhow::Result<()> {
    let device = device_of(ranks);
    let num_gpus = tch::Cuda::device_count().max(0) as usize;
    let free_bytes = match device {
        Device::Cuda(index) => Some(libtorch::device_memory(index).free),
        _ => None,
    };
    let mut attention = Vec::new();
    for (precision, padded, dropout) in WAYS {
        let lens = if precision == Precision::Fp64 { &args.lens[..args.lens.len().min(1)] } else { &args.lens[..] };
        for &len in lens.iter().filter(|len| **len > 1) {
            let trial = Trial { precision, len, padded, dropout, texts: (args.tokens / len).max(1) };
            attention.push(trial.run(args.heads.max(1) as i64, device));
        }
    }
    if ranks.rank() == 0 {
        let device = probe::Report::name_of(device_kind(device));
        println!("{}", says::line(&probe::Report { num_gpus, device, free_bytes, attention }));
    }
    Ok(())
}

/// One measurement.
struct Trial {
    precision: Precision,
    texts: usize,
    len: usize,
    padded: bool,
    dropout: f64,
}

impl Trial {
    fn run(&self, num_heads: i64, device: Device) -> probe::Attention {
        let (texts, len, width) = (self.texts as i64, self.len as i64, num_heads * HEAD_SIZE);
        let options = (compute_kind_of(self.precision), device);
        let qkv = queries_keys_values(texts * len, width, options);
        // One text is a token shorter.
        let real = |text: usize| self.len - usize::from(self.padded && text == 0);
        let spans: Vec<TextSpan> =
            (0..self.texts).map(|text| TextSpan { first: text * self.len, len: real(text) }).collect();
        let attention_mask = self.padded.then(|| {
            let mask: Vec<bool> =
                (0..self.texts).flat_map(|text| (0..self.len).map(move |token| token < real(text))).collect();
            Tensor::from_slice(&mask).view([texts, 1, 1, len]).to_device(device)
        });
        let groups = [Group { first: 0, num_texts: texts, len, attention_mask }];
        let attention = Attention { num_heads, dropout: Dropout::new(7, self.dropout) };
        let d_output = Tensor::ones([texts * len, width], options);
        let call = || {
            let started = Instant::now();
            let of = Texts { spans: &spans, groups: &groups };
            let attended = attention.forward(&qkv, of, true);
            let gradient = attention.backward(&qkv, of, attended, &d_output);
            // Waits for the device.
            let _ = gradient.get(0).get(0).to_kind(Kind::Double).double_value(&[]);
            started.elapsed().as_secs_f64()
        };
        let first_secs = call();
        let secs = (0..CALLS).map(|_| call()).fold(f64::INFINITY, f64::min);
        // Two products forward and five backward, of 2·len²·width each.
        let flops = 14.0 * (self.texts * self.len * self.len) as f64 * width as f64;
        probe::Attention {
            precision: self.precision,
            texts: self.texts,
            len: self.len,
            padded: self.padded,
            dropout: self.dropout,
            kernel: attention.kernel_name(&qkv, &groups[0]).to_owned(),
            first_secs,
            secs,
            flops_per_sec: flops / secs,
        }
    }
}

/// As a layer's linear map gives them: [tokens, 3·width].
fn queries_keys_values(tokens: i64, width: i64, options: (Kind, Device)) -> LinearOutput {
    // Neither the choice nor the time depends on the values.
    let weight = Tensor::ones([3 * width, 1], options);
    let master =
        Tensor::zeros([3 * width], (if options.0 == Kind::Double { Kind::Double } else { Kind::Float }, options.1));
    let bias = Weight { compute: master.to_kind(options.0), master };
    let x = Tensor::linspace(-1.0, 1.0, tokens, (Kind::Double, Device::Cpu)).to_kind(options.0).to_device(options.1);
    Linear { weight, bias, matmul: Matmul::default() }.forward_before_bias(&x.view([tokens, 1]))
}
