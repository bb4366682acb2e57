//! What the host makes for a GPU, made while the GPU computes.
//!
//! A GPU's queue drains if the thread that fills it stops to gather a sub-batch's tensors. So a thread of its own
//! gathers them beforehand, in the order in which they are wanted. On a CPU the cores compute until then, so nothing is
//! made before it is wanted.

use std::sync::mpsc::sync_channel;
use std::thread::{self, Builder};

use tch::Device;

/// How many wait to be wanted.
const AHEAD: usize = 2;

/// Does `work`, and hands it what `make` makes of each of `wanted`, in their order, whenever it asks for the next.
///
/// # Panics
/// If `work` asks for more than there is, or `make` panics.
pub fn made_ahead<T: Send, R>(
    device: Device,
    wanted: &[usize],
    make: impl Fn(usize) -> T + Sync,
    work: impl FnOnce(&mut dyn FnMut() -> T) -> R,
) -> R {
    const MORE: &str = "no more is asked for than is wanted";
    let mut own = wanted.iter();
    let mut when_asked = || make(*own.next().expect(MORE));
    if device == Device::Cpu {
        return work(&mut when_asked);
    }
    thread::scope(|scope| {
        // The receiver goes with this block, before anybody waits for the thread: one that still has something ends.
        let (made, next) = sync_channel(AHEAD);
        let make = &make;
        let ahead = move || wanted.iter().try_for_each(|&one| made.send(make(one))).unwrap_or(());
        match Builder::new().name("ahead".to_owned()).spawn_scoped(scope, ahead) {
            Ok(_) => work(&mut || next.recv().expect(MORE)),
            // The system has no thread left. Then the GPU waits a little.
            Err(_) => work(&mut when_asked),
        }
    })
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;

    #[test]
    fn all_come_in_order_on_every_device() {
        for device in [Device::Cpu, Device::Cuda(0)] {
            let squares = made_ahead(
                device,
                &[0, 1, 2, 3, 4, 5, 6],
                |n| n * n,
                |next| (0..7).map(|_| next()).collect::<Vec<_>>(),
            );
            assert_eq!(squares, [0, 1, 4, 9, 16, 25, 36], "{device:?}");
        }
    }

    /// Also where there are more than wait.
    #[test]
    fn what_nobody_asks_for_holds_up_nobody() {
        for device in [Device::Cpu, Device::Cuda(0)] {
            assert_eq!(made_ahead(device, &[0; 10], |n| n, |next| next()), 0, "{device:?}");
        }
    }

    #[test]
    fn another_thread_makes_them_for_a_gpu_alone() {
        for device in [Device::Cpu, Device::Cuda(0)] {
            let makers = Mutex::new(Vec::new());
            let make = |_: usize| makers.lock().unwrap().push(thread::current().id());
            made_ahead(device, &[0; 3], make, |next| (0..3).for_each(|_| next()));
            let own = makers.into_inner().unwrap().iter().all(|&id| id == thread::current().id());
            assert_eq!(own, device == Device::Cpu);
        }
    }
}
