//! Which library does the encoder's float32 matrix products on a CPU: the one that is faster on this machine.
//!
//! oneDNN uses the whole width of any maker's vector units; the BLAS that libtorch was built with (MKL) packs its
//! operands better on some processors and uses half the width on others. No processor's name tells which is faster, so
//! both are timed at the model's own shapes before the first step. The libraries round differently, so all ranks take
//! the same one, and a checkpoint keeps the choice for the run that goes on from it.
//!
//! Not here: bfloat16 and float64, where there is no choice, and GPUs.

use std::ops::RangeInclusive;
use std::time::{Duration, Instant};

use tch::{Device, Kind, Tensor};
use tercet_cluster::{Collective, ReduceOp, all_ranks, broadcast_bytes};
use tercet_configs::{CpuMatmul, MatmulLibrary};

use crate::machine::cpu_time::thread_cpu_secs;
use crate::model::M3Model;
use crate::ops::matmul::{Matmul, Measured};
use crate::preflight::processor_name;
use crate::tensors::libtorch::{add_product, product};

/// Which products a program needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Needs {
    /// Only the forward pass.
    Forward,
    /// All three.
    Training,
}

/// In a narrower model products are no large part of a step, and their times say little.
const SMALLEST_WIDTH: usize = 64;
/// The other library must be this much faster than oneDNN: between equals, chance would choose another one in each run.
const MARGIN: f64 = 0.9;
/// Timed rounds: the fastest counts, as other work may hold up any of them.
const ROUNDS: RangeInclusive<usize> = 3..=12;
/// Timing ends with the round in which this has passed, but for the fewest rounds.
const LONGEST: Duration = Duration::from_millis(700);
/// Operations of one product, for each thread: some 15 ms.
const FLOPS_PER_THREAD: usize = 1_500_000_000;

/// Sets the library of the model's products: the one that is asked for, or else the one that an earlier part of the run
/// has found on such a processor, or else the faster. Returns what a timing has found, here or earlier. Every rank
/// calls it.
///
/// # Errors
/// A collective that failed.
pub fn choose(
    model: &mut M3Model,
    asked: CpuMatmul,
    earlier: Option<&Measured>,
    needs: Needs,
    ranks: &dyn Collective,
) -> anyhow::Result<Option<Measured>> {
    if let Some(library) = asked.library() {
        model.parameters.matmul = Matmul { forward: library, input_gradient: library, weight_gradient: library };
        return Ok(None);
    }
    let is_served = model.parameters.compute_kind() == Kind::Float && model.options().1 == Device::Cpu;
    if model.config.hidden_size < SMALLEST_WIDTH || !all_ranks(ranks, is_served)? {
        return Ok(None);
    }
    let mut processor = processor_name().into_bytes();
    broadcast_bytes(ranks, &mut processor, 0)?;
    let processor = String::from_utf8_lossy(&processor).into_owned();
    let matmul = match earlier.filter(|earlier| earlier.processor.is_empty() || earlier.processor == processor) {
        Some(earlier) => earlier.matmul,
        None => faster(&shapes(model, needs), ranks)?,
    };
    model.parameters.matmul = matmul;
    Ok(Some(Measured { processor, matmul }))
}

impl Measured {
    /// What a run computed with before there was a choice: whoever goes on with it keeps to that.
    pub fn before_there_was_a_choice() -> Self {
        Self { processor: String::new(), matmul: Matmul::default() }
    }
}

/// The products of the widest linear maps, [T, d] → [T, f] and back.
struct Shapes {
    rows: i64,
    widths: [(i64, i64); 2],
    needs: Needs,
}

fn shapes(model: &M3Model, needs: Needs) -> Shapes {
    let (d, f) = (model.config.hidden_size, model.config.intermediate_size);
    let threads = tch::get_num_threads().max(1) as usize;
    let rows = (threads * FLOPS_PER_THREAD / (2 * d * f)).clamp(128, 2048);
    let (d, f) = (d as i64, f as i64);
    Shapes { rows: rows as i64, widths: [(d, f), (f, d)], needs }
}

/// Times both libraries on all ranks at once, as steps use them, and takes the one that needs less time in all. Every
/// rank calls it.
fn faster(shapes: &Shapes, ranks: &dyn Collective) -> anyhow::Result<Matmul> {
    let operands = shapes.widths.map(|(input, output)| Operands::new(shapes.rows, input, output));
    // [library][kind of product]
    let mut best = [[f64::INFINITY; 3]; 2];
    let started = Instant::now();
    ranks.barrier()?;
    for round in 0..=*ROUNDS.end() {
        for (library, best) in MatmulLibrary::ALL.into_iter().zip(&mut best) {
            let secs = operands.iter().map(|operands| operands.secs(library, shapes.needs));
            let secs = secs.fold([0.0; 3], |sum, own| std::array::from_fn(|kind| sum[kind] + own[kind]));
            // In the first round libraries compile what they need, and memory is touched for the first time.
            if round > 0 {
                *best = std::array::from_fn(|kind| best[kind].min(secs[kind]));
            }
        }
        if round >= *ROUNDS.start() && started.elapsed() > LONGEST {
            break;
        }
    }
    let mut sums = best.concat();
    ranks.all_reduce(sums.as_mut_slice().into(), ReduceOp::Sum)?;
    let (onednn, blas) = sums.split_at(3);
    tell(shapes, onednn, blas, ranks);
    let pick = |kind: usize| match blas[kind] < MARGIN * onednn[kind] {
        true => MatmulLibrary::Blas,
        false => MatmulLibrary::Onednn,
    };
    Ok(Matmul { forward: pick(0), input_gradient: pick(1), weight_gradient: pick(2) })
}

fn tell(shapes: &Shapes, onednn: &[f64], blas: &[f64], ranks: &dyn Collective) {
    let flops: i64 = shapes.widths.iter().map(|(input, output)| 2 * shapes.rows * input * output).sum();
    let rate = |secs: f64| flops as f64 * ranks.world_size() as f64 / secs / 1e9;
    let (kinds, num_kinds) = match shapes.needs {
        Needs::Forward => ("", 1),
        Needs::Training => (", forward and both gradients", 3),
    };
    let rates = |secs: &[f64]| {
        secs[..num_kinds].iter().map(|secs| format!("{:.0}", rate(*secs))).collect::<Vec<_>>().join(", ")
    };
    if ranks.rank() == 0 {
        tracing::info!(
            "matrix products of {} rows, GFLOP/s of a rank{kinds}: oneDNN {}; libtorch's BLAS {}",
            shapes.rows,
            rates(onednn),
            rates(blas)
        );
    }
}

/// What one linear map multiplies: inputs [T, in], weights [out, in], outputs' gradients [T, out].
struct Operands {
    input: Tensor,
    weight: Tensor,
    grad: Tensor,
    d_input: Tensor,
    d_weight: Tensor,
}

impl Operands {
    fn new(rows: i64, input: i64, output: i64) -> Self {
        let filled = |shape: [i64; 2]| Tensor::full(shape, 0.01, (Kind::Float, Device::Cpu));
        Self {
            input: filled([rows, input]),
            weight: filled([output, input]),
            grad: filled([rows, output]),
            d_input: filled([rows, input]),
            d_weight: filled([output, input]),
        }
    }

    /// Seconds of the three products; 0 for one that is not needed. They are this thread's seconds on a processor,
    /// which other work on the machine hardly changes; the library's other threads work as long as this one does, or it
    /// waits for them awake.
    fn secs(&self, library: MatmulLibrary, needs: Needs) -> [f64; 3] {
        let timed = |work: &dyn Fn()| {
            let started = thread_cpu_secs();
            work();
            thread_cpu_secs() - started
        };
        let _guard = tch::no_grad_guard();
        let forward = timed(&|| drop(product(library, &self.input, &self.weight.tr())));
        if needs == Needs::Forward {
            return [forward, 0.0, 0.0];
        }
        let add = |sum: &Tensor, a: &Tensor, b: &Tensor| add_product(library, &mut sum.shallow_clone(), a, b);
        let input_gradient = timed(&|| add(&self.d_input, &self.grad, &self.weight));
        let weight_gradient = timed(&|| add(&self.d_weight, &self.grad.tr(), &self.input));
        [forward, input_gradient, weight_gradient]
    }
}

#[cfg(test)]
mod tests {
    use tercet_cluster::Solo;

    use super::*;

    #[test]
    fn timing_ends_and_chooses() {
        let shapes = Shapes { rows: 8, widths: [(64, 128), (128, 64)], needs: Needs::Training };
        let secs = Operands::new(8, 64, 128).secs(MatmulLibrary::Blas, Needs::Training);
        assert!(secs.iter().all(|secs| *secs > 0.0));
        let chosen = faster(&shapes, &Solo::new()).unwrap();
        assert!(MatmulLibrary::ALL.contains(&chosen.forward));
    }

    #[test]
    fn a_measured_choice_is_kept_as_text() {
        let measured = Measured {
            processor: "Some CPU".into(),
            matmul: Matmul { weight_gradient: MatmulLibrary::Blas, ..Default::default() },
        };
        let text = serde_json::to_string(&measured).unwrap();
        assert_eq!(
            text,
            r#"{"processor":"Some CPU","forward":"onednn","input_gradient":"onednn","weight_gradient":"blas"}"#
        );
        assert_eq!(serde_json::from_str::<Measured>(&text).unwrap(), measured);
    }
}
