//! Sending signals: to a thread, a process, a group of processes.
//!
//! A sender adds the signal to those that wait, and then has a thread look that does
//! not block it. A thread that opens a signal does so first and looks then. So one of
//! the two sees the other.
//!
//! The first process cannot be ended or stopped by others, as on Linux; unlike there, it
//! can by itself.
//!
//! Sending never sleeps; it allocates, so it is nothing for interrupt handlers.

use alloc::sync::Arc;

use super::action::flag;
use super::{DefaultAction, SigInfo, Signal, SignalSet, code};
use crate::errno::Errno;
use crate::process::{End, Pid, Process, Thread, table};

/// Sends a signal to a process, any of whose threads may take it.
///
/// # Errors
///
/// [`Errno::Again`] when too many real-time signals wait.
pub(crate) fn send_to_process(process: &Process, info: SigInfo) -> Result<(), Errno> {
    let signal = info.signal;
    if !arrives(process, &info) {
        return Ok(());
    }
    let ignored = process.signals.actions().get(signal).ignores(signal);
    let threads = process.threads();
    let keeps = |thread: &Arc<Thread>| thread.signals.blocked().contains(signal);
    if ignored && !threads.iter().any(keeps) {
        return Ok(());
    }
    process.signals.pending.add(info)?;
    if let Some(thread) = threads.iter().find(|thread| thread.signals.wants(signal)) {
        thread.call_attention();
    }
    Ok(())
}

/// Sends a signal to a thread alone.
///
/// # Errors
///
/// As [`send_to_process`].
pub(crate) fn send_to_thread(thread: &Thread, info: SigInfo) -> Result<(), Errno> {
    let (process, signal) = (thread.process(), info.signal);
    if !arrives(process, &info) {
        return Ok(());
    }
    let is_kept = thread.signals.blocked().contains(signal);
    if !is_kept && process.signals.actions().get(signal).ignores(signal) {
        return Ok(());
    }
    thread.signals.pending.add(info)?;
    if thread.signals.wants(signal) {
        thread.call_attention();
    }
    Ok(())
}

/// Does what a signal does at once; returns whether there is more of it for a thread.
fn arrives(process: &Process, info: &SigInfo) -> bool {
    if is_shielded(process, info) {
        return false;
    }
    prepare(process, info.signal);
    let ends = info.signal == Signal::KILL;
    if ends {
        process.end_all(End::Killed(Signal::KILL.as_u8()));
    }
    !ends
}

/// Returns whether a process does not notice a signal: the first one handles what others
/// send it, or never learns of it. For with it everything ends.
fn is_shielded(process: &Process, info: &SigInfo) -> bool {
    process.id() == Pid::FIRST
        && info.is_by_another(Pid::FIRST)
        && !process.signals.actions().get(info.signal).is_handled()
}

/// Sends a signal to all processes of a group; returns how many there were.
pub(crate) fn send_to_group(group: Pid, info: SigInfo) -> usize {
    send_to_all(info, |record| record.group == group)
}

/// Sends a signal to all processes that are wanted; returns how many there were.
pub(crate) fn send_to_all(info: SigInfo, is_wanted: impl Fn(&table::Record) -> bool) -> usize {
    let processes: alloc::vec::Vec<_> = {
        let table = table::lock();
        let wanted = table.processes().filter(|record| is_wanted(record));
        wanted.map(|record| Arc::clone(&record.process)).collect()
    };
    for process in &processes {
        // A queue that is full has nothing to tell a group.
        let _ = send_to_process(process, info);
    }
    processes.len()
}

/// Tells a parent that its child has stopped or goes on.
pub(super) fn tell_parent(process: &Process, stopped_by: Option<Signal>) {
    let parent = {
        let table = table::lock();
        let parent = table.get(process.id()).and_then(|record| record.parent);
        let parent = parent.and_then(|parent| table.get(parent));
        parent.map(|record| Arc::clone(&record.process))
    };
    let Some(parent) = parent else {
        return;
    };
    let (code, status) = match stopped_by {
        Some(signal) => (code::CHILD_STOPPED, signal),
        None => (code::CHILD_CONTINUED, Signal::CONT),
    };
    let action = parent.signals.actions().get(Signal::CHLD);
    if !action.has(flag::NO_CHILD_STOP) {
        let info = SigInfo::of_change(process.id(), code, status.as_u8());
        // A standard signal always finds room.
        let _ = send_to_process(&parent, info);
    }
    parent.child_events.wake_all();
}

/// What a signal does when it is sent, whatever becomes of it: those that stop and the
/// one that lets go on cancel each other.
fn prepare(process: &Process, signal: Signal) {
    match signal.default_action() {
        DefaultAction::Stop => process.forget_signals(Signal::CONT.into()),
        DefaultAction::Continue => {
            process.forget_signals(SignalSet::STOPS);
            if process.signals.set_stopped(None) {
                process.signals.resumed.wake_all();
                tell_parent(process, None);
            }
        }
        _ => {}
    }
}
