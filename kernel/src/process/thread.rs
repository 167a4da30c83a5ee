//! A thread: what others may see and change of it while it runs.

use alloc::sync::Arc;
use core::fmt;
use core::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, AtomicUsize, Ordering};

use nucleus::sync::{Once, SpinLock, WaitQueue};
use nucleus::task::Task;

use super::futex::Place;
use super::signal::{SignalSet, ThreadSignals};
use super::usage::Usage;
use super::{Pid, Process};
use crate::fs::{FileTable, FsContext};

/// What others may look at of what a thread has: `/proc` does.
#[derive(Clone, Debug)]
pub(crate) struct Resources {
    pub(crate) files: Arc<FileTable>,
    pub(crate) fs: Arc<FsContext>,
}

/// The name of a thread, with zeros behind it: 15 bytes at most.
pub(crate) type Name = [u8; 16];

/// What a thread does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Activity {
    /// It runs, or is ready to.
    Runs,
    /// It sleeps until something happens, of which a signal is one.
    Sleeps,
    /// It waits for the kernel, and no signal wakes it.
    IsHeldUp,
}

/// A thread of a process.
pub(crate) struct Thread {
    /// Its number, which changes at most once: the thread that runs another program
    /// becomes the first of its process.
    id: AtomicU32,
    process: Arc<Process>,
    task: Once<Arc<Task>>,
    /// None before it runs, and from its end on.
    resources: SpinLock<Option<Resources>>,
    name: SpinLock<Name>,
    /// Whether it has to look around before it enters ring 3 again: a signal may have
    /// come, or its process may be about to end.
    must_look: AtomicBool,
    pub(crate) signals: ThreadSignals,
    /// Whether it waits for something that a signal may interrupt.
    is_waiting: AtomicBool,
    /// Whether it ends when it looks, for the sake of another thread of its process.
    is_dismissed: AtomicBool,
    /// Where zero is written, and a waiter woken, when the thread ends; zero for
    /// nowhere.
    pub(crate) clear_on_exit: AtomicUsize,
    /// Where the list of the locks is that it holds; zero for nowhere.
    pub(crate) robust_list: AtomicUsize,
    /// Where it waits for what concerns nobody else.
    pub(crate) queue: WaitQueue,
    /// Where it is among those that wait for futexes.
    pub(super) futex: Place,
    /// Written by the thread alone.
    faults: AtomicU64,
}

impl Thread {
    pub(super) fn new(id: Pid, process: Arc<Process>, name: Name, blocked: SignalSet) -> Self {
        Self {
            id: AtomicU32::new(id.as_u32()),
            process,
            task: Once::new(),
            resources: SpinLock::new(None),
            name: SpinLock::new(name),
            // Its process may be ending already.
            must_look: AtomicBool::new(true),
            signals: ThreadSignals::new(blocked),
            is_waiting: AtomicBool::new(false),
            is_dismissed: AtomicBool::new(false),
            clear_on_exit: AtomicUsize::new(0),
            robust_list: AtomicUsize::new(0),
            queue: WaitQueue::new(),
            futex: Place::new(),
            faults: AtomicU64::new(0),
        }
    }

    pub(crate) fn id(&self) -> Pid {
        // Relaxed: it changes when there is no other thread, under the table's lock.
        Pid::from_valid(self.id.load(Ordering::Relaxed))
    }

    /// Gives the thread its process's number.
    pub(super) fn become_first(&self) {
        // Relaxed: as above.
        let id = self.process.id().as_u32();
        self.id.store(id, Ordering::Relaxed);
        if let Some(task) = self.task() {
            task.set_thread(id);
        }
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

    pub(crate) fn name(&self) -> Name {
        *self.name.lock()
    }

    pub(crate) fn set_name(&self, name: Name) {
        *self.name.lock() = name;
        if let Some(task) = self.task() {
            task.set_name(&name);
        }
    }

    /// Has the thread look around before it enters ring 3 again, and now if it waits
    /// for something that a signal may interrupt.
    pub(crate) fn call_attention(&self) {
        // Release: what it is to see was done before.
        self.must_look.store(true, Ordering::Release);
        if let Some(task) = self.task() {
            task.nudge();
        }
    }

    /// Returns whether the thread is called to look around, which it need not do yet.
    pub(crate) fn is_called(&self) -> bool {
        // Acquire: pairs with the Release of whoever called.
        self.must_look.load(Ordering::Acquire)
    }

    /// Returns whether the thread has to look around, which it does then.
    pub(super) fn take_attention(&self) -> bool {
        // Relaxed at first, since it is looked at before each return to ring 3.
        // Acquire: pairs with the Release of whoever called.
        self.must_look.load(Ordering::Relaxed) && self.must_look.swap(false, Ordering::Acquire)
    }

    /// Says whether the thread waits for something that a signal may interrupt; for the
    /// thread itself.
    pub(super) fn set_waiting(&self, is_waiting: bool) {
        // Release: whoever sees that it waits sees what it has done before.
        self.is_waiting.store(is_waiting, Ordering::Release);
    }

    /// Returns what the thread did a moment ago.
    pub(crate) fn activity(&self) -> Activity {
        let is_asleep = self.task().is_some_and(|task| task.is_asleep());
        // Acquire: pairs with the Release of the thread.
        match (is_asleep, self.is_waiting.load(Ordering::Acquire)) {
            (false, _) => Activity::Runs,
            (true, true) => Activity::Sleeps,
            (true, false) => Activity::IsHeldUp,
        }
    }

    /// Ends the thread, but not its process.
    pub(super) fn dismiss(&self) {
        // Relaxed: the call that follows is a Release.
        self.is_dismissed.store(true, Ordering::Relaxed);
        self.call_attention();
    }

    pub(super) fn is_dismissed(&self) -> bool {
        // Relaxed: as above.
        self.is_dismissed.load(Ordering::Relaxed)
    }

    /// Counts a fault; for the thread itself.
    pub(crate) fn count_fault(&self) {
        // Relaxed: a count that one thread writes.
        let faults = self.faults.load(Ordering::Relaxed);
        self.faults.store(faults.wrapping_add(1), Ordering::Relaxed);
    }

    /// Returns what it has used so far, but for memory.
    pub(crate) fn usage(&self) -> Usage {
        let Some(task) = self.task() else {
            return Usage::default();
        };
        let (times, switches) = (task.cpu_times(), task.switches());
        Usage {
            user: times.user,
            system: times.kernel,
            sleeps: switches.voluntary,
            preemptions: switches.involuntary,
            // Relaxed: a count.
            faults: self.faults.load(Ordering::Relaxed),
            peak_pages: 0,
        }
    }
}

impl fmt::Debug for Thread {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Thread({} of {})", self.id(), self.process.id())
    }
}
