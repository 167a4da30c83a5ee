//! How threads and processes end.
//!
//! A thread gives back what it has, and goes. The last one of a process makes it a
//! zombie, whose parent is told; what the process had is given back before that, so
//! that whoever has waited for it finds its memory free.

use alloc::sync::Arc;
use core::sync::atomic::Ordering;

use nucleus::mm::VmSpace;

use super::futex::{self, robust};
use super::signal::action::flag;
use super::signal::{SigInfo, Signal, send_to_process};
use super::usage::Usage;
use super::{Current, End, Pid, Process, table};

/// Ends the thread, and with the last one its process.
pub(super) fn leave(mut current: Current, end: End) {
    // While it is known what memory it has.
    let usage = Usage {
        peak_pages: current.memory.peak_pages(),
        ..current.thread.usage()
    };
    let_go_of_memory(&mut current);
    let Current {
        thread,
        process,
        memory,
        files,
        fs,
        ..
    } = current;
    VmSpace::deactivate_current();
    drop(memory);
    drop(files);
    drop(fs);
    table::lock().remove_thread(thread.id());
    if process.remove_thread(&thread, usage) {
        become_zombie(&process, process.end().unwrap_or(end));
    }
}

/// Does in user memory what has to be done there before a thread leaves it, and tells
/// whoever waits for that: at the thread's end, and before it runs another program.
pub(super) fn let_go_of_memory(current: &mut Current) {
    let thread = &current.thread;
    thread.show_resources(None);
    // Relaxed: written by the thread itself.
    let robust_list = thread.robust_list.swap(0, Ordering::Relaxed);
    if robust_list != 0 {
        robust::release_all(&current.memory, thread.id(), robust_list);
    }
    // Relaxed: as above.
    let word = thread.clear_on_exit.swap(0, Ordering::Relaxed);
    // Nobody sees it in memory that nobody else has.
    if word != 0 && Arc::strong_count(&current.memory) > 1 {
        // As in Linux, whoever is not there cannot be told.
        let _ = current.memory.write_value(word, &0_u32);
        if let Ok(key) = current.memory.futex_key(word, false) {
            futex::wake(&key, 1, futex::ANY);
        }
    }
    if let Some(loan) = current.loan.take() {
        loan.end();
    }
}

/// Leaves the process's number and end for its parent, and tells it.
fn become_zombie(process: &Arc<Process>, end: End) {
    process.set_end(end);
    let bereaved = table::lock().children_with_death_signal(process.id());
    for (child, signal) in bereaved {
        // A queue that is full has been told enough.
        let _ = send_to_process(&child, SigInfo::of_kernel(signal));
    }
    let mut table = table::lock();
    let has_zombie = table.orphan_children(process.id());
    let Some(record) = table.get_mut(process.id()) else {
        return;
    };
    record.end = Some(end);
    let signal = Signal::new(record.exit_signal.into());
    let parent = record.parent.and_then(|parent| table.get(parent));
    let parent = parent.map(|record| Arc::clone(&record.process));
    let first = has_zombie.then(|| table.get(Pid::FIRST)).flatten();
    let first = first.map(|record| Arc::clone(&record.process));
    drop(table);
    if let (Some(parent), Some(signal)) = (&parent, signal) {
        tell(parent, signal, process.id(), end);
    }
    process.ended.wake_all();
    for told in parent.into_iter().chain(first) {
        told.child_events.wake_all();
    }
}

/// Sends a parent the signal of a child's end. One that has said that it does not want to
/// know of its children need not wait for the child.
fn tell(parent: &Process, signal: Signal, child: Pid, end: End) {
    let action = parent.signals.actions().get(signal);
    let is_ignored = action.ignores(signal) && !action.is_default();
    if signal == Signal::CHLD && (is_ignored || action.has(flag::NO_CHILD_WAIT)) {
        let reaped = table::lock().remove_process(child);
        drop(reaped);
    }
    let mut info = SigInfo::of_child(child, end);
    info.signal = signal;
    // A queue that is full has been told enough.
    let _ = send_to_process(parent, info);
}
