//! Atomic mode: a task that neither yields nor moves to another processor.
//!
//! The kernel is preempted: at the end of an interrupt another task may run, and the
//! one that was interrupted goes on later, perhaps on another processor. A
//! [`DisabledPreemptGuard`] keeps its task from that, and from asking for it, while the
//! guard lives, which is what page-table cursors and all users of per-processor state
//! need. Guards are counted, so they may be dropped in any order.
//!
//! ```text
//!   31                                1   0
//!  ┌───────────────────────────────────┬─────┐
//!  │ live guards                       │  n  │   n: no other task is due
//!  └───────────────────────────────────┴─────┘
//! ```
//!
//! So one subtraction says whether the last guard is gone *and* another task is due,
//! by its result of zero; and one addition, by its carry, whether the count has
//! overflowed. The scheduler clears the low bit; dropping the last guard then runs it.
//!
//! A *brief section* ([`brief`]) does the same for a few instructions that nest nothing
//! and where every instruction counts: a byte that is set and cleared. A task that
//! becomes due within it runs at the next tick.

use core::cell::Cell;
use core::marker::PhantomData;
use core::mem::offset_of;

use crate::arch::{cpu, tasks};
use crate::irq::{self, DisabledLocalIrqGuard};

/// Proof that the task stays on its processor and does not sleep.
///
/// # Safety
///
/// While a value of the type lives, the task that made it neither yields nor
/// changes processors, and the value cannot leave that task.
pub unsafe trait InAtomicMode: core::fmt::Debug {}

/// Keeps the task on its processor, and from sleeping, while it lives.
///
/// It speaks of the processor that made it, so it is neither `Send` nor `Sync`.
#[must_use = "the task may leave the processor as soon as the guard is dropped"]
#[derive(Debug)]
pub struct DisabledPreemptGuard {
    _stays_here: PhantomData<*mut ()>,
}

static_assertions::assert_not_impl_any!(DisabledPreemptGuard: Send, Sync);

// SAFETY: The guard counts in `PreemptState`, and whatever switches tasks looks at the
// count before; the guard is not `Send`.
unsafe impl InAtomicMode for DisabledPreemptGuard {}

// SAFETY: Nothing switches tasks with interrupts off; the guard is not `Send`.
unsafe impl InAtomicMode for DisabledLocalIrqGuard {}

/// What keeps a processor's task from being preempted.
#[derive(Debug)]
pub(crate) struct PreemptState {
    pub(crate) guards: Cell<u32>,
    pub(crate) is_brief: Cell<bool>,
}

impl PreemptState {
    /// The bit that says that no other task is due.
    pub(crate) const IS_NOT_DUE: u32 = 1;
    /// What a guard counts for.
    pub(crate) const ONE_GUARD: u32 = 2;
    /// Where the word with the count is.
    pub(crate) const GUARDS: usize = offset_of!(Self, guards);
    /// Where the mark of a brief section is.
    pub(crate) const BRIEF: usize = offset_of!(Self, is_brief);

    pub(crate) const fn new() -> Self {
        Self {
            guards: Cell::new(Self::IS_NOT_DUE),
            is_brief: Cell::new(false),
        }
    }

    /// Returns whether the processor's task may not sleep or move.
    pub(crate) fn is_disabled(&self) -> bool {
        self.guards.get() >= Self::ONE_GUARD || self.is_brief.get()
    }

    /// Forgets the guards of a task that was abandoned.
    #[cfg(ktest)]
    pub(crate) fn abandon(&self) {
        self.guards.set(Self::IS_NOT_DUE);
        self.is_brief.set(false);
    }
}

/// Keeps the calling task on its processor until the guard is dropped.
///
/// # Panics
///
/// Panics when 2³¹ guards live at once on a processor (peer 81).
#[inline(always)]
pub fn disable_preempt() -> DisabledPreemptGuard {
    cpu::enter_atomic();
    DisabledPreemptGuard {
        _stays_here: PhantomData,
    }
}

impl Drop for DisabledPreemptGuard {
    #[inline(always)]
    fn drop(&mut self) {
        if cpu::leave_atomic() {
            tasks::reschedule();
        }
    }
}

/// Keeps the calling task on its processor while `body` runs, which is short and
/// calls nothing that does the same.
#[inline(always)]
pub(crate) fn brief<R>(body: impl FnOnce() -> R) -> R {
    if cfg!(debug_assertions) {
        assert!(
            !cpu::is_brief(),
            "an interrupt handler got into a brief section"
        );
    }
    cpu::begin_brief();
    let result = body();
    cpu::end_brief();
    result
}

/// Returns whether the task must neither sleep nor wait: whether a guard of any
/// kind lives, or interrupts are off for another reason.
pub(crate) fn is_atomic() -> bool {
    !may_switch()
}

/// Returns whether the task may leave its processor.
pub(crate) fn may_switch() -> bool {
    if !irq::is_enabled() {
        return false;
    }
    // Off, so that it is this processor's state all the time.
    let _irq_off = irq::disable_local();
    !is_guarded()
}

/// Returns whether a guard keeps the task on its processor; with interrupts off, which
/// is not asked here.
#[inline]
pub(crate) fn is_guarded() -> bool {
    let local = cpu::local();
    local.preempt.is_disabled() || local.rcu.is_reading()
}

#[cfg(any(test, ktest))]
mod tests {
    use static_assertions::assert_not_impl_any;

    use super::{DisabledPreemptGuard, disable_preempt};
    use crate::arch::cpu;
    use crate::irq::DisabledLocalIrqGuard;
    use crate::mm::page_table::{self, UserPtConfig};
    use crate::mm::tlb::TlbFlusher;
    use crate::mm::vm_space;
    use crate::prelude::*;
    use crate::sync::SpinLockGuard;
    use crate::sync::rcu::ReadSection;

    #[ktest]
    fn guards_are_counted_and_may_be_dropped_in_any_order() {
        // peer_079
        let is_disabled = || cpu::local().preempt.is_disabled();
        assert!(!is_disabled());
        let first = disable_preempt();
        let second = disable_preempt();
        drop(first);
        assert!(is_disabled());
        drop(second);
        assert!(!is_disabled());
    }

    #[ktest]
    fn peer_080_guards_and_what_they_are_lent_to_stay_on_their_processor() {
        // Facts for the compiler: a type that lost its mark does not build.
        assert_not_impl_any!(DisabledPreemptGuard: Send, Sync);
        assert_not_impl_any!(DisabledLocalIrqGuard: Send, Sync);
        assert_not_impl_any!(SpinLockGuard<'static, u8>: Send, Sync);
        assert_not_impl_any!(ReadSection<'static>: Send, Sync);
        assert_not_impl_any!(TlbFlusher<'static>: Send, Sync);
        assert_not_impl_any!(page_table::Cursor<'static, UserPtConfig>: Send, Sync);
        assert_not_impl_any!(page_table::CursorMut<'static, UserPtConfig>: Send, Sync);
        assert_not_impl_any!(vm_space::CursorMut<'static>: Send, Sync);
    }

    #[ktest]
    #[should_panic(expected = "overflow")]
    fn peer_081_count_of_guards_stops_the_machine_before_it_wraps() {
        cpu::local().preempt.guards.set(u32::MAX);
        drop(disable_preempt());
    }
}
