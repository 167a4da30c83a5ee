//! Grace periods: when nobody can look at what was taken away.
//!
//! Page tables are walked without locks, within *read sections*. A node that is taken
//! out of a table may be freed when every section is over that was open at that
//! moment, and when every processor that was asked to flush has done so. Until
//! then it is kept here, by the processor that took it out.
//!
//! Each processor counts its sections ([`Section`]). To wait for all of them means
//! to note those that are open and to see them end. A processor does not wait for
//! its own: it holds no look at what it takes out. With a single processor, there
//! is never anything to wait for.
//!
//! Nodes wait in two lists: the older one for what was noted when it began to wait,
//! the younger one, which collects meanwhile, for the older one to be gone. They are
//! looked at again when a cursor of the processor ends, when its flusher hands over
//! more that has to wait, and when it synchronises; so a processor that does none of
//! these keeps what it has.
//!
//! **What is held back is bounded**: a processor that opens a cursor while nodes of
//! more than [`MAX_HELD`] wait, with what is below them, waits for them first. It
//! holds no node's lock then and has interrupts on, so whoever reads, or has to
//! flush, can finish. One more than that is not bounded: what a single cursor takes
//! out, and cursors of handlers of interrupts, which have to do with few nodes.
//!
//! **Context**: task context only, since frames are freed here; sections may be
//! opened anywhere.

use core::cell::{Cell, UnsafeCell};
use core::fmt;
use core::marker::PhantomData;

use super::section::Section;
use crate::arch::{cpu, memory};
use crate::cpu::{CpuId, CpuSet, InAtomicMode, MAX_CPUS};
use crate::irq;
use crate::mm::tlb::held::MAX_HELD;
use crate::mm::tlb::{KeptNodes, held};
use crate::planted::{Bug, is_planted};
use crate::sync::atomic::{AtomicUsize, Ordering};

/// A processor's part in grace periods.
pub(crate) struct RcuState {
    /// The processor's read sections, which others observe.
    section: Section,
    waiting: UnsafeCell<Waiting>,
    /// How many bytes wait, with nodes and below them; to ask cheaply.
    bytes: AtomicUsize,
    /// Cursors of the processor that are open.
    nr_cursors: Cell<u32>,
    /// The number of the newest table of a user that one of them is of, or was while
    /// there were others; where assertions are on.
    newest_table: Cell<u64>,
}

/// What waits.
struct Waiting {
    /// Free when the conditions are met.
    older: KeptNodes,
    /// One for each processor; met for those that there are not.
    until: [Condition; MAX_CPUS],
    younger: KeptNodes,
}

/// What has to happen on another processor.
#[derive(Clone, Copy)]
struct Condition {
    /// The section that has to be over, if there was one.
    section: Option<u64>,
    /// The flush that has to be done.
    flush: u64,
}

impl Condition {
    const MET: Self = Self {
        section: None,
        flush: 0,
    };

    /// Notes what a processor is about, for someone who took something out before.
    fn of(cpu: CpuId) -> Self {
        let other = cpu::of(cpu);
        Self {
            section: other.rcu.section.observe(),
            flush: other.flushes.requested(),
        }
    }

    fn is_met(&self, cpu: CpuId) -> bool {
        let other = cpu::of(cpu);
        let is_over = |observed| other.rcu.section.is_over(observed);
        other.flushes.done() >= self.flush && self.section.is_none_or(is_over)
    }
}

impl Waiting {
    /// Takes nodes out that nobody can look at any more.
    fn next_free(&mut self) -> Option<KeptNodes> {
        let here = cpu::current_id();
        let others = || CpuSet::new_full().iter().filter(|cpu| *cpu != here);
        if self.older.is_empty() {
            if self.younger.is_empty() {
                return None;
            }
            self.older.append(&mut self.younger);
            others().for_each(|cpu| self.until[cpu.as_usize()] = Condition::of(cpu));
        }
        let is_over = others().all(|cpu| self.until[cpu.as_usize()].is_met(cpu));
        is_over.then(|| core::mem::replace(&mut self.older, KeptNodes::new()))
    }
}

impl RcuState {
    pub(crate) const fn new() -> Self {
        Self {
            section: Section::new(),
            waiting: UnsafeCell::new(Waiting {
                older: KeptNodes::new(),
                until: [Condition::MET; MAX_CPUS],
                younger: KeptNodes::new(),
            }),
            bytes: AtomicUsize::new(0),
            nr_cursors: Cell::new(0),
            newest_table: Cell::new(0),
        }
    }

    /// Returns whether the processor is in a read section.
    pub(crate) fn is_reading(&self) -> bool {
        self.section.is_open()
    }

    /// Returns how many bytes wait.
    #[inline]
    pub(crate) fn bytes_waiting(&self) -> usize {
        // Relaxed: written by this processor; others only wonder.
        self.bytes.load(Ordering::Relaxed)
    }

    /// Forgets the sections and cursors of a task that was abandoned.
    #[cfg(ktest)]
    pub(crate) fn abandon(&self) {
        self.nr_cursors.set(0);
        if self.is_reading() {
            self.section.end();
        }
    }

    fn with_waiting<R>(&self, body: impl FnOnce(&mut Waiting) -> R) -> R {
        let _irq_off = irq::disable_local();
        // SAFETY: Only this processor uses the lists, interrupts are off, and `body`,
        // which is this module's, frees nothing and does not call back.
        let waiting = unsafe { &mut *self.waiting.get() };
        let result = body(waiting);
        let bytes = waiting.older.bytes() + waiting.younger.bytes();
        // Relaxed: read by this processor; others only wonder.
        self.bytes.store(bytes, Ordering::Relaxed);
        result
    }
}

impl fmt::Debug for RcuState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RcuState")
            .field("bytes_waiting", &self.bytes_waiting())
            .finish_non_exhaustive()
    }
}

/// A time during which no node that can be seen goes away.
#[derive(Debug)]
pub(crate) struct ReadSection<'a> {
    /// Whether it is within another one, which ends later.
    is_inner: bool,
    _atomic_mode: PhantomData<&'a ()>,
    _stays_here: PhantomData<*mut ()>,
}

static_assertions::assert_not_impl_any!(ReadSection<'static>: Send, Sync);

/// Opens a read section, which may be within another one.
#[inline(always)]
pub(crate) fn read(_guard: &dyn InAtomicMode) -> ReadSection<'_> {
    ReadSection {
        is_inner: !cpu::local().rcu.section.begin(),
        _atomic_mode: PhantomData,
        _stays_here: PhantomData,
    }
}

impl Drop for ReadSection<'_> {
    #[inline(always)]
    fn drop(&mut self) {
        if !self.is_inner {
            cpu::local().rcu.section.end();
        }
    }
}

/// Frees nodes when nobody can look at them any more: when all sections of other
/// processors are over, and all have done what they were asked to flush so far.
pub(crate) fn keep(nodes: &mut KeptNodes) {
    let nodes = core::mem::replace(nodes, KeptNodes::new());
    if crate::cpu::num_cpus() == 1 || is_planted(Bug::EarlyFree) {
        return nodes.free();
    }
    memory::memory().held.add(nodes.bytes());
    let mut nodes = nodes;
    let state = &cpu::local().rcu;
    state.with_waiting(|waiting| waiting.younger.append(&mut nodes));
    poll();
}

/// Notes that a cursor is opened. Where too much waits, waits for its end first, if
/// the processor holds no other cursor.
#[inline(always)]
pub(crate) fn begin_cursor() {
    let state = &cpu::local().rcu;
    if state.bytes_waiting() > MAX_HELD {
        wait_for_less(state);
    }
    // As many as there are cannot be counted too far.
    let count = state.nr_cursors.get().wrapping_add(1);
    state.nr_cursors.set(count);
}

/// Checks, where assertions are on, that a cursor of a user's table with a number may
/// be opened: tables are in the order of their making, and whoever has a cursor of one
/// must not wait for one of an older one. Of the same table, others are allowed that
/// share no node with it, by ascending addresses.
#[inline(always)]
pub(crate) fn check_order(table: u64) {
    if cfg!(debug_assertions) {
        let state = &cpu::local().rcu;
        if state.nr_cursors.get() == 0 {
            state.newest_table.set(0);
        }
        assert!(
            state.newest_table.replace(table) <= table,
            "a cursor of an older space is opened after that of a newer one"
        );
    }
}

/// Notes that a cursor has ended, and looks at what waits, if anything does.
#[inline(always)]
pub(crate) fn end_cursor() {
    let state = &cpu::local().rcu;
    let count = state.nr_cursors.get().wrapping_sub(1);
    state.nr_cursors.set(count);
    if state.bytes_waiting() != 0 {
        poll_late();
    }
}

#[cold]
fn wait_for_less(state: &RcuState) {
    if state.nr_cursors.get() > 0 || state.is_reading() || !irq::is_enabled() {
        return;
    }
    poll();
    while state.bytes_waiting() > MAX_HELD {
        cpu::relax();
        poll();
    }
}

#[cold]
fn poll_late() {
    poll();
}

/// Frees what need not wait any longer.
pub(crate) fn poll() {
    held::poll();
    let state = &cpu::local().rcu;
    if state.bytes_waiting() == 0 {
        return;
    }
    while let Some(nodes) = state.with_waiting(Waiting::next_free) {
        let bytes = nodes.bytes();
        nodes.free();
        memory::memory().held.remove(bytes);
    }
}

#[cfg(test)]
mod tests;
