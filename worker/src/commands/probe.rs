//! `probe`: what attends on this device, and what it costs, in the shapes of a model.
//!
//! Whether libtorch's flash kernel serves depends on card, type and head size, and decides a factor of ten or more.

use std::time::Instant;

use tch::{Device, Kind, Tensor};
use tercet_cluster::Collective;
use tercet_configs::Precision;
use tercet_protocol::args::ProbeArgs;
use tercet_protocol::says::{self, probe};

use crate::agreement::compute_kind_of;
use crate::machine::device::{device_kind, device_of};
use crate::ops::Weight;
use crate::ops::attention::{Attention, TextRows, spans, starts};
use crate::ops::dropout::Dropout;
use crate::ops::linear::{Linear, LinearOutput};
use crate::ops::matmul::Matmul;
use crate::tensors::libtorch;

/// Dimensions of a head, as most encoders have them.
const HEAD_SIZE: i64 = 64;

/// Calls that are timed, after the first.
const CALLS: usize = 5;

/// Precision, dropout: what training does first, then what else is asked for. In float64 only the shortest texts are
/// tried, because there all probabilities are held.
const WAYS: [(Precision, f64); 5] = [
    (Precision::Bf16, 0.0),
    (Precision::Bf16, 0.1),
    (Precision::Fp32, 0.0),
    (Precision::Fp32, 0.1),
    (Precision::Fp64, 0.0),
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
    for (precision, dropout) in WAYS {
        let lens = if precision == Precision::Fp64 { &args.lens[..args.lens.len().min(1)] } else { &args.lens[..] };
        for &len in lens.iter().filter(|len| **len > 1) {
            let trial = Trial { precision, len, dropout, texts: (args.tokens / len).max(1) };
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
    dropout: f64,
}

impl Trial {
    fn run(&self, num_heads: i64, device: Device) -> probe::Attention {
        let width = num_heads * HEAD_SIZE;
        let options = (compute_kind_of(self.precision), device);
        // The others are a token shorter.
        let lens = (0..self.texts).map(|text| self.len - usize::from(text > 0));
        let spans = spans(lens.clone());
        let starts = Tensor::from_slice(&starts(&spans)).to_device(device);
        let (rows, tokens) = (TextRows::new(spans, starts), lens.sum::<usize>() as i64);
        let qkv = queries_keys_values(tokens, width, options);
        let attention = Attention { num_heads, dropout: Dropout::new(7, self.dropout) };
        let d_output = Tensor::ones([tokens, width], options);
        let call = || {
            let started = Instant::now();
            let attended = attention.forward(&qkv, &rows);
            let gradient = attention.backward(&qkv, &rows, &attended, &d_output);
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
            dropout: self.dropout,
            kernel: attention.kernel_name(&d_output, HEAD_SIZE).to_owned(),
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
    Linear { weight, bias, matmul: Matmul::default() }.forward_before_attention(&x.view([tokens, 1]))
}
