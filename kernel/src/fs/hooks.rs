//! What files need of signals.

/// Sends a signal to a group of processes; zero is no group.
pub(crate) fn signal_group(group: u32, signal: u8) {
    log::debug!("signal {signal} for group {group} was typed");
}

/// Tells a thread that nobody reads what it writes.
pub(crate) fn raise_broken_pipe(current: &crate::process::Current) {
    log::debug!("{:?}: broken pipe", current.thread);
}
