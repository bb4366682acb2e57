//! The projection to the vocabulary and its cross-entropy.

use tch::{Kind, Tensor};

use super::{ALL, Case, leaves, master, ones, wave, weight};
use crate::ops::matmul::Matmul;
use crate::ops::vocabulary::{Predicted, Projection, ProjectionGradient};
use crate::tensors::libtorch;

/// What the gradient is a multiple of.
const SCALE: f64 = 0.125;

/// Sums, gradients of rows, table and bias, and the sums without a gradient.
pub fn prediction(num_rows: i64, words: i64) -> Case {
    let width = 24;
    let (rows, table, bias) =
        (wave(&[num_rows, width], 0.7, 1.0), wave(&[words, width], 0.9, 1.0), wave(&[words], 1.3, 0.5));
    let labels = Tensor::from_slice(&(0..num_rows).map(|row| row * 31 % words).collect::<Vec<_>>());

    let [x, e, b] = leaves([&rows, &table, &bias]);
    let log_softmax = (x.matmul(&e.tr()) + &b).log_softmax(-1, None);
    let loss = -log_softmax.gather(1, &labels.unsqueeze(1), false).sum(Kind::Double);
    libtorch::backward(&[(&loss, &Tensor::from(SCALE))]);
    // How many are predicted first may differ by rounding where two are nearly alike: it is asked apart.
    let exact = vec![loss.detach(), x.grad(), e.grad() + 1.0, b.grad() + 1.0, loss.detach()];
    let found = move |kind| {
        let projection =
            Projection { table: weight(&table, kind), bias: weight(&bias, kind), matmul: Matmul::default() };
        let gradient = ProjectionGradient { table: ones(&table, master(kind)), bias: ones(&bias, master(kind)) };
        let (rows, kept) = (rows.to_kind(kind), [gradient.table.shallow_clone(), gradient.bias.shallow_clone()]);
        let Predicted { sums, d_rows } = projection.predict(&rows, &labels, SCALE, Some(gradient));
        let [d_table, d_bias] = kept;
        let again = projection.predict(&rows, &labels, SCALE, None).sums;
        vec![sums.get(0), d_rows.unwrap(), d_table, d_bias, again.get(0)]
    };
    let name = format!("prediction of {num_rows} rows among {words} words");
    Case { name, kinds: ALL, found: Box::new(found), exact, tolerances: [5e-6, 3e-2] }
}

#[test]
fn labels_predicted_first_are_counted() {
    let kinds = [Kind::Double, Kind::Float];
    for kind in kinds {
        let rows = Tensor::eye(3, (kind, tch::Device::Cpu)) * 5.0;
        let projection = Projection {
            table: weight(&rows, kind),
            bias: weight(&Tensor::from_slice(&[0.0, 0.0, 100.0]), kind),
            matmul: Matmul::default(),
        };
        // The bias makes every row predict the last word.
        let sums = projection.predict(&rows, &Tensor::from_slice(&[0i64, 2, 2]), 1.0, None).sums;
        assert_eq!(sums.double_value(&[1]), 2.0, "{kind:?}");
    }
}
