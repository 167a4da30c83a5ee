//! What processes and threads know of signals.
//!
//! | who | what | who changes it |
//! |---|---|---|
//! | [`ProcessSignals`] | actions, signals for any of its threads, stopped or not | anybody |
//! | [`ThreadSignals`] | signals for this thread, blocked ones | senders; the thread itself |
//! | [`Signals`] | alternate stack, the call that was interrupted | the thread itself |
//!
//! **Locks**: spin locks, each taken by itself, after that of the family tree.

use alloc::sync::Arc;
use core::cell::Cell;
use core::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use core::time::Duration;

use nucleus::sync::{SpinLock, WaitQueue};

use super::pending::SharedPending;
use super::stack::AlternateStack;
use super::{Actions, Signal, SignalSet};

/// What a process knows of signals.
#[derive(Debug)]
pub(crate) struct ProcessSignals {
    actions: SpinLock<Arc<Actions>>,
    /// Signals that wait for any of its threads.
    pub(crate) pending: SharedPending,
    /// Whether its threads wait before they enter ring 3 again.
    is_stopped: AtomicBool,
    /// Stopped or gone on since the parent has last asked.
    change: SpinLock<Option<Change>>,
    /// Where stopped threads wait.
    pub(super) resumed: WaitQueue,
}

/// What a parent may wait for, besides the end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Change {
    /// Stopped by a signal.
    Stopped(Signal),
    /// Gone on.
    Continued,
}

impl ProcessSignals {
    pub(crate) fn new(actions: Arc<Actions>) -> Self {
        Self {
            actions: SpinLock::new(actions),
            pending: SharedPending::new(),
            is_stopped: AtomicBool::new(false),
            change: SpinLock::new(None),
            resumed: WaitQueue::new(),
        }
    }

    /// Returns the actions, which other processes may share.
    pub(crate) fn actions(&self) -> Arc<Actions> {
        Arc::clone(&self.actions.lock())
    }

    /// Prepares for another program: it has actions of its own, and no handlers.
    pub(crate) fn reset_for_exec(&self) {
        let actions = Arc::new(self.actions().fork());
        actions.forget_handlers();
        let shared = core::mem::replace(&mut *self.actions.lock(), actions);
        drop(shared);
    }

    pub(crate) fn is_stopped(&self) -> bool {
        // Acquire: what a signal that lets it go on has brought is seen.
        self.is_stopped.load(Ordering::Acquire)
    }

    /// Stops it or lets it go on; returns whether it was otherwise before.
    pub(super) fn set_stopped(&self, by: Option<Signal>) -> bool {
        let is_changed = self.is_stopped.swap(by.is_some(), Ordering::AcqRel) != by.is_some();
        if is_changed {
            *self.change.lock() = Some(by.map_or(Change::Continued, Change::Stopped));
        }
        is_changed
    }

    /// Returns a change that the parent wants to know of; `take` has it told once.
    pub(crate) fn change(&self, wants: impl Fn(Change) -> bool, take: bool) -> Option<Change> {
        let mut change = self.change.lock();
        let wanted = change.filter(|change| wants(*change))?;
        if take {
            *change = None;
        }
        Some(wanted)
    }
}

/// What others know of a thread's signals.
#[derive(Debug)]
pub(crate) struct ThreadSignals {
    /// Signals that wait for this thread alone.
    pub(crate) pending: SharedPending,
    /// Changed by the thread alone; read by senders, who choose a thread by it.
    blocked: AtomicU64,
    /// Blocked, and waited for.
    awaited: AtomicU64,
}

impl ThreadSignals {
    pub(crate) const fn new(blocked: SignalSet) -> Self {
        Self {
            pending: SharedPending::new(),
            blocked: AtomicU64::new(blocked.bits()),
            awaited: AtomicU64::new(0),
        }
    }

    pub(crate) fn blocked(&self) -> SignalSet {
        // Acquire: a sender that finds a signal open finds the thread ready to look.
        SignalSet::from_bits(self.blocked.load(Ordering::Acquire))
    }

    pub(crate) fn set_blocked(&self, signals: SignalSet) {
        // SeqCst, as where senders add and then ask `wants`: either the sender sees
        // the signal open, or the thread, which looks afterwards, sees it pending.
        self.blocked
            .store(signals.blockable().bits(), Ordering::SeqCst);
    }

    /// Says which blocked signals the thread waits for.
    pub(crate) fn set_awaited(&self, signals: SignalSet) {
        // SeqCst: as in `set_blocked`.
        self.awaited.store(signals.bits(), Ordering::SeqCst);
    }

    /// Returns whether a signal would make the thread look.
    pub(super) fn wants(&self, signal: Signal) -> bool {
        // SeqCst: pairs with `set_blocked` and `set_awaited`.
        let blocked = SignalSet::from_bits(self.blocked.load(Ordering::SeqCst));
        let awaited = SignalSet::from_bits(self.awaited.load(Ordering::SeqCst));
        !blocked.contains(signal) || awaited.contains(signal)
    }
}

/// What a thread alone knows of its signals.
#[derive(Clone, Debug, Default)]
pub(crate) struct Signals {
    pub(crate) alternate_stack: AlternateStack,
    /// Signals that were blocked before a call replaced them for its own time.
    pub(crate) saved_mask: Option<SignalSet>,
    /// The call that a signal has interrupted, until it is made again or given up.
    pub(super) interrupted_call: Option<usize>,
    /// Until when that call was to wait: it goes on to wait until then.
    pub(crate) deadline: Cell<Option<Duration>>,
}
