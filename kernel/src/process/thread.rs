//! A thread: what others may see and change of it while it runs.

use alloc::sync::Arc;
use core::fmt;
use core::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use nucleus::sync::{Once, SpinLock};
use nucleus::task::Task;

use super::{Pid, Process};
use crate::fs::{FileTable, FsContext};
use crate::vm::AddressSpace;

/// What others may look at of what a thread has: `/proc` does.
#[derive(Clone, Debug)]
pub(crate) struct Resources {
    pub(crate) memory: Arc<AddressSpace>,
    pub(crate) files: Arc<FileTable>,
    pub(crate) fs: Arc<FsContext>,
}

/// A thread of a process.
pub(crate) struct Thread {
    id: Pid,
    process: Arc<Process>,
    task: Once<Arc<Task>>,
    /// None before it runs, and from its end on.
    resources: SpinLock<Option<Resources>>,
    /// Whether it has to look around before it enters ring 3 again: a signal may have
    /// come, or its process may be about to end.
    must_look: AtomicBool,
    /// Where zero is written, and a waiter woken, when the thread ends; zero for
    /// nowhere.
    pub(crate) clear_on_exit: AtomicUsize,
}

impl Thread {
    pub(super) fn new(id: Pid, process: Arc<Process>) -> Self {
        Self {
            id,
            process,
            task: Once::new(),
            resources: SpinLock::new(None),
            // Its process may be ending already.
            must_look: AtomicBool::new(true),
            clear_on_exit: AtomicUsize::new(0),
        }
    }

    pub(crate) const fn id(&self) -> Pid {
        self.id
    }

    pub(crate) const fn process(&self) -> &Arc<Process> {
        &self.process
    }

    /// Returns the task that runs the thread, once there is one.
    pub(crate) fn task(&self) -> Option<&Arc<Task>> {
        self.task.get()
    }

    /// Returns what the thread has, as long as it runs.
    pub(crate) fn resources(&self) -> Option<Resources> {
        self.resources.lock().clone()
    }

    /// Shows others what the thread has from now on.
    pub(crate) fn show_resources(&self, resources: Option<Resources>) {
        let old = core::mem::replace(&mut *self.resources.lock(), resources);
        // Without the lock: it may be the last handle.
        drop(old);
    }

    pub(super) fn set_task(&self, task: Arc<Task>) {
        self.task.call_once(|| task);
    }

    /// Has the thread look around before it enters ring 3 again, and now if it waits
    /// for something that a signal may interrupt.
    pub(crate) fn call_attention(&self) {
        // Release: what it is to see was done before.
        self.must_look.store(true, Ordering::Release);
    }

    /// Returns whether the thread has to look around, which it does then.
    pub(super) fn take_attention(&self) -> bool {
        // Relaxed at first, since it is looked at before each return to ring 3.
        // Acquire: pairs with the Release of whoever called.
        self.must_look.load(Ordering::Relaxed) && self.must_look.swap(false, Ordering::Acquire)
    }
}

impl fmt::Debug for Thread {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Thread({} of {})", self.id, self.process.id())
    }
}
