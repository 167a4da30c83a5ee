//! What files need of signals.

use crate::process::signal::{self, SigInfo, Signal, code};
use crate::process::{Current, Pid, table};

/// Sends a signal to a group of processes; zero is no group.
pub(crate) fn signal_group(group: u32, signal: u8) {
    let group = Pid::new(group as usize);
    if let (Some(group), Some(signal)) = (group, Signal::new(signal.into())) {
        signal::send_to_group(group, SigInfo::of_kernel(signal));
    }
}

/// Interrupts the first process: Ctrl, Alt and Delete were pressed, and do nothing else.
pub(crate) fn interrupt_first() {
    if let Some(first) = table::find_process(Pid::FIRST) {
        // Without memory for it, it is as if they were not pressed.
        let _ = signal::send_to_process(&first, SigInfo::of_kernel(Signal::INT));
    }
}

/// Tells a thread that nobody reads what it writes.
pub(crate) fn raise_broken_pipe(current: &Current) {
    raise(current, Signal::PIPE);
}

/// Tells a thread that a file would be longer than it may make one.
pub(crate) fn raise_file_too_big(current: &Current) {
    raise(current, Signal::XFSZ);
}

fn raise(current: &Current, signal: Signal) {
    let info = SigInfo::of_sender(signal, code::USER, current.process.id());
    // A standard signal finds room always.
    let _ = signal::send_to_thread(&current.thread, info);
}
