//! Signals that files send.

use crate::process::signal::{SigInfo, Signal, send_to_group, send_to_thread};
use crate::process::{Current, Pid};

/// Sends a signal that was typed to a group of processes; zero is no group.
pub(crate) fn signal_group(group: u32, signal: u8) {
    let group = Pid::new(group as usize);
    if let (Some(group), Some(signal)) = (group, Signal::new(signal.into())) {
        send_to_group(group, SigInfo::of_kernel(signal));
    }
}

/// Tells a thread that nobody reads what it writes.
pub(crate) fn raise_broken_pipe(current: &Current) {
    let info = SigInfo::of_kernel(Signal::PIPE);
    // A standard signal always finds room.
    let _ = send_to_thread(&current.thread, info);
}
