//! Atomic mode: a task that neither yields nor moves to another processor.
//!
//! The kernel is not preempted: a task leaves its processor only where it asks
//! to. A [`DisabledPreemptGuard`] says that it must not ask while the guard
//! lives, which is what spin locks and page-table cursors need. Guards are
//! counted, so they may be dropped in any order.

use core::cell::Cell;
use core::marker::PhantomData;

use crate::arch::cpu;
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

// SAFETY: The guard counts in `PreemptCount`, and whatever would switch tasks
// asserts that the count is zero; the guard is not `Send`.
unsafe impl InAtomicMode for DisabledPreemptGuard {}

// SAFETY: Nothing switches tasks with interrupts off; the guard is not `Send`.
unsafe impl InAtomicMode for DisabledLocalIrqGuard {}

/// How many [`DisabledPreemptGuard`]s live on a processor.
#[derive(Debug, Default)]
pub(crate) struct PreemptCount(Cell<u32>);

impl PreemptCount {
    pub(crate) const fn new() -> Self {
        Self(Cell::new(0))
    }

    /// Returns whether the processor's task may not sleep or move.
    pub(crate) fn is_disabled(&self) -> bool {
        self.0.get() != 0
    }

    /// Forgets the guards of a task that was abandoned.
    #[cfg(ktest)]
    pub(crate) fn abandon(&self) {
        self.0.set(0);
    }
}

/// Keeps the calling task on its processor until the guard is dropped.
///
/// # Panics
///
/// Panics when 2³² guards live at once on a processor (peer 81).
#[inline]
pub fn disable_preempt() -> DisabledPreemptGuard {
    let count = &cpu::local().preempt.0;
    count.set(count.get() + 1);
    DisabledPreemptGuard {
        _stays_here: PhantomData,
    }
}

impl Drop for DisabledPreemptGuard {
    #[inline]
    fn drop(&mut self) {
        let count = &cpu::local().preempt.0;
        // This guard is counted, so nothing wraps.
        count.set(count.get().wrapping_sub(1));
    }
}

/// Returns whether the task must neither sleep nor wait: whether a guard of any
/// kind lives, or interrupts are off for another reason.
pub(crate) fn is_atomic() -> bool {
    let local = cpu::local();
    local.preempt.is_disabled() || local.rcu.is_reading() || !irq::is_enabled()
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
        cpu::local().preempt.0.set(u32::MAX);
        drop(disable_preempt());
    }
}
