//! Ctrl-C and SIGTERM: noticed here, acted on by whoever waits for a guest.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

static REQUESTED: AtomicBool = AtomicBool::new(false);
/// Guests that run.
static GUESTS: AtomicUsize = AtomicUsize::new(0);

/// Installs the handler. Without a guest the process ends at once; with one, its
/// watcher ends the guest first.
pub(crate) fn install() {
    // Relaxed, all: words that order nothing else.
    let handler = || {
        REQUESTED.store(true, Ordering::Relaxed);
        if GUESTS.load(Ordering::Relaxed) == 0 {
            std::process::exit(130);
        }
    };
    if let Err(error) = ctrlc::set_handler(handler) {
        eprintln!("warning: Ctrl-C may leave an emulator behind: {error}");
    }
}

/// Returns whether the user wants an end.
pub(crate) fn is_requested() -> bool {
    REQUESTED.load(Ordering::Relaxed)
}

/// A guest that runs, and must be ended before this process.
#[derive(Debug)]
pub(crate) struct RunningGuest(());

impl RunningGuest {
    pub(crate) fn new() -> Self {
        GUESTS.fetch_add(1, Ordering::Relaxed);
        Self(())
    }
}

impl Drop for RunningGuest {
    fn drop(&mut self) {
        GUESTS.fetch_sub(1, Ordering::Relaxed);
    }
}
