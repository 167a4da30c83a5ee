//! Ctrl-C and SIGTERM: noticed here, acted on by whoever waits for a guest.

use std::sync::atomic::{AtomicBool, Ordering};

static REQUESTED: AtomicBool = AtomicBool::new(false);
static GUEST_RUNS: AtomicBool = AtomicBool::new(false);

/// Installs the handler. Without a guest the process ends at once; with one, its
/// watcher ends the guest first.
pub(crate) fn install() {
    // Relaxed, all: flags that order nothing else.
    let handler = || {
        REQUESTED.store(true, Ordering::Relaxed);
        if !GUEST_RUNS.load(Ordering::Relaxed) {
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

/// Says whether a guest runs that must be ended first.
pub(crate) fn set_guest_runs(runs: bool) {
    GUEST_RUNS.store(runs, Ordering::Relaxed);
}
