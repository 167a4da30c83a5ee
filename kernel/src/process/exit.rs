//! How threads and processes end.
//!
//! A thread gives back what it has, and goes. The last one of a process makes it a
//! zombie, whose parent is told; what the process had is given back before that, so
//! that whoever has waited for it finds its memory free.

use alloc::sync::Arc;

use nucleus::mm::VmSpace;

use super::{Current, End, Pid, Process, table};

/// Ends the thread, and with the last one its process.
pub(super) fn leave(current: Current, end: End) {
    let Current {
        thread,
        process,
        memory,
        files,
        ..
    } = current;
    VmSpace::deactivate_current();
    thread.show_resources(None);
    drop(memory);
    drop(files);
    table::lock().remove_thread(thread.id());
    if process.remove_thread(thread.id()) {
        become_zombie(&process, process.end().unwrap_or(end));
    }
}

/// Leaves the process's number and end for its parent, and tells it.
fn become_zombie(process: &Process, end: End) {
    let mut table = table::lock();
    let has_zombie = table.orphan_children(process.id());
    let Some(record) = table.get_mut(process.id()) else {
        return;
    };
    record.end = Some(end);
    let parent = record.parent.and_then(|parent| table.get(parent));
    let parent = parent.map(|record| Arc::clone(&record.process));
    let first = has_zombie.then(|| table.get(Pid::FIRST)).flatten();
    let first = first.map(|record| Arc::clone(&record.process));
    drop(table);
    process.ended.wake_all();
    for told in parent.into_iter().chain(first) {
        told.child_events.wake_all();
    }
}
