//! A copy of a checkpoint's content in memory of its own, so that training goes on while a thread writes it.
//!
//! The memory is three times that of the weights and is reused for every checkpoint. On a CPU the thread that trains
//! copies all of it, since libtorch's threads belong to that thread. What stays on a GPU until the next update is only
//! noted by it, and the thread that writes copies it ([`Snapshot::complete`]): the bus takes as long as a short step,
//! and the GPU computes meanwhile. The moments of a sharded state pass by on the GPU, so there is page-locked memory
//! for all of them, into which the GPU copies, and no thread waits for that before it writes.

use std::borrow::Cow;
use std::ops::Range;
use std::slice;

use safetensors::{Dtype, View};
use tch::{Device, Kind, Tensor};
use tercet_configs::Recipe;

use super::TrainState;
use super::room::Room;
use crate::model::{HostTensor, M3Model, ModelError, ModelFiles, dtype};
use crate::ops::norms::norms;
use crate::step::update::{Lasts, Moment};
use crate::tensors::libtorch::device::SideStream;

/// The state of a run at one step, as plain bytes.
pub struct Snapshot {
    pub(super) files: ModelFiles,
    pub(super) recipe: String,
    pub(super) state: TrainState,
    kind: Kind,
    /// Every weight was a number when the run began. A model's file may have others in rows that no text reads.
    pub(super) begins_finite: bool,
    /// Name and shape of every parameter, in the order of the flat buffers.
    parameters: Vec<(String, Vec<usize>)>,
    /// The weights and the optimizer's two moments, each of all parameters in that order.
    flat: [Room; 3],
    /// What a GPU's memory is copied in.
    stream: Option<SideStream>,
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
        let bytes = model.parameters.numel() as usize * kind.elt_size_in_bytes();
        let passes_by = device.is_cuda() && recipe.optimizer.shard_state;
        let moment = || if passes_by { Room::locked(bytes) } else { Room::plain(bytes) };
        Ok(Self {
            files: model.files()?,
            recipe: recipe.to_toml(),
            state: TrainState::default(),
            kind,
            begins_finite: norms(slice::from_ref(&model.parameters.flat)).iter().all(|norm| norm.is_finite()),
            parameters: model.parameters.specs().iter().map(|spec| (spec.name.clone(), shape(&spec.shape))).collect(),
            flat: [Room::plain(bytes), moment(), moment()],
            stream: match device {
                Device::Cuda(index) => Some(SideStream::of(index)),
                _ => None,
            },
        })
    }

    /// Has the system provide the memory.
    pub(super) fn touch(&mut self) {
        self.flat.iter_mut().for_each(Room::touch);
    }

    /// Takes the weights, `[N]`, which stay as they are until the next update.
    pub fn take(&mut self, weights: &Tensor, state: TrainState) {
        self.flat.iter_mut().for_each(Room::begin);
        self.take_values(WEIGHTS, 0, weights, Lasts::UntilUpdate);
        self.state = state;
    }

    /// Takes `values` of one of the optimizer's moments, which belong to the elements of the flat buffers from `start`
    /// on. A checkpoint needs both moments of all elements.
    pub fn take_moment(&mut self, moment: Moment, start: i64, values: &Tensor, lasts: Lasts) {
        self.take_values(place(moment), start, values, lasts);
    }

    fn take_values(&mut self, place: usize, start: i64, values: &Tensor, lasts: Lasts) {
        let (first, room) = (start as usize * self.kind.elt_size_in_bytes(), &mut self.flat[place]);
        match &self.stream {
            None => room.copy(first, values),
            Some(stream) => {
                assert!(room.is_locked() || lasts == Lasts::UntilUpdate, "plain memory is filled too late for these");
                room.take(first, values, stream);
            }
        }
    }

    /// Whether something on the GPU is yet to be copied, which must not change before.
    pub(super) fn is_incomplete(&self) -> bool {
        self.flat.iter().any(Room::is_incomplete)
    }

    /// Returns when all that was taken is there. Any thread may call it.
    pub(super) fn complete(&mut self) {
        let Some(stream) = &self.stream else { return };
        self.flat.iter_mut().for_each(|room| room.complete(stream));
    }

    /// Every weight.
    pub(super) fn weights(&self) -> Vec<(&str, HostTensor<'_>)> {
        self.parts(WEIGHTS).map(|(name, part)| (name, part.read())).collect()
    }

    /// Every moment, as `mean.NAME` and `square.NAME`.
    pub(super) fn moments(&self) -> Vec<(String, Part<'_>)> {
        let named =
            |moment: &'static str, place| self.parts(place).map(move |(name, part)| (format!("{moment}.{name}"), part));
        named("mean", place(Moment::Mean)).chain(named("square", place(Moment::Square))).collect()
    }

    fn parts(&self, place: usize) -> impl Iterator<Item = (&str, Part<'_>)> {
        let mut end = 0;
        self.parameters.iter().map(move |(name, shape)| {
            let start = end;
            end += shape.iter().product::<usize>() * self.kind.elt_size_in_bytes();
            (name.as_str(), Part { room: &self.flat[place], kind: self.kind, shape, bytes: start..end })
        })
    }
}

/// A parameter's numbers in a room. They are read when they are written.
pub(super) struct Part<'a> {
    room: &'a Room,
    kind: Kind,
    shape: &'a [usize],
    bytes: Range<usize>,
}

impl<'a> Part<'a> {
    fn read(&self) -> HostTensor<'a> {
        HostTensor { kind: self.kind, shape: self.shape.to_vec(), bytes: self.room.bytes(self.bytes.clone()) }
    }
}

impl View for &Part<'_> {
    fn dtype(&self) -> Dtype {
        dtype(self.kind)
    }

    fn shape(&self) -> &[usize] {
        self.shape
    }

    fn data(&self) -> Cow<'_, [u8]> {
        self.room.bytes(self.bytes.clone())
    }

    fn data_len(&self) -> usize {
        self.bytes.len()
    }
}
