//! Grace periods: when nobody can look at what was taken away.
//!
//! Page tables are walked without locks, within *read sections*. What is taken
//! out of a table may be freed when every section is over that was open at that
//! moment, and when every processor that was asked to flush has done so. Until
//! then it is kept here, by the processor that took it out.
//!
//! Each processor counts its sections ([`Section`]). To wait for all of them means
//! to note those that are open and to see them end. A processor does not wait for
//! its own: it holds no look at what it takes out. With a single processor, there
//! is never anything to wait for.
//!
//! Whatever waits is looked at again when a cursor of the processor ends, when
//! its flusher hands over more that has to wait, and when it synchronises; so a
//! processor that does none of these keeps what it has. **Context**: task context
//! only, since frames are freed here; sections may be opened anywhere.

use alloc::collections::VecDeque;
use alloc::vec::Vec;
use core::cell::UnsafeCell;
use core::fmt;
use core::marker::PhantomData;

use super::section::Section;
use crate::arch::cpu;
use crate::cpu::{CpuId, CpuSet, InAtomicMode};
use crate::mm::frame::{AnyFrameMeta, Frame, Segment};
use crate::planted::{Bug, is_planted};
use crate::sync::atomic::{AtomicUsize, Ordering};

/// A processor's part in grace periods.
pub(crate) struct RcuState {
    /// The processor's read sections, which others observe.
    section: Section,
    /// What waits, oldest first.
    waiting: UnsafeCell<VecDeque<Batch>>,
    /// How many batches wait, to ask cheaply.
    nr_waiting: AtomicUsize,
    /// Frames and segments that could not be kept for want of memory, and are
    /// never freed.
    nr_lost: AtomicUsize,
}

/// What waits together.
struct Batch {
    frames: Vec<Frame<dyn AnyFrameMeta>>,
    segments: Vec<Segment<dyn AnyFrameMeta>>,
    until: Vec<Condition>,
}

/// What has to happen on another processor.
#[derive(Clone, Copy)]
struct Condition {
    cpu: CpuId,
    /// The section that has to be over, if there was one.
    section: Option<u64>,
    /// The flush that has to be done, if one was asked for.
    flush: Option<u64>,
}

impl Condition {
    fn is_met(&self) -> bool {
        let other = cpu::of(self.cpu);
        let flushed = self
            .flush
            .is_none_or(|wanted| other.flushes.done() >= wanted);
        flushed
            && self
                .section
                .is_none_or(|observed| other.rcu.section.is_over(observed))
    }
}

impl RcuState {
    pub(crate) const fn new() -> Self {
        Self {
            section: Section::new(),
            waiting: UnsafeCell::new(VecDeque::new()),
            nr_waiting: AtomicUsize::new(0),
            nr_lost: AtomicUsize::new(0),
        }
    }

    /// Returns whether the processor is in a read section.
    pub(crate) fn is_reading(&self) -> bool {
        self.section.is_open()
    }

    /// Returns how many batches wait.
    pub(crate) fn nr_waiting(&self) -> usize {
        // Relaxed: written by this processor; others only wonder.
        self.nr_waiting.load(Ordering::Relaxed)
    }

    /// Forgets the sections of a task that was abandoned.
    #[cfg(ktest)]
    pub(crate) fn abandon(&self) {
        if self.is_reading() {
            self.section.end();
        }
    }

    fn with_waiting<R>(&self, body: impl FnOnce(&mut VecDeque<Batch>) -> R) -> R {
        // SAFETY: Only this processor uses the queue, the kernel is not
        // preempted, and `body`, which is this module's, does not call back.
        let waiting = unsafe { &mut *self.waiting.get() };
        let result = body(waiting);
        // Relaxed: read by this processor; others only wonder.
        self.nr_waiting.store(waiting.len(), Ordering::Relaxed);
        result
    }
}

impl fmt::Debug for RcuState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RcuState")
            .field("waiting", &self.nr_waiting())
            .field("lost", &self.nr_lost)
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

/// Frees frames when nobody can look at them any more: when all sections of
/// other processors are over, and `flushing` have done what they were last asked
/// to flush.
pub(crate) fn keep(
    frames: &mut Vec<Frame<dyn AnyFrameMeta>>,
    segments: &mut Vec<Segment<dyn AnyFrameMeta>>,
    flushing: CpuSet,
) {
    if crate::cpu::num_cpus() == 1 || is_planted(Bug::EarlyFree) {
        return free_now(frames, segments);
    }
    let here = cpu::current_id();
    let condition_of = |cpu: CpuId| {
        let other = cpu::of(cpu);
        let condition = Condition {
            cpu,
            section: other.rcu.section.observe(),
            flush: flushing.contains(cpu).then(|| other.flushes.requested()),
        };
        (condition.section.is_some() || condition.flush.is_some()).then_some(condition)
    };
    let others = || CpuSet::new_full().iter().filter(|cpu| *cpu != here);
    let nr_conditions = others().filter_map(condition_of).count();
    if nr_conditions == 0 {
        return free_now(frames, segments);
    }
    let state = &cpu::local().rcu;
    let mut until = Vec::new();
    let has_room = until.try_reserve(crate::cpu::MAX_CPUS).is_ok()
        && state.with_waiting(|waiting| waiting.try_reserve(1).is_ok());
    let (frames, segments) = (core::mem::take(frames), core::mem::take(segments));
    if !has_room {
        // Relaxed: a count.
        state
            .nr_lost
            .fetch_add(frames.len() + segments.len(), Ordering::Relaxed);
        core::mem::forget((frames, segments));
        log::error!("no memory to wait for other processors: frames are lost");
        return;
    }
    until.extend(others().filter_map(condition_of));
    let batch = Batch {
        frames,
        segments,
        until,
    };
    state.with_waiting(|waiting| waiting.push_back(batch));
    poll();
}

/// Frees what nobody can look at.
fn free_now(
    frames: &mut Vec<Frame<dyn AnyFrameMeta>>,
    segments: &mut Vec<Segment<dyn AnyFrameMeta>>,
) {
    while let Some(frame) = frames.pop() {
        frame.release();
    }
    if !segments.is_empty() {
        segments.clear();
    }
}

/// Looks at what waits, if anything does.
#[inline]
pub(crate) fn poll_if_due() {
    if cpu::local().rcu.nr_waiting() != 0 {
        poll_late();
    }
}

#[cold]
fn poll_late() {
    poll();
}

/// Frees what need not wait any longer.
pub(crate) fn poll() {
    let state = &cpu::local().rcu;
    while let Some(batch) = state.with_waiting(|waiting| {
        let first = waiting.front()?;
        let is_over = first.until.iter().all(Condition::is_met);
        if is_over { waiting.pop_front() } else { None }
    }) {
        drop((batch.frames, batch.segments));
    }
}

#[cfg(test)]
mod tests;
