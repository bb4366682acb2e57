//! All weights in one flat buffer, all gradients in another.
//!
//! One buffer means one all-reduce, one norm and one optimizer update, in an order that is the same on every rank.
//! Weights that decay come first, biases and layer norms after them, so that weight decay is a prefix.

use std::collections::HashMap;

use tch::{Device, Kind, Tensor};

use crate::ops::Weight;
use crate::ops::matmul::Matmul;

/// How a weight starts when no file gives it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Init {
    /// Normal with this standard deviation.
    Normal(f64),
    /// All of this value.
    Constant(f64),
}

/// Name, shape and initial values of one weight.
#[derive(Debug, Clone)]
pub struct Spec {
    /// The Hugging Face name.
    pub name: String,
    /// The shape.
    pub shape: Vec<i64>,
    /// The initial values.
    pub init: Init,
}

impl Spec {
    /// Number of elements.
    pub fn numel(&self) -> i64 {
        self.shape.iter().product()
    }

    /// Biases and layer norms do not decay.
    fn decays(&self) -> bool {
        !(self.name.ends_with(".bias") || self.name.contains("LayerNorm") || self.name.contains("layer_norm"))
    }
}

/// Where one weight lies in the flat buffers, or several neighbours whose rows follow each other.
#[derive(Debug, Clone, PartialEq)]
pub struct Span {
    start: i64,
    shape: Vec<i64>,
}

impl Span {
    fn of(&self, buffer: &Tensor) -> Tensor {
        buffer.narrow(0, self.start, self.shape.iter().product()).view(self.shape.as_slice())
    }

    /// Its first `rows` rows, and the rest.
    pub fn cut_at(&self, rows: i64) -> [Self; 2] {
        let row_len: i64 = self.shape[1..].iter().product();
        let part = |start: i64, rows: i64| {
            let mut shape = self.shape.clone();
            shape[0] = rows;
            Self { start, shape }
        };
        [part(self.start, rows), part(self.start + rows * row_len, self.shape[0] - rows)]
    }

    /// Its first element.
    pub fn start(&self) -> i64 {
        self.start
    }
}

/// The weights of a model, and their gradients once training starts.
pub struct Parameters {
    specs: Vec<Spec>,
    offsets: Vec<i64>,
    index: HashMap<String, usize>,
    num_decayed: i64,
    /// Every weight, `[N]`.
    pub flat: Tensor,
    /// The encoder's copy of them in its own type, `[N]`; none where it is the same.
    compute: Option<Tensor>,
    /// Every gradient, `[N]`; none before [`Parameters::enable_gradients`].
    flat_grad: Option<Tensor>,
    leaves: Vec<Tensor>,
    /// The libraries that multiply by the weights in float32 on a CPU.
    pub matmul: Matmul,
}

impl Parameters {
    /// Buffers for `specs`, filled with zeros.
    pub fn new(mut specs: Vec<Spec>, kind: Kind, device: Device) -> Self {
        specs.sort_by_key(|spec| !spec.decays());
        let mut offsets = vec![0];
        for spec in &specs {
            offsets.push(offsets[offsets.len() - 1] + spec.numel());
        }
        let num_decayed = specs.iter().filter(|s| s.decays()).map(Spec::numel).sum();
        let flat = Tensor::zeros([offsets[specs.len()]], (kind, device));
        let leaves = (0..specs.len())
            .map(|i| flat.narrow(0, offsets[i], specs[i].numel()).view(specs[i].shape.as_slice()).detach())
            .collect();
        let index = specs.iter().enumerate().map(|(i, s)| (s.name.clone(), i)).collect();
        Self {
            specs,
            offsets,
            index,
            num_decayed,
            flat,
            compute: None,
            flat_grad: None,
            leaves,
            matmul: Matmul::default(),
        }
    }

    /// Draws the wanted weights' initial values from libtorch's generator as [`tch::manual_seed`] left it, in name
    /// order.
    ///
    /// The numbers are drawn on the CPU whatever the device: what a GPU's generator gives depends on its number of
    /// processors, so ranks with cards of two models would start from different weights.
    pub fn initialise(&mut self, wanted: impl Fn(&str) -> bool) {
        let _guard = tch::no_grad_guard();
        let mut order: Vec<usize> = (0..self.specs.len()).collect();
        order.sort_by(|&a, &b| self.specs[a].name.cmp(&self.specs[b].name));
        for i in order.into_iter().filter(|&i| wanted(&self.specs[i].name)) {
            let mut leaf = self.leaves[i].shallow_clone();
            match self.specs[i].init {
                Init::Normal(std) if leaf.device() != Device::Cpu => {
                    let mut drawn = Tensor::empty(leaf.size(), (leaf.kind(), Device::Cpu));
                    leaf.copy_(&drawn.normal_(0.0, std));
                }
                Init::Normal(std) => drop(leaf.normal_(0.0, std)),
                Init::Constant(value) => drop(leaf.fill_(value)),
            }
        }
    }

    /// Makes the encoder compute in `kind`, with a copy of the weights if theirs is another.
    pub fn compute_in(&mut self, kind: Kind) {
        self.compute = (kind != self.flat.kind()).then(|| self.flat.to_kind(kind));
    }

    /// Renews the encoder's copy. Whoever changes the weights calls it, or changes the copy as well.
    pub fn refresh(&self) {
        if let Some(copy) = &self.compute {
            tch::no_grad(|| copy.shallow_clone().copy_(&self.flat));
        }
    }

    /// The encoder's copy of the weights, `[N]`, for one who changes both; none where the encoder computes with the
    /// weights themselves.
    pub fn copy(&self) -> Option<&Tensor> {
        self.compute.as_ref()
    }

    /// The type that the encoder computes in.
    pub fn compute_kind(&self) -> Kind {
        self.compute.as_ref().unwrap_or(&self.flat).kind()
    }

    /// Where `names` lie, which must be neighbours in this order with rows of one length.
    ///
    /// # Panics
    /// If the model has none of a name, or they are no such neighbours.
    pub fn span(&self, names: &[String]) -> Span {
        let positions: Vec<usize> = names.iter().map(|name| self.position(name)).collect();
        let neighbours = positions
            .windows(2)
            .all(|pair| pair[1] == pair[0] + 1 && self.specs[pair[0]].shape[1..] == self.specs[pair[1]].shape[1..]);
        assert!(neighbours, "{names:?} are neighbours");
        let mut shape = self.specs[positions[0]].shape.clone();
        shape[0] = positions.iter().map(|&i| self.specs[i].shape[0]).sum();
        Span { start: self.offsets[positions[0]], shape }
    }

    /// A span of the weights as the encoder computes with them.
    pub fn weight_at(&self, span: &Span) -> Tensor {
        span.of(self.compute.as_ref().unwrap_or(&self.flat))
    }

    /// As [`Parameters::weight_at`], together with the weights themselves.
    pub fn both_at(&self, span: &Span) -> Weight {
        Weight { compute: self.weight_at(span), master: span.of(&self.flat) }
    }

    /// A span of the gradient.
    ///
    /// # Panics
    /// If gradients were not enabled.
    pub fn grad_at(&self, span: &Span) -> Tensor {
        span.of(self.flat_grad.as_ref().expect("enable_gradients was called"))
    }

    /// Allocates the flat gradient and makes autograd accumulate into it; `by_hand` are left to the caller.
    ///
    /// libtorch adds a new gradient in place to one that exists (`AccumulateGrad`), so a first gradient is made for
    /// each leaf and then given the flat buffer's memory.
    pub fn enable_gradients(&mut self, by_hand: impl Fn(&str) -> bool) {
        let flat_grad = self.flat.zeros_like();
        for (i, leaf) in self.leaves.iter().enumerate() {
            if by_hand(&self.specs[i].name) {
                continue;
            }
            let _ = leaf.set_requires_grad(true);
            (leaf.sum(leaf.kind()) * 0.0).backward();
            let spec = &self.specs[i];
            let view = flat_grad.narrow(0, self.offsets[i], spec.numel()).view(spec.shape.as_slice());
            leaf.grad().set_data(&view);
        }
        self.flat_grad = Some(flat_grad);
    }

    /// The weight called `name`, as autograd's leaf.
    ///
    /// # Panics
    /// If the model has none of that name.
    pub fn leaf(&self, name: &str) -> Tensor {
        self.leaves[self.position(name)].shallow_clone()
    }

    /// The gradient of `name` as a view of the flat one.
    ///
    /// # Panics
    /// If the model has none of that name, or gradients were not enabled.
    pub fn grad(&self, name: &str) -> Tensor {
        self.nth_grad(self.position(name))
    }

    /// Every gradient, `[N]`.
    ///
    /// # Panics
    /// If gradients were not enabled.
    pub fn flat_grad(&self) -> Tensor {
        self.flat_grad.as_ref().expect("enable_gradients was called").shallow_clone()
    }

    /// (name, weight, gradient) in the flat buffer's order.
    pub fn named_grads(&self) -> impl Iterator<Item = (&str, Tensor)> {
        self.specs.iter().enumerate().map(|(i, spec)| (spec.name.as_str(), self.nth_grad(i)))
    }

    /// (name, view of `buffer`) in the flat buffer's order; `buffer` is `[N]`, e.g. optimizer state.
    pub fn named_views<'a>(&'a self, buffer: &'a Tensor) -> impl Iterator<Item = (&'a str, Tensor)> + 'a {
        self.specs.iter().enumerate().map(move |(i, spec)| {
            let view = buffer.narrow(0, self.offsets[i], spec.numel()).view(spec.shape.as_slice());
            (spec.name.as_str(), view)
        })
    }

    /// The specs in the flat buffer's order.
    pub fn specs(&self) -> &[Spec] {
        &self.specs
    }

    /// The number of all elements (N).
    pub fn numel(&self) -> i64 {
        self.flat.size()[0]
    }

    /// The number of elements, from the start, that weight decay concerns.
    pub fn num_decayed(&self) -> i64 {
        self.num_decayed
    }

    /// Whether a weight of that name exists.
    pub fn contains(&self, name: &str) -> bool {
        self.index.contains_key(name)
    }

    fn position(&self, name: &str) -> usize {
        *self.index.get(name).unwrap_or_else(|| panic!("the model has no weight {name}"))
    }

    fn nth_grad(&self, i: usize) -> Tensor {
        self.flat_grad().narrow(0, self.offsets[i], self.specs[i].numel()).view(self.specs[i].shape.as_slice())
    }
}
