//! The projection of rows to the vocabulary and its cross-entropy, without ever holding rows × vocabulary.
//!
//! Rows are projected a tile at a time. The tile's loss and the gradient of its logits are taken, and that gradient
//! goes back to the rows and into the weights' gradient. A tile's memory is bounded, so memory does not grow with the
//! number of rows times the vocabulary. Logits, loss and their gradient are in float32 (in float64 where all is),
//! whatever type rows and weights are of.
//!
//! Legend: K rows, R those of a tile, V vocabulary, d hidden size.

use tch::{Device, Kind, Tensor};
use tercet_configs::limits::logits_rows;

use super::linear::add_column_sums;
use super::matmul::Matmul;
use super::{Engine, Weight, cpu};
use crate::tensors::libtorch::{add_product, product, product_into};

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
    /// The sum of −log softmax at the label, and the number of rows whose largest logit is the label's: float64 `[2]`.
    pub sums: Tensor,
    /// The rows' gradient, [K, d]; none without a gradient.
    pub d_rows: Option<Tensor>,
}

impl Projection {
    /// Predicts `labels`, int64 `[K]`, from `rows`, [K, d]. With `gradient`, the weights' gradient of `scale` times the
    /// sum of cross-entropies is added there, and the rows' gradient is computed as well.
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
        let (width, kind) = (self.table.compute.size()[0], self.kind(rows));
        let room = Tensor::empty([tile.min(num_rows), width], (kind, rows.device()));
        for first in (0..num_rows).step_by(tile as usize) {
            let len = tile.min(num_rows - first);
            let [rows, labels] = [rows, labels].map(|all| all.narrow(0, first, len));
            let mut logits = room.narrow(0, 0, len); // [R, V]
            self.project(&rows, &mut logits);
            let _ = sums.g_add_(&self.learn(&mut logits, &labels, scale, gradient.as_mut()));
            if let (Some(gradient), Some(d_rows)) = (&mut gradient, &d_rows) {
                let d_logits = logits.to_kind(rows.kind());
                let mut d_rows = d_rows.narrow(0, first, len);
                product_into(self.matmul.input_gradient, &mut d_rows, &d_logits, &self.table.compute);
                self.add_table_gradient(&mut gradient.table, &d_logits, &rows);
            }
        }
        Predicted { sums, d_rows }
    }

    /// Rows of a tile.
    fn tile_rows(&self, rows: &Tensor) -> i64 {
        let width = self.table.compute.size()[0] as usize;
        logits_rows(rows.device().is_cuda(), width, self.kind(rows).elt_size_in_bytes()) as i64
    }

    /// The type of logits.
    fn kind(&self, rows: &Tensor) -> Kind {
        if rows.kind() == Kind::Double { Kind::Double } else { Kind::Float }
    }

    /// The logits, [R, V], without the bias.
    fn project(&self, rows: &Tensor, logits: &mut Tensor) {
        let table = self.table.compute.tr();
        // A GPU leaves sums of bfloat16's products in float32; a CPU rounds them.
        if logits.kind() == rows.kind() || rows.device().is_cuda() {
            product_into(self.matmul.forward, logits, rows, &table);
        } else {
            logits.copy_(&product(self.matmul.forward, rows, &table));
        }
    }

    /// A tile's sums, float64 `[2]`. With `gradient` the logits become their gradient, and that of the bias is added.
    fn learn(
        &self,
        logits: &mut Tensor,
        labels: &Tensor,
        scale: f64,
        gradient: Option<&mut ProjectionGradient>,
    ) -> Tensor {
        let bias = &self.bias.master;
        if Engine::of(logits) == Engine::Cpu {
            // int64 on the CPU, one-dimensional.
            let labels = Vec::<i64>::try_from(labels).expect("one-dimensional int64");
            let bias_gradient = gradient.map(|gradient| &mut gradient.bias);
            let told = cpu::cross_entropy::in_place(logits, bias, &labels, scale as f32, bias_gradient);
            return told.sum_dim_intlist([0i64].as_slice(), false, None::<Kind>);
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
            let at_label = logits.gather(1, &labels, false) - 1.0;
            let _ = logits.scatter_(1, &labels, &at_label).g_mul_scalar_(scale);
            add_column_sums(&mut gradient.bias, logits);
        }
        sums
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
