//! A copy of a checkpoint's content in memory of its own, so that training goes on while a thread writes it.
//!
//! The memory is three times that of the weights and is reused for every checkpoint. After [`Snapshot::new`] only
//! [`Snapshot::take`] needs libtorch, because a tensor must not leave the thread that trains, and libtorch's threads
//! belong to that thread.

use tch::{Kind, Tensor};
use tercet_configs::Recipe;

use super::TrainState;
use crate::model::{HostTensor, M3Model, ModelError, ModelFiles};
use crate::step::update::Moment;

/// The state of a run at one step, as plain bytes.
pub struct Snapshot {
    pub(super) files: ModelFiles,
    pub(super) recipe: String,
    pub(super) state: TrainState,
    kind: Kind,
    /// Name and shape of every parameter, in the order of the flat buffers.
    parameters: Vec<(String, Vec<usize>)>,
    /// The weights and the optimizer's two moments, each of all parameters in that order.
    weights: Vec<u8>,
    mean: Vec<u8>,
    square: Vec<u8>,
}

impl Snapshot {
    /// Room for snapshots of `model`, and their content that stays the same through a run.
    ///
    /// # Errors
    /// As [`M3Model::files`].
    pub fn new(model: &M3Model, recipe: &Recipe) -> Result<Self, ModelError> {
        let kind = model.options().0;
        let shape = |shape: &[i64]| shape.iter().map(|&n| n as usize).collect();
        let room = || vec![0; model.parameters.numel() as usize * kind.elt_size_in_bytes()];
        Ok(Self {
            files: model.files()?,
            recipe: recipe.to_toml(),
            state: TrainState::default(),
            kind,
            parameters: model.parameters.specs().iter().map(|spec| (spec.name.clone(), shape(&spec.shape))).collect(),
            weights: room(),
            mean: room(),
            square: room(),
        })
    }

    /// Writes to every page of the memory, so that the system provides it.
    pub(super) fn touch(&mut self) {
        [&mut self.weights, &mut self.mean, &mut self.square].into_iter().for_each(|room| room.fill(1));
    }

    /// Copies the weights, `[N]`. Training waits only for this and for [`Snapshot::take_moment`].
    pub fn take(&mut self, weights: &Tensor, state: TrainState) {
        weights.copy_data_u8(&mut self.weights, weights.numel());
        self.state = state;
    }

    /// Copies `values` of one of the optimizer's moments, which belong to the elements of the flat buffers from `start`
    /// on. A checkpoint needs both moments of all elements.
    pub fn take_moment(&mut self, moment: Moment, start: i64, values: &Tensor) {
        let room = match moment {
            Moment::Mean => &mut self.mean,
            Moment::Square => &mut self.square,
        };
        let start = start as usize * self.kind.elt_size_in_bytes();
        values.copy_data_u8(&mut room[start..], values.numel());
    }

    /// Every weight.
    pub(super) fn weights(&self) -> Vec<(&str, HostTensor<'_>)> {
        self.views(&self.weights).collect()
    }

    /// Every moment, as `mean.NAME` and `square.NAME`.
    pub(super) fn moments(&self) -> Vec<(String, HostTensor<'_>)> {
        let named = |moment: &'static str, flat| {
            self.views(flat).map(move |(name, tensor)| (format!("{moment}.{name}"), tensor))
        };
        named("mean", &self.mean).chain(named("square", &self.square)).collect()
    }

    fn views<'a>(&'a self, flat: &'a [u8]) -> impl Iterator<Item = (&'a str, HostTensor<'a>)> {
        let mut start = 0;
        self.parameters.iter().map(move |(name, shape)| {
            let len = shape.iter().product::<usize>() * self.kind.elt_size_in_bytes();
            let bytes = flat[start..start + len].into();
            start += len;
            (name.as_str(), HostTensor { kind: self.kind, shape: shape.clone(), bytes })
        })
    }
}
