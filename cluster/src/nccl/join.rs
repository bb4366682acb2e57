//! How the ranks of an MPI job get to share a communicator.
//!
//! If one rank lacks something, all ranks learn it before they wait for each other in NCCL, and one of them reports it.

use std::thread;
use std::time::Duration;

use cudarc::nccl::sys::ncclUniqueId;

use super::Nccl;
use super::communicator::Communicator;
use super::driver::Device;
use super::even::Room;
use super::library::Library;
use crate::collective::Collective;
use crate::error::{CollectiveError, Place};
use crate::mpi::Mpi;
use crate::values::{broadcast_bytes, gather_counts};

impl Nccl {
    /// Joins with the ranks of `mpi`. Every rank calls it once, before anything touches its GPU, with the same
    /// `deadline`, the longest time that one operation may take.
    ///
    /// # Errors
    /// [`CollectiveError::Join`], on all ranks, if one of them has no usable NCCL, driver or GPU, or if NCCL cannot
    /// make the communicator. [`CollectiveError::Started`], on all ranks, if one of them shares its GPU with another.
    pub fn join(mpi: Mpi, deadline: Duration) -> Result<Self, CollectiveError> {
        let place = Place { rank: mpi.rank(), world_size: mpi.world_size(), host: mpi.host().to_owned() };
        let library = agree(&mpi, &place, Library::find())?;
        let device = agree(&mpi, &place, Device::of_rank(mpi.local_rank()))?;
        share_none(&mpi, &place, &device)?;
        let stream = agree(&mpi, &place, device.stream())?;
        let id =
            if place.rank == 0 { Communicator::unique_id(&library) } else { Ok(ncclUniqueId { internal: [0; 128] }) };
        let mut id = agree(&mpi, &place, id)?;
        let mut bytes = id.internal.map(|byte| byte as u8);
        mpi.broadcast(bytes[..].as_mut().into(), 0)?;
        id.internal = bytes.map(|byte| byte as std::ffi::c_char);
        let communicator = agree(&mpi, &place, Communicator::meet(library, &place, id, deadline))?;
        Ok(Self { place, communicator, stream, room: Room::default(), device, mpi })
    }
}

/// What this rank has found, if every rank has found it; else, on all ranks, the error of the first rank that has not.
fn agree<T>(mpi: &Mpi, place: &Place, found: Result<T, impl ToString>) -> Result<T, CollectiveError> {
    let failed = gather_counts(mpi, usize::from(found.is_err()))?;
    let Some(first) = failed.iter().position(|failed| *failed > 0) else {
        return found.map_err(|error| CollectiveError::Join(error.to_string()));
    };
    let mut words = found.err().map_or(String::new(), |error| error.to_string());
    let own_place = place.to_string();
    if !words.starts_with(&own_place) {
        words = format!("{own_place}: {words}");
    }
    let mut words = words.into_bytes();
    broadcast_bytes(mpi, &mut words, first)?;
    if place.rank != first {
        // That rank reports for all, and ends this one before it reports as well.
        thread::sleep(Duration::from_secs(1));
    }
    Err(CollectiveError::Join(String::from_utf8_lossy(&words).into_owned()))
}

/// Checks that no two ranks share a GPU, as NCCL requires.
fn share_none(mpi: &Mpi, place: &Place, device: &Device) -> Result<(), CollectiveError> {
    let len = device.uuid.len();
    let mut all = vec![0u8; len * place.world_size];
    mpi.all_gather(device.uuid[..].into(), all.as_mut_slice().into(), &vec![len; place.world_size])?;
    let other = all.chunks(len).take(place.rank).position(|uuid| uuid == device.uuid);
    let found = match other {
        None => Ok(()),
        Some(other) => Err(format!(
            "drives the same GPU as rank {other} (GPU {}, {}), and NCCL wants one for each rank: start as many ranks as \
             there are GPUs, or set backend = \"mpi\"",
            device.ordinal, device.name
        )),
    };
    agree(mpi, place, found).map_err(|error| match error {
        // The user decides on the number of ranks and on the GPUs that they see.
        CollectiveError::Join(words) => CollectiveError::Started(words),
        other => other,
    })
}
