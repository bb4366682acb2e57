//! The projection of rows to the vocabulary and its cross-entropy, without ever holding rows × vocabulary.
//!
//! A tile of rows at a time is projected, its loss and the gradient of its logits are taken, and that goes back to the
//! rows and into the weights' gradient. What a tile takes is bounded, so memory does not grow with the number of rows
//! times the vocabulary. Logits, loss and their gradient are in float32 (in float64 where all is), whatever type rows
//! and weights are of.
//!
//! Legend: K rows, R those of a tile, V vocabulary, d hidden size.

use tch::{Device, Kind, Tensor};

use super::linear::add_column_sums;
use super::matmul::Matmul;
use super::{Engine, Weight, cpu};
use crate::tensors::libtorch::{add_product, product};

/// Bytes of a tile's logits at most, as far as there are rows enough in it: on a CPU the weights' gradient, which every
/// tile adds to, must not cost more than the products; a GPU wants large products.
const TILE_BYTES: [usize; 2] = [128 << 20, 512 << 20];

/// Rows of a tile at least.
const MIN_ROWS: i64 = 16;

/// The projection.
pub struct Projection {
    /// The table of words, [V, d].
    pub table: Weight,
    /// `[V]`.
    pub bias: Weight,
    /// Who multiplies.
    pub matmul: Matmul,
}

/// Its gradient: views of the flat one, which are added to.
pub struct ProjectionGradient {
    /// [V, d].
    pub table: Tensor,
    /// `[V]`.
    pub bias: Tensor,
}

/// Sums over rows, on the rows' device.
pub struct Predicted {
    /// Of −log softmax at the label and of rows whose largest logit is the label's: float64 `[2]`.
    pub sums: Tensor,
    /// The rows' gradient, [K, d]; none without a gradient.
    pub d_rows: Option<Tensor>,
}

impl Projection {
    /// Predicts `labels`, int64 `[K]`, from `rows`, [K, d]. With `gradient`, that of `scale` times the sum of
    /// cross-entropies is added there and taken to the rows.
    pub fn predict(
        &self,
        rows: &Tensor,
        labels: &Tensor,
        scale: f64,
        mut gradient: Option<ProjectionGradient>,
    ) -> Predicted {
        let mut sums = Tensor::zeros([2], (Kind::Double, rows.device()));
        let d_rows = gradient.is_some().then(|| rows.empty_like());
        let (num_rows, tile) = (rows.size()[0], self.tile_rows(rows));
        for first in (0..num_rows).step_by(tile as usize) {
            let len = tile.min(num_rows - first);
            let [rows, labels] = [rows, labels].map(|all| all.narrow(0, first, len));
            let logits = self.logits(&rows); // [R, V]
            let (of_tile, d_logits) = self.tile(logits, &labels, scale, gradient.as_mut());
            let _ = sums.g_add_(&of_tile);
            if let (Some(gradient), Some(d_rows)) = (&mut gradient, &d_rows) {
                let d_logits = d_logits.to_kind(rows.kind());
                d_rows.narrow(0, first, len).copy_(&product(
                    self.matmul.input_gradient,
                    &d_logits,
                    &self.table.compute,
                ));
                self.add_table_gradient(&mut gradient.table, &d_logits, &rows);
            }
        }
        Predicted { sums, d_rows }
    }

    /// Rows of a tile.
    fn tile_rows(&self, rows: &Tensor) -> i64 {
        let bytes = TILE_BYTES[usize::from(rows.device().is_cuda())];
        let row_bytes = self.table.compute.size()[0] as usize * self.kind(rows).elt_size_in_bytes();
        ((bytes / row_bytes.max(1)) as i64).max(MIN_ROWS)
    }

    /// The type of logits.
    fn kind(&self, rows: &Tensor) -> Kind {
        if rows.kind() == Kind::Double { Kind::Double } else { Kind::Float }
    }

    /// Without the bias, [R, V].
    fn logits(&self, rows: &Tensor) -> Tensor {
        let table = self.table.compute.tr();
        let kind = self.kind(rows);
        if rows.kind() != kind && rows.device().is_cuda() {
            // bfloat16's products, summed and left in float32.
            let mut logits = Tensor::zeros([rows.size()[0], table.size()[1]], (kind, rows.device()));
            add_product(self.matmul.forward, &mut logits, rows, &table);
            return logits;
        }
        product(self.matmul.forward, rows, &table).to_kind(kind)
    }

    /// A tile's sums, float64 `[2]`, and with `gradient` that of its logits in their place; adds that of the bias.
    fn tile(
        &self,
        mut logits: Tensor,
        labels: &Tensor,
        scale: f64,
        gradient: Option<&mut ProjectionGradient>,
    ) -> (Tensor, Tensor) {
        let bias = &self.bias.master;
        if Engine::of(&logits) == Engine::Cpu {
            // int64 on the CPU, one-dimensional.
            let labels = Vec::<i64>::try_from(labels).expect("one-dimensional int64");
            let bias_gradient = gradient.map(|gradient| &mut gradient.bias);
            let told = cpu::cross_entropy::in_place(&mut logits, bias, &labels, scale as f32, bias_gradient);
            return (told.sum_dim_intlist([0i64].as_slice(), false, None::<Kind>), logits);
        }
        let _ = logits.g_add_(bias);
        let labels = labels.unsqueeze(1); // [R, 1]
        let at_label = logits.gather(1, &labels, false);
        let log_sum = logits.logsumexp([1i64].as_slice(), true);
        let loss = (&log_sum - &at_label).sum(Kind::Double);
        let correct = logits.amax([1i64].as_slice(), true).eq_tensor(&at_label).sum(Kind::Double);
        let sums = Tensor::stack(&[loss, correct], 0);
        if let Some(gradient) = gradient {
            let _ = logits.g_sub_(&log_sum).exp_();
            let minus_one = Tensor::full([1, 1], -1.0, (logits.kind(), logits.device()));
            let _ = logits.scatter_add_(1, &labels, &minus_one.expand(labels.size(), false));
            let _ = logits.g_mul_scalar_(scale);
            add_column_sums(&mut gradient.bias, &logits);
        }
        (sums, logits)
    }

    fn add_table_gradient(&self, gradient: &mut Tensor, d_logits: &Tensor, rows: &Tensor) {
        let library = self.matmul.weight_gradient;
        // As for other weights: a GPU adds bfloat16's products to float32 sums as they are, a CPU rounds them first.
        if gradient.kind() == d_logits.kind() || d_logits.device() != Device::Cpu {
            add_product(library, gradient, &d_logits.tr(), rows);
        } else {
            let _ = gradient.g_add_(&product(library, &d_logits.tr(), rows));
        }
    }
}
