//! A copy of a checkpoint's content in memory of its own, so that training goes on while a thread writes it.
//!
//! The memory is three times that of the weights and is reused for every checkpoint. On a CPU the thread that trains
//! copies all of it, since libtorch's threads belong to that thread. What stays on a GPU until the next update is only
//! noted by it, and the thread that writes copies it ([`Snapshot::complete`]): the bus takes as long as a short step,
//! and the GPU computes meanwhile.

use tch::{Device, Kind, Tensor};
use tercet_configs::Recipe;

use super::TrainState;
use super::download::download;
use crate::model::{HostTensor, M3Model, ModelError, ModelFiles};
use crate::step::update::{Lasts, Moment};
use crate::tensors::libtorch::device::SideStream;

/// The state of a run at one step, as plain bytes.
pub struct Snapshot {
    pub(super) files: ModelFiles,
    pub(super) recipe: String,
    pub(super) state: TrainState,
    kind: Kind,
    /// Name and shape of every parameter, in the order of the flat buffers.
    parameters: Vec<(String, Vec<usize>)>,
    /// The weights and the optimizer's two moments, each of all parameters in that order.
    flat: [Vec<u8>; 3],
    /// What the weights of a GPU are copied in.
    stream: Option<SideStream>,
    /// What is yet to be copied into each of `flat`.
    noted: [Option<Tensor>; 3],
}

/// Which of `flat` has the weights.
const WEIGHTS: usize = 0;

/// Which of `flat` has a moment.
fn place(moment: Moment) -> usize {
    match moment {
        Moment::Mean => 1,
        Moment::Square => 2,
    }
}

impl Snapshot {
    /// Room for snapshots of `model`, and their content that stays the same through a run.
    ///
    /// # Errors
    /// As [`M3Model::files`].
    pub fn new(model: &M3Model, recipe: &Recipe) -> Result<Self, ModelError> {
        let (kind, device) = model.options();
        let shape = |shape: &[i64]| shape.iter().map(|&n| n as usize).collect();
        let room = || vec![0; model.parameters.numel() as usize * kind.elt_size_in_bytes()];
        Ok(Self {
            files: model.files()?,
            recipe: recipe.to_toml(),
            state: TrainState::default(),
            kind,
            parameters: model.parameters.specs().iter().map(|spec| (spec.name.clone(), shape(&spec.shape))).collect(),
            flat: [room(), room(), room()],
            stream: match device {
                Device::Cuda(index) => Some(SideStream::of(index)),
                _ => None,
            },
            noted: [None, None, None],
        })
    }

    /// Writes to every page of the memory, so that the system provides it.
    pub(super) fn touch(&mut self) {
        self.flat.iter_mut().for_each(|room| room.fill(1));
    }

    /// Takes the weights, `[N]`, which stay as they are until the next update.
    pub fn take(&mut self, weights: &Tensor, state: TrainState) {
        self.noted = [None, None, None];
        self.take_values(WEIGHTS, 0, weights, Lasts::UntilUpdate);
        self.state = state;
    }

    /// Takes `values` of one of the optimizer's moments, which belong to the elements of the flat buffers from `start`
    /// on. A checkpoint needs both moments of all elements.
    pub fn take_moment(&mut self, moment: Moment, start: i64, values: &Tensor, lasts: Lasts) {
        self.take_values(place(moment), start, values, lasts);
    }

    fn take_values(&mut self, place: usize, start: i64, values: &Tensor, lasts: Lasts) {
        let first = start as usize * self.kind.elt_size_in_bytes();
        let room = &mut self.flat[place][first..];
        let Some(stream) = &self.stream else {
            values.copy_data_u8(room, values.numel());
            return;
        };
        stream.follow();
        match lasts {
            Lasts::UntilUpdate => self.noted[place] = Some(values.shallow_clone()),
            Lasts::Briefly => download(stream, values, &mut room[..values.numel() * self.kind.elt_size_in_bytes()]),
        }
    }

    /// Whether something is noted and yet to be copied.
    pub(super) fn is_incomplete(&self) -> bool {
        self.noted.iter().any(Option::is_some)
    }

    /// Copies what is noted. Any thread may call it.
    pub(super) fn complete(&mut self) {
        let Some(stream) = &self.stream else { return };
        for (noted, room) in self.noted.iter_mut().zip(&mut self.flat) {
            noted.take().iter().for_each(|values| download(stream, values, room));
        }
    }

    /// Every weight.
    pub(super) fn weights(&self) -> Vec<(&str, HostTensor<'_>)> {
        self.views(&self.flat[WEIGHTS]).collect()
    }

    /// Every moment, as `mean.NAME` and `square.NAME`.
    pub(super) fn moments(&self) -> Vec<(String, HostTensor<'_>)> {
        let named = |moment: &'static str, flat| {
            self.views(flat).map(move |(name, tensor)| (format!("{moment}.{name}"), tensor))
        };
        let [mean, square] = [Moment::Mean, Moment::Square].map(|moment| &self.flat[place(moment)]);
        named("mean", mean).chain(named("square", square)).collect()
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
