//! Signals that ask the launcher to stop: while ranks run they are noted, and passed on by [`super::child`]; at any
//! other time they end the launcher, as they end any program. SIGUSR1 is what job systems send before a time limit.
//! SIGHUP keeps its default (the kernel then ends the ranks), so that `nohup` works.

use std::io;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};

use signal_hook::consts::{SIGINT, SIGTERM, SIGUSR1};
use signal_hook::flag;

/// The process's handlers; installed once, they stay.
static HANDLERS: OnceLock<Handlers> = OnceLock::new();

struct Handlers {
    /// The last signal that was noted, 0 for none.
    noted: Arc<AtomicUsize>,
    /// Signals do what they do by default.
    idle: Arc<AtomicBool>,
}

/// While it lives, signals are noted instead of ending the process.
pub struct Noted(&'static Handlers);

impl Noted {
    /// Begins to note signals. Only one at a time may live.
    ///
    /// # Errors
    /// The operating system refuses a handler.
    pub fn begin() -> io::Result<Self> {
        let handlers = match HANDLERS.get() {
            Some(handlers) => handlers,
            None => {
                let installed = Handlers::install()?;
                HANDLERS.get_or_init(|| installed)
            }
        };
        handlers.noted.store(0, Ordering::Relaxed);
        handlers.idle.store(false, Ordering::Relaxed);
        Ok(Self(handlers))
    }

    /// The signal that has come since the last call.
    pub fn take(&self) -> Option<i32> {
        match self.0.noted.swap(0, Ordering::Relaxed) {
            0 => None,
            signal => Some(signal as i32),
        }
    }
}

impl Drop for Noted {
    fn drop(&mut self) {
        self.0.idle.store(true, Ordering::Relaxed);
    }
}

impl Handlers {
    fn install() -> io::Result<Self> {
        let handlers = Self { noted: Arc::default(), idle: Arc::default() };
        for signal in [SIGINT, SIGTERM, SIGUSR1] {
            flag::register_conditional_default(signal, Arc::clone(&handlers.idle))?;
            flag::register_usize(signal, Arc::clone(&handlers.noted), signal as usize)?;
        }
        Ok(handlers)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signal_is_noted_once() {
        let noted = Noted::begin().unwrap();
        signal_hook::low_level::raise(SIGTERM).unwrap();
        assert_eq!((noted.take(), noted.take()), (Some(SIGTERM), None));
    }
}
