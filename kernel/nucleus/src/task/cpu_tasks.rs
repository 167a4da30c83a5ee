//! What a processor has of tasks.
//!
//! The queue, how long it is, the timers, and whether the processor sleeps are for all; the rest
//! is for the processor alone, in atomic mode or with interrupts off.

use alloc::sync::Arc;
use core::cell::Cell;
use core::fmt;

use super::run_queue::RunQueue;
use super::{Task, Timers};
use crate::sync::atomic::{AtomicU8, AtomicU64, AtomicUsize, Ordering};
use crate::sync::{Rank, SpinLock};

/// What becomes of a task that leaves its processor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Leave {
    /// It is ready to go on.
    Ready,
    /// It sleeps until it is woken.
    Parking,
    /// It is over.
    Ended,
    /// It is a test that never goes on; its stack is not its own.
    #[cfg(ktest)]
    Abandoned,
}

/// What a processor has of tasks.
pub(crate) struct CpuTasks {
    /// The task that runs; nothing before there are tasks.
    current: Cell<Option<Arc<Task>>>,
    /// The number of that task on the [roll](super::roll), for others.
    current_number: AtomicU64,
    /// The task that runs when no other one is ready.
    pub(super) idle: Cell<Option<Arc<Task>>>,
    /// The task that was left last, until the next one has seen to it.
    pub(super) left: Cell<Option<(Arc<Task>, Leave)>>,
    /// Ticks that the current task may run on while others are ready.
    pub(super) slice: Cell<u32>,
    /// The count of cycles when the current task was last given its time.
    pub(super) settled_at: Cell<u64>,
    /// Switches of tasks so far.
    nr_switches: AtomicU64,
    pub(super) queue: SpinLock<RunQueue>,
    /// How many tasks are in the queue; written under its lock.
    nr_ready: AtomicUsize,
    pub(super) sleep: Sleep,
    /// Those that it wakes at some time.
    pub(crate) timers: Timers,
}

impl CpuTasks {
    pub(crate) const fn new() -> Self {
        Self {
            current: Cell::new(None),
            current_number: AtomicU64::new(0),
            idle: Cell::new(None),
            left: Cell::new(None),
            slice: Cell::new(0),
            settled_at: Cell::new(0),
            nr_switches: AtomicU64::new(0),
            queue: SpinLock::ranked(RunQueue::new(), Rank::Ready),
            nr_ready: AtomicUsize::new(0),
            sleep: Sleep::new(),
            timers: Timers::new(),
        }
    }

    /// Returns the task that runs, for the processor itself, in atomic mode or with
    /// interrupts off.
    pub(crate) fn current(&self) -> Option<&Arc<Task>> {
        // SAFETY: Only this processor changes the cell, when it switches tasks, which
        // the caller keeps it from for as long as it uses the reference.
        unsafe { (*self.current.as_ptr()).as_ref() }
    }

    /// Makes a task the one that runs; returns the one before.
    pub(crate) fn replace_current(&self, task: Arc<Task>) -> Option<Arc<Task>> {
        // Relaxed: for a look from outside.
        self.current_number
            .store(task.entry.number(), Ordering::Relaxed);
        self.current.replace(Some(task))
    }

    /// Returns the number on the roll of the task that runs, or ran a moment ago.
    pub(crate) fn current_number(&self) -> u64 {
        // Relaxed: as it is written.
        self.current_number.load(Ordering::Relaxed)
    }

    /// Returns whether the processor's own task runs.
    pub(super) fn is_idle(&self) -> bool {
        // SAFETY: As in `current`; the cell is written once, at the start.
        let idle = unsafe { (*self.idle.as_ptr()).as_ref() };
        match (self.current(), idle) {
            (Some(current), Some(idle)) => Arc::ptr_eq(current, idle),
            _ => false,
        }
    }

    /// Uses the queue.
    pub(super) fn with_queue<R>(&self, body: impl FnOnce(&mut RunQueue) -> R) -> R {
        let mut queue = self.queue.lock();
        let result = body(&mut queue);
        // Relaxed: others decide by it where to look, and look again under the lock.
        self.nr_ready.store(queue.len(), Ordering::Relaxed);
        result
    }

    /// Counts a switch of tasks; for the processor itself.
    pub(super) fn count_switch(&self) {
        // Relaxed, and no single operation: only this processor writes it.
        let count = self.nr_switches.load(Ordering::Relaxed);
        self.nr_switches
            .store(count.wrapping_add(1), Ordering::Relaxed);
    }

    /// Returns how often the processor has switched tasks.
    pub(crate) fn nr_switches(&self) -> u64 {
        // Relaxed: a count.
        self.nr_switches.load(Ordering::Relaxed)
    }

    /// Returns how many tasks were ready a moment ago.
    pub(crate) fn nr_ready(&self) -> usize {
        // Relaxed: as above.
        self.nr_ready.load(Ordering::Relaxed)
    }

    /// Returns how much the processor had to do a moment ago.
    pub(super) fn load(&self) -> usize {
        self.nr_ready() + usize::from(!self.sleep.is_begun())
    }
}

impl fmt::Debug for CpuTasks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CpuTasks")
            .field("ready", &self.nr_ready())
            .field("sleep", &self.sleep)
            .finish_non_exhaustive()
    }
}

/// Whether a processor sleeps, and what wakes it.
///
/// One half of a handshake: the sleeper *says that it sleeps, and then looks at its
/// queue*; who brings a task *puts it into the queue, and then looks here*. Both look
/// at the queue under its lock, so either the sleeper sees the task, or the other sees
/// the sleeper.
#[derive(Debug)]
#[repr(align(64))]
pub(crate) struct Sleep(AtomicU8);

const AWAKE: u8 = 0;
/// An interrupt wakes it.
const HALTED: u8 = 1;
/// A write to this word wakes it as well.
const WATCHING: u8 = 2;

impl Sleep {
    pub(crate) const fn new() -> Self {
        Self(AtomicU8::new(AWAKE))
    }

    /// Says that the processor is about to sleep; for itself.
    pub(crate) fn begin(&self, is_watching: bool) {
        let how = if is_watching { WATCHING } else { HALTED };
        // Release: with the lock of the queue after it, the handshake.
        self.0.store(how, Ordering::Release);
    }

    /// Says that the processor is awake; for itself.
    pub(crate) fn end(&self) {
        // Relaxed: whoever still takes it for asleep interrupts it for nothing.
        self.0.store(AWAKE, Ordering::Relaxed);
    }

    /// Returns whether the processor sleeps or is about to.
    pub(crate) fn is_begun(&self) -> bool {
        // Relaxed: a hint, or the processor's own.
        self.0.load(Ordering::Relaxed) != AWAKE
    }

    /// Has the processor look at its queue if it sleeps; returns whether it has to be
    /// interrupted for that.
    pub(crate) fn wake(&self) -> bool {
        // AcqRel: after the lock of the queue, the handshake. One of several wakes it.
        self.0.swap(AWAKE, Ordering::AcqRel) == HALTED
    }

    /// Returns where the word is, for the instruction that watches it.
    pub(crate) fn address(&self) -> *const u8 {
        (&raw const self.0).cast()
    }
}

#[cfg(any(test, ktest))]
mod tests {
    use super::Sleep;
    use crate::prelude::*;

    #[ktest]
    fn sleeper_that_halts_is_interrupted_once_and_one_that_watches_never() {
        let sleep = Sleep::new();
        assert!(!sleep.wake(), "it is awake");
        sleep.begin(false);
        assert!(sleep.is_begun());
        assert!(sleep.wake() && !sleep.wake());
        sleep.begin(true);
        assert!(!sleep.wake() && !sleep.is_begun());
    }
}
