//! Requests to stop: SIGTERM or SIGUSR1, sent to any rank, ends the run after the current step, with a checkpoint.
//!
//! A handler only sets a flag. The ranks agree on it once a step, so all end at the same step. SIGINT keeps its
//! default, because the terminal sends it to the launcher, which decides.

use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, LazyLock};

use signal_hook::consts::{SIGTERM, SIGUSR1};
use signal_hook::flag;

static ASKED: LazyLock<Arc<AtomicBool>> = LazyLock::new(Arc::default);

/// Makes the signals set the flag instead of ending the process.
///
/// # Errors
/// The operating system refuses a handler.
pub fn listen() -> io::Result<()> {
    [SIGTERM, SIGUSR1].into_iter().try_for_each(|signal| flag::register(signal, Arc::clone(&ASKED)).map(drop))
}

/// Whether this rank has been asked to stop.
pub(super) fn asked() -> bool {
    ASKED.load(Ordering::Relaxed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signal_is_noted() {
        listen().unwrap();
        assert!(!asked());
        signal_hook::low_level::raise(SIGUSR1).unwrap();
        assert!(asked());
    }
}
