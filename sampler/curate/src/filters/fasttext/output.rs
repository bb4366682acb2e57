//! From a text's vector to the probabilities of labels.
//!
//! Exponentials and logarithms are `libm`'s, so that all machines find the same.

use std::io;

use super::file::wrong;
use super::matrix::Matrix;

const TREE: i32 = 1;
const SOFTMAX: i32 = 3;

/// How labels get probabilities.
#[derive(Debug)]
pub struct Output {
    weights: Matrix,
    num_labels: usize,
    /// In a tree, the two nodes below each inner node, as numbers of nodes; labels are the first nodes.
    tree: Option<Vec<(usize, usize)>>,
}

impl Output {
    /// An output by its weights, [labels, width] or [inner nodes, width].
    ///
    /// # Errors
    /// The loss is none that is known here, or labels and weights do not agree.
    pub fn new(weights: Matrix, loss: i32, label_counts: &[i64]) -> io::Result<Self> {
        let num_labels = label_counts.len();
        let tree = match loss {
            TREE => Some(tree_of(label_counts)),
            SOFTMAX => None,
            _ => return Err(wrong("a classifier with neither a softmax nor a tree, which is not known here")),
        };
        match weights.num_rows() == num_labels {
            true => Ok(Self { weights, num_labels, tree }),
            false => Err(wrong(format!("{} rows for {num_labels} labels", weights.num_rows()))),
        }
    }

    /// Puts the probability of each label into `probabilities`.
    pub fn probabilities(&self, hidden: &[f32], probabilities: &mut Vec<f32>) {
        probabilities.clear();
        probabilities.resize(self.num_labels, 0.0);
        match &self.tree {
            Some(below) if !below.is_empty() => {
                let mut left = vec![(below.len() - 1, 0.0)];
                while let Some((inner, score)) = left.pop() {
                    let right_share = sigmoid(self.weights.dot_row(inner, hidden));
                    let (first, second) = below[inner];
                    for (node, share) in [(first, 1.0 - right_share), (second, right_share)] {
                        let score = score + log(share);
                        match node.checked_sub(self.num_labels) {
                            Some(inner) => left.push((inner, score)),
                            None => probabilities[node] = exp(score),
                        }
                    }
                }
            }
            Some(_) => probabilities.fill(1.0),
            None => {
                for (label, score) in probabilities.iter_mut().enumerate() {
                    *score = self.weights.dot_row(label, hidden);
                }
                let most = probabilities.iter().copied().fold(f32::MIN, f32::max);
                probabilities.iter_mut().for_each(|score| *score = exp(*score - most));
                let sum: f32 = probabilities.iter().sum();
                probabilities.iter_mut().for_each(|score| *score = exp(log(*score / sum)));
            }
        }
    }
}

/// Huffman's tree over labels, which are sorted by their counts, the greatest first.
fn tree_of(counts: &[i64]) -> Vec<(usize, usize)> {
    let num = counts.len();
    let mut all = counts.to_vec();
    // Greater than any count, for nodes that are not there yet.
    all.resize(2 * num - 1, 1_000_000_000_000_000);
    let (mut leaf, mut node) = (num, num);
    (num..2 * num - 1)
        .map(|new| {
            let mut take = || {
                if leaf > 0 && all[leaf - 1] < all.get(node).copied().unwrap_or(i64::MAX) {
                    leaf -= 1;
                    leaf
                } else {
                    node += 1;
                    node - 1
                }
            };
            let (first, second) = (take(), take());
            all[new] = all[first] + all[second];
            (first, second)
        })
        .collect()
}

fn sigmoid(x: f32) -> f32 {
    (1.0 / f64::from(1.0 + exp(-x))) as f32
}

fn exp(x: f32) -> f32 {
    libm::exp(f64::from(x)) as f32
}

/// A logarithm that a share of nothing has, too.
fn log(x: f32) -> f32 {
    libm::log(f64::from(x) + 1e-5) as f32
}
